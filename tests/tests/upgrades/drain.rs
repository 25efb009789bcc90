//! One server's way out, step by step.

use std::time::{Duration, Instant};

use alpine_tests::{
    World,
    api::Reply,
    cli::text,
    git_server::url,
    sse::{Block, Stream},
};
use reqwest::{Method, StatusCode, header};

const SETTINGS: &[(&str, &str)] =
    &[("ALPINE_SHUTDOWN_DELAY_SECONDS", "3"), ("ALPINE_HAND_OVER_SECONDS", "1"), ("ALPINE_DRAIN_SECONDS", "5")];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_is_not_ready_first_and_serves_until_it_closes_and_leaves_nobody_without_an_answer() {
    let mut world = World::with(SETTINGS).await;
    world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 30\"")]);
    let api = world.api("ann");
    let begun = text(api.up("k1", &url("org/slow"), "main").await.expect(202), "operation_id");
    let session = text(api.get("/v1/sessions").await.expect(200)["sessions"].get(0).unwrap(), "session_id");
    world.db.wait_for_state(&session, &["installing"], Duration::from_secs(60)).await;
    let mut stream = Stream::open(&api, &format!("/v1/sessions/{session}/events"), None).await;
    let waiting = tokio::spawn({
        let request = api.request(Method::GET, &format!("/v1/operations/{begun}")).header("Prefer", "wait=60");
        async move { alpine_tests::api::try_send(request).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;

    world.server.ask_to_end();
    let asked = Instant::now();
    let base = world.server.base();
    let old = reqwest::Client::builder().tls_certs_only([ca(&world)]).http1_only().build().unwrap();
    let mut answers = Vec::new();
    while asked.elapsed() < Duration::from_millis(2500) {
        let ready = old.get(format!("{base}/readyz")).send().await.expect("it listens still");
        let list = old.get(format!("{base}/v1/sessions")).bearer_auth(world.token("dev", "ann", &[])).send().await.unwrap();
        answers.push((ready.status(), list.status(), list.headers().get(header::CONNECTION).map(|v| v.to_str().unwrap().to_owned())));
        let newer = api.get("/v1/sessions").await;
        assert!(newer.status == 200 && !newer.headers.contains_key(header::CONNECTION), "HTTP/2 has no such header");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let closes = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::OK, Some("close".to_owned()));
    assert!(answers.len() > 5 && answers.iter().skip(1).all(|answer| *answer == closes), "{answers:?}");
    assert_eq!(world.db.count("leases WHERE owner IS NOT NULL").await, 0, "nothing is held or claimed any more");

    // What it lets in at the end is answered too: these come as it closes.
    let replies = knock(&world, asked).await;
    let waited = waiting.await.unwrap().expect("who waits is answered");
    assert_eq!((waited.status.as_u16(), waited.body["status"].as_str()), (200, Some("running")), "{}", waited.text);
    let mut blocks = Vec::new();
    while let Some(block) = stream.block().await.expect("the stream ends cleanly") {
        blocks.push(block);
    }
    assert!(matches!(blocks.first(), Some(Block::Retry(500..1500))), "{blocks:?}");
    assert_eq!(blocks.last(), Some(&Block::Comment("the server is going".into())));
    let (mut answered, mut refused) = (0, 0);
    for reply in replies {
        match reply {
            Ok(reply) => answered += usize::from(reply.status == 200),
            Err(error) if error.is_connect() && is_refused(&error) => refused += 1,
            Err(error) => panic!("let in, and not answered: {error:?}"),
        }
    }
    let status = world.server.ended().await;
    let took = asked.elapsed();
    eprintln!("as it closed {answered} were answered and {refused} refused; ended after {took:?}");
    assert!(answered > 0 && refused > 0, "{answered} {refused}");
    assert!(status.success() && took < Duration::from_secs(9), "{status} after {took:?}");
}

/// Asks for something again and again until it is refused; every answer.
async fn knock(world: &World, asked: Instant) -> Vec<reqwest::Result<Reply>> {
    let mut last = tokio::task::JoinSet::new();
    let mut replies = Vec::new();
    let refuses = |replies: &[reqwest::Result<_>]| replies.iter().any(|reply| reply.as_ref().is_err_and(is_refused));
    while !refuses(&replies) && asked.elapsed() < Duration::from_secs(8) {
        let api = world.api("ann");
        last.spawn(async move { alpine_tests::api::try_send(api.request(Method::GET, "/v1/sessions")).await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        while let Some(reply) = last.try_join_next() {
            replies.push(reply.unwrap());
        }
    }
    replies.extend(last.join_all().await);
    replies
}

fn ca(world: &World) -> reqwest::Certificate {
    reqwest::Certificate::from_pem(&std::fs::read(&world.pki.ca).unwrap()).unwrap()
}

/// Nobody listens: nothing can have been lost on the way.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_database_does_not_answer_ends_all_the_same() {
    let mut world = World::with(&[("ALPINE_HAND_OVER_SECONDS", "1"), ("ALPINE_DRAIN_SECONDS", "1")]).await;
    world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 30\"")]);
    let session = text(world.api("ann").up("k1", &url("org/slow"), "main").await.expect(202), "session_id");
    world.db.wait_for_state(&session, &["installing"], Duration::from_secs(60)).await;
    let leases = world.db.lock("leases").await;
    let (status, took) = world.server.terminate().await;
    eprintln!("ended after {took:?}");
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    drop(leases);
}
