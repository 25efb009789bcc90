//! A server of a later version, as far as a client can tell: it hands everything on, and every object in an answer has a field more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alpine_tests::World;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::Response,
};
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Value, json};

const MARK: &str = "\"record\":";

#[derive(Clone)]
struct Ahead {
    client: reqwest::Client,
    server: String,
    widened: Arc<AtomicUsize>,
}

pub struct Newer {
    port: u16,
    widened: Arc<AtomicUsize>,
}

impl Newer {
    pub async fn start(world: &World) -> Self {
        let widened = Arc::new(AtomicUsize::new(0));
        let ahead = Ahead { client: world.pki.client(), server: world.server.base(), widened: widened.clone() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = RustlsConfig::from_pem_file(&world.pki.cert, &world.pki.key).await.unwrap();
        let router = Router::new().fallback(hand_on).with_state(ahead);
        tokio::spawn(async move { axum_server::from_tcp_rustls(listener, tls).unwrap().serve(router.into_make_service()).await });
        Self { port, widened }
    }

    pub fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// How many answers have had more fields.
    pub fn widened(&self) -> usize {
        self.widened.load(Ordering::Relaxed)
    }
}

async fn hand_on(State(ahead): State<Ahead>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let url = format!("{}{}", ahead.server, parts.uri);
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = ahead.client.request(parts.method, url).headers(headers).body(body).send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "content-length") {
        response = response.header(name, value);
    }
    let is_json = answer.headers()["content-type"].to_str().unwrap().ends_with("json");
    let body = answer.bytes().await.unwrap();
    if !is_json {
        return response.body(Body::from(body)).unwrap();
    }
    ahead.widened.fetch_add(1, Ordering::Relaxed);
    response.body(Body::from(wider(&body))).unwrap()
}

/// The record's own bytes are left as they are: its digest is over them.
fn wider(answer: &Bytes) -> String {
    let text = std::str::from_utf8(answer).unwrap();
    if text.contains(MARK) {
        return text.replacen('{', "{\"added_later\":{\"is\":1},", 1);
    }
    let mut answer = serde_json::from_str(text).unwrap();
    add_to(&mut answer);
    answer.to_string()
}

fn add_to(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_to);
            fields.insert("added_later".to_owned(), json!({ "is": 1 }));
        }
        Value::Array(items) => items.iter_mut().for_each(add_to),
        _ => {}
    }
}
