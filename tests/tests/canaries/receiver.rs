//! An OTLP receiver that keeps what it is sent.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};

type Kept = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

#[derive(Debug)]
pub struct Receiver {
    pub endpoint: String,
    kept: Kept,
}

impl Receiver {
    pub async fn start() -> Self {
        let kept = Kept::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, kept }
    }

    /// All that spans say.
    pub fn bodies(&self) -> Vec<u8> {
        self.kept.lock().unwrap().iter().flat_map(|(_, body)| body.to_vec()).collect()
    }

    /// Every header's value: what the exporter proves itself with.
    pub fn headers(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.iter().flat_map(|(headers, _)| headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
    }
}

async fn keep(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> StatusCode {
    kept.lock().unwrap().push((headers, body));
    StatusCode::OK
}
