//! What goes on: server-sent events and WebSockets, and what ends them.

use std::time::{Duration, Instant};

use alpine_tests::api::send;
use reqwest::{Method, Response};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::stage::Stage;

const LIMIT: Duration = Duration::from_secs(30);

pub async fn events(stage: &Stage, path: &str) -> Response {
    let answer = stage.as_ann(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// Reads on to the end: whether that was one, and how long it took.
async fn to_the_end(mut answer: Response) -> (bool, Duration) {
    let begun = Instant::now();
    let reading = async {
        loop {
            match answer.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    (tokio::time::timeout(LIMIT, reading).await.expect("it ends"), begun.elapsed())
}

/// A WebSocket's connection, once its handshake is answered; and the answer's head.
pub async fn websocket(stage: &Stage, headers: &[(&str, &str)]) -> (TlsStream<TcpStream>, String) {
    websocket_at(stage, (&stage.origin().replace("https://", ""), "/ws"), headers).await
}

/// At this host, and by this path.
pub async fn websocket_at(stage: &Stage, (host, path): (&str, &str), headers: &[(&str, &str)]) -> (TlsStream<TcpStream>, String) {
    let mut stream = stage.tls().await;
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

pub async fn echoes(stream: &mut TlsStream<TcpStream>, text: &str) -> bool {
    let mut buffer = vec![0; text.len()];
    stream.write_all(text.as_bytes()).await.is_ok() && stream.read_exact(&mut buffer).await.is_ok() && buffer == text.as_bytes()
}

#[tokio::test(flavor = "multi_thread")]
pub async fn events_come_as_they_happen() {
    let stage = Stage::set().await;
    let begun = Instant::now();
    let mut answer = events(&stage, "/events").await;
    let first = answer.chunk().await.unwrap().unwrap();
    assert!(first.starts_with(b"data: 0"), "{first:?}");
    for _ in 0..5 {
        answer.chunk().await.unwrap().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody gathers them: {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_both_ways_for_whoever_is_let_in() {
    let stage = Stage::set().await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let origin = stage.origin();
    let own = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
    let (mut stream, head) = websocket(&stage, &own).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_lowercase();
    assert!(lower.contains("\r\nupgrade: websocket\r\n") && lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(lower.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(echoes(&mut stream, "hello").await && echoes(&mut stream, &"x".repeat(10_000)).await);
    let token = format!("Bearer {}", stage.token("dev", "ann", &[]));
    let (mut stream, _) = websocket(&stage, &[("Authorization", &token)]).await;
    assert!(echoes(&mut stream, "by its token").await);
    for (headers, status) in [
        (&[][..], "401"),
        (&[("Cookie", cookie.as_str())], "403"),
        (&[("Cookie", cookie.as_str()), ("Origin", "https://evil.example")], "403"),
        (&[("Authorization", "Bearer x")], "401"),
    ] {
        let (_, head) = websocket(&stage, headers).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {head}");
    }
    assert_eq!(stage.world.server.metric("alpine_gateway_requests_total", &["cookie", "upgraded"]).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_ends_with_its_session() {
    let stage = Stage::set().await;
    let token = format!("Bearer {}", stage.token("dev", "ann", &[]));
    let (mut stream, _) = websocket(&stage, &[("Authorization", &token)]).await;
    assert!(echoes(&mut stream, "hello").await);
    let answer = events(&stage, "/events").await;
    stage.down().await;
    let (_, took) = to_the_end(answer).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(!echoes(&mut stream, "after").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_ends_with_the_cookie() {
    let stage = Stage::with(&[("ALPINE_APPS_COOKIE_SECONDS", "10")]).await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let origin = stage.origin();
    let (mut stream, _) = websocket(&stage, &[("Cookie", &cookie), ("Origin", &origin)]).await;
    assert!(echoes(&mut stream, "hello").await);
    let open = async |path: &str| stage.as_page(Method::GET, path, &cookie).send().await.unwrap();
    let (stream_answer, endless) = (open("/events").await, open("/endless").await);
    let ((whole, took), (torn_is_whole, _)) = tokio::join!(to_the_end(stream_answer), to_the_end(endless));
    assert!(whole && took < Duration::from_secs(12), "a stream that ends is asked for again: {took:?}");
    assert!(!torn_is_whole, "and what is no stream does not look whole");
    assert!(!echoes(&mut stream, "after").await);
    assert_eq!(open("/events").await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_ends_what_goes_on_and_answers_what_is_under_way() {
    let mut stage = Stage::set().await;
    let token = format!("Bearer {}", stage.token("dev", "ann", &[]));
    let (mut stream, _) = websocket(&stage, &[("Authorization", &token)]).await;
    assert!(echoes(&mut stream, "hello").await);
    let answer = events(&stage, "/events").await;
    let slow = stage.as_ann(Method::GET, "/slow");
    let slow = tokio::spawn(async move { send(slow).await });
    let server = &stage.world.server;
    let three = async || (server.metric("alpine_gateway_requests_open", &[]).await >= Some(3.0)).then_some(());
    alpine_tests::until("all three are under way", Duration::from_secs(10), three).await;
    let ending = tokio::spawn(async move { to_the_end(answer).await });
    let (status, took) = stage.world.server.terminate().await;
    assert!(status.success() && took < Duration::from_secs(9), "{status} {took:?}");
    assert!(ending.await.unwrap().0, "the stream has an end");
    assert!(!echoes(&mut stream, "after").await);
    let slow = slow.await.unwrap();
    assert_eq!((slow.status.as_u16(), slow.text.as_str()), (200, "slow"));
    // The session was not asked, and goes on.
    stage.world.server.start_again().await;
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_by_an_access_token_goes_on_no_longer_than_the_apis_own_streams() {
    let stage = Stage::with(&[("ALPINE_STREAM_SECONDS", "4")]).await;
    let ann = stage.world.api("ann");
    let body = json!({ "name": "x", "scopes": ["sessions:read", "sessions:write"], "expires_in_days": 365 });
    let made = ann.send(Method::POST, "/v1/tokens", &body).await.expect(201).clone();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let (mut stream, _) = websocket(&stage, &[("Authorization", &bearer)]).await;
    assert!(echoes(&mut stream, "hello").await);
    let revoked = ann.send(Method::DELETE, &format!("/v1/tokens/{}", made["token_id"].as_str().unwrap()), &json!(null)).await;
    assert_eq!(revoked.status, 204);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!echoes(&mut stream, "after").await);
    let (_, head) = websocket(&stage, &[("Authorization", &bearer)]).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_who_stays_is_on_record_once() {
    let stage = Stage::set().await;
    let token = format!("Bearer {}", stage.token("dev", "root", &["alpine.admin"]));
    let (mut stream, _) = websocket(&stage, &[("Authorization", &token)]).await;
    // It is looked meanwhile whether they still may.
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert!(echoes(&mut stream, "hello").await);
    assert_eq!(stage.world.db.count("audit_log WHERE action = 'session.open'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_ends_with_the_cookie_too() {
    let stage = Stage::with(&[("ALPINE_APPS_COOKIE_SECONDS", "10")]).await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    // The head is taken, and nothing after it.
    let unread = stage.as_page(Method::GET, "/flood", &cookie).send().await.unwrap();
    assert_eq!(stage.world.server.metric("alpine_gateway_requests_open", &[]).await, Some(1.0));
    alpine_tests::until("its place is free", Duration::from_secs(15), || async {
        stage.world.server.metric("alpine_gateway_requests_open", &[]).await.filter(|open| *open == 0.0)
    })
    .await;
    drop(unread);
}
