//! A feed against a small server that streams, cuts, restarts and repeats itself as it is told.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alpine_api::SessionState;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    args::{Globals, Look},
    clock,
    config::{Environment, Settings},
    testing::{event, progress_event, session_id},
    token::Identity,
    ui::Terminal,
};

/// The answer to a connection, by its number and what it asks to go on after.
type Script = Arc<dyn Fn(usize, i64) -> String + Send + Sync>;

struct Server {
    client: Client,
    ui: Ui,
    connections: Arc<AtomicUsize>,
}

fn silent() -> Ui {
    Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), Look::default(), Terminal::default())
}

async fn server(script: impl Fn(usize, i64) -> String + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let script: Script = Arc::new(script);
    tokio::spawn({
        let connections = Arc::clone(&connections);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                let n = connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, n, Arc::clone(&script)));
            }
        }
    });
    let env = Environment::of(&[("ALPINE_CONFIG_DIR", "/nonexistent"), ("ALPINE_SERVER", &address)]);
    let settings = Settings::load(&Globals::default(), &env).unwrap();
    Server {
        client: Client::new(&settings, Identity::fixed("t".to_owned(), "ALPINE_TOKEN", clock::now)).unwrap(),
        ui: silent(),
        connections,
    }
}

async fn serve(mut stream: TcpStream, n: usize, script: Script) {
    let mut request = String::new();
    let mut bytes = [0; 4096];
    while !request.contains("\r\n\r\n") {
        match stream.read(&mut bytes).await {
            Ok(read) if read > 0 => request.push_str(&String::from_utf8_lossy(&bytes[..read])),
            _ => return,
        }
    }
    assert!(request.contains("accept: text/event-stream") || !request.contains("last-event-id"), "{request}");
    let after = request.split_once("after=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    let header = request.lines().find_map(|line| line.strip_prefix("last-event-id: ")).map(|id| id.parse::<i64>().unwrap());
    assert!(header.is_none_or(|id| id == after), "{request}");
    let answer = script(n, after);
    let held = answer.strip_suffix(HOLD);
    stream.write_all(held.unwrap_or(&answer).as_bytes()).await.ok();
    if held.is_some() {
        std::future::pending::<()>().await;
    }
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n";
/// A stream of which nothing comes through.
const MUTE_STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
/// At an answer's end: the connection stays open, in silence.
const HOLD: &str = "(hold)";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

fn one(seq: i64) -> Event {
    progress_event(seq, SessionState::Installing, "install", "10:00:01Z", &format!("line {seq} ü"), None)
}

fn message(event: &Event) -> String {
    format!("id: {}\nevent: {}\ndata: {}\n\n: \n\n", event.seq, event.kind, serde_json::to_string(event).unwrap())
}

fn page(events: &[Event], after: i64) -> String {
    let body = json!({"events": events, "next_after": events.last().map_or(after, |event| event.seq)}).to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn all(server: &Server) -> Vec<i64> {
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    let mut seen = Vec::new();
    while let Some(event) = feed.next().await.unwrap() {
        seen.push(event.seq);
    }
    seen
}

#[tokio::test]
async fn whatever_is_cut_repeated_or_left_out_each_event_comes_once_and_in_its_order() {
    const LAST: i64 = 400;
    let server = server(|n, after| {
        if after == LAST {
            return NO_CONTENT.to_owned();
        }
        // Some begin too early, and some leave one out.
        let from = if n % 3 == 0 { (after - 2).max(1) } else { after + 1 };
        let left_out = if n % 5 == 4 { after + 2 } else { 0 };
        let messages: String = (from..=LAST.min(from + 9)).filter(|seq| *seq != left_out).map(|seq| message(&one(seq))).collect();
        let text = format!("{STREAM}{messages}");
        // In the middle of a message, even of a letter.
        let cut = text.len() * (n % 7 + 1) / 7;
        String::from_utf8_lossy(&text.as_bytes()[..cut]).into_owned()
    })
    .await;
    assert_eq!(all(&server).await, (1..=LAST).collect::<Vec<_>>());
    assert!(server.connections.load(Ordering::SeqCst) > 60, "it was cut often");
}

#[tokio::test]
async fn what_is_gone_for_good_is_asked_for_once_more_and_then_passed_over() {
    let server = server(|_, after| match after {
        0 => format!("{STREAM}{}{}", message(&one(5)), message(&one(6))),
        _ => NO_CONTENT.to_owned(),
    })
    .await;
    assert_eq!(all(&server).await, [5, 6]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_only_a_newer_server_knows_counts_and_is_not_shown() {
    let server = server(|_, after| match after {
        0 => format!("{STREAM}{}id: 2\nevent: weather\ndata: {{\"rain\":true}}\n\n{}", message(&one(1)), message(&one(3))),
        _ => NO_CONTENT.to_owned(),
    })
    .await;
    assert_eq!(all(&server).await, [1, 3]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2, "no gap was seen");
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again_and_the_time_without_it_is_known() {
    let server = server(|n, after| match (n, after) {
        (0, 0) => format!("{STREAM}{}", message(&one(1))),
        (1, _) => String::new(),
        (2, _) => "HTTP/1.1 503 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        (3, 1) => format!("{STREAM}{}", message(&one(2))),
        _ => NO_CONTENT.to_owned(),
    })
    .await;
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    let contact = feed.contact();
    assert_eq!(feed.next().await.unwrap().unwrap().seq, 1);
    assert_eq!(contact.lost_for(), None);
    let mut lost = false;
    let second = {
        let mut next = std::pin::pin!(feed.next());
        loop {
            tokio::select! {
                biased;
                seen = &mut next => break seen.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(5)) => lost |= contact.lost_for().is_some(),
            }
        }
    };
    assert_eq!((second.seq, lost, contact.lost_for()), (2, true, None));
    assert!(feed.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_without_streams_is_asked_for_pages_until_it_has_some() {
    let server = server(|n, after| match (n, after) {
        (0, 0) => page(&[one(1), one(2)], 0),
        (1 | 2, 2) => page(&[], 2),
        (3, 2) => page(&[event(3, SessionState::Ready, "10:00:02Z", "ready")], 2),
        // In the meantime it was replaced by a newer one.
        (4, _) => String::new(),
        (5.., 3) => format!("{STREAM}{}", message(&one(4))),
        _ => NO_CONTENT.to_owned(),
    })
    .await;
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    let (mut seen, mut empty) = (Vec::new(), 0);
    while seen.last() != Some(&4) {
        match feed.next().await.unwrap() {
            Some(event) => seen.push(event.seq),
            None => {
                assert!(feed.is_paged());
                empty += 1;
            }
        }
    }
    assert_eq!((seen, feed.is_paged()), (vec![1, 2, 3, 4], false));
    assert!(empty >= 2, "a page without anything is told");
}

#[tokio::test]
async fn a_server_that_asks_for_a_later_try_is_there_and_is_asked_later() {
    for status in [429, 503] {
        let server = server(move |n, after| match (n, after) {
            (0, _) => format!("HTTP/1.1 {status} X\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
            (_, 0) => format!("{STREAM}{}", message(&one(1))),
            _ => NO_CONTENT.to_owned(),
        })
        .await;
        let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
        let (contact, begun) = (feed.contact(), Instant::now());
        let first = {
            let mut next = std::pin::pin!(feed.next());
            loop {
                tokio::select! {
                    biased;
                    seen = &mut next => break seen.unwrap().unwrap(),
                    () = tokio::time::sleep(Duration::from_millis(5)) => assert_eq!(contact.lost_for(), None, "{status}"),
                }
            }
        };
        assert!(first.seq == 1 && begun.elapsed() >= Duration::from_secs(1), "{status}");
    }
}

#[tokio::test]
async fn where_streams_bring_nothing_pages_are_read_and_a_stream_is_tried_again_later() {
    for mute in [MUTE_STREAM.to_owned(), format!("{MUTE_STREAM}{HOLD}")] {
        let server = server(move |n, after| match (n, after) {
            (0..3, 0) => mute.clone(),
            (3, 0) => page(&[one(1), one(2)], 0),
            (4.., 2) => format!("{STREAM}{}", message(&one(3))),
            _ => NO_CONTENT.to_owned(),
        })
        .await;
        let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
        feed.first = Duration::from_millis(50);
        assert_eq!(feed.next().await.unwrap().unwrap().seq, 1);
        assert!(feed.is_paged() && feed.contact().lost_for().is_none() && server.connections.load(Ordering::SeqCst) == 4);
        assert_eq!(feed.next().await.unwrap().unwrap().seq, 2);
        feed.source = Source::Pages(Some(Instant::now()));
        assert_eq!(feed.next().await.unwrap().unwrap().seq, 3);
        assert!(!feed.is_paged());
    }
}

#[tokio::test]
async fn streams_that_a_bad_network_breaks_are_still_streams() {
    let broken = MUTE_STREAM.replace("connection: close", "content-length: 1000");
    let server = server(move |n, after| match (n, after) {
        (0..5, _) => broken.clone(),
        (_, 0) => format!("{STREAM}{}", message(&one(1))),
        _ => NO_CONTENT.to_owned(),
    })
    .await;
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    assert_eq!(feed.next().await.unwrap().unwrap().seq, 1);
    assert!(!feed.is_paged() && server.connections.load(Ordering::SeqCst) == 6);
}

#[tokio::test]
async fn a_stream_is_no_contact_before_its_first_byte() {
    let server = server(|n, _| if n == 0 { String::new() } else { format!("{MUTE_STREAM}{HOLD}") }).await;
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    let contact = feed.contact();
    assert!(tokio::time::timeout(Duration::from_millis(300), feed.next()).await.is_err());
    assert!(contact.lost_for().is_some() && server.connections.load(Ordering::SeqCst) == 2);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_looked_for() {
    let body = json!({"error_code": "ERR_SESSION_NOT_FOUND", "cause": "session not found"}).to_string();
    let answer = format!("HTTP/1.1 404 X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = server(move |_, _| answer.clone()).await;
    let mut feed = Feed::<Event>::new(&server.client, &server.ui, session_id(1), 0);
    let error = feed.next().await.unwrap_err().report();
    assert_eq!((error.error_code.to_string().as_str(), error.exit_code), ("ERR_SESSION_NOT_FOUND", 1));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn pauses_grow_and_are_never_long() {
    assert_eq!((pause(0), pause(1)), (Duration::ZERO, Duration::ZERO));
    for vain in 2..100 {
        assert!((Duration::from_millis(90)..=Duration::from_secs(2)).contains(&pause(vain)), "{vain}: {:?}", pause(vain));
    }
}
