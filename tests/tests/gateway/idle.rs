//! A session that nobody uses ends by itself, as by a `down`, and one that is used does not.

use std::time::Duration;

use alpine_tests::{REPO, World, api::send, cli::text, until};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::client::TlsStream;

use super::{
    stage::Stage,
    streams::{events, websocket},
};

const LIMIT: Duration = Duration::from_secs(60);
/// A timeout with which a use is written down at the next opportunity.
const HOUR: &[(&str, &str)] = &[("ALPINE_SWEEP_SECONDS", "1"), ("ALPINE_SESSION_IDLE_SECONDS", "3600")];

/// As if nobody had used it for so long; what it comes to is looked at soon.
async fn unused_for(stage: &Stage, ago: &str) {
    let sql = format!("UPDATE sessions SET used_at = now() - interval '{ago}', idle_look_at = now() WHERE state = 'ready'");
    assert_eq!(stage.world.db.execute(&sql).await, 1);
}

/// Until a use of just now is on record.
async fn used(stage: &Stage) {
    until("the use is written down", LIMIT, || async {
        (stage.world.db.count("sessions WHERE used_at > now() - interval '20 seconds'").await == 1).then_some(())
    })
    .await;
}

/// Whether none comes for longer than it takes to write one down.
async fn stays_unused(stage: &Stage) -> bool {
    tokio::time::sleep(Duration::from_secs(8)).await;
    stage.world.db.count("sessions WHERE used_at > now() - interval '4 minutes'").await == 0
}

/// A frame of a client, with a mask that changes nothing.
async fn say(stream: &mut TlsStream<TcpStream>, opcode: u8) {
    stream.write_all(&[0x80 | opcode, 0x81, 0, 0, 0, 0, b'x']).await.unwrap();
    stream.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_nobody_uses_is_stopped_after_a_warning_that_a_use_takes_back() {
    let stage = Stage::with(HOUR).await;
    let (world, session) = (&stage.world, &stage.session);
    let status = async || world.status("ann", session).await.ok();
    let at = |shown: &Value, name: &str| text(shown, name).parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let shown = status().await;
    assert_eq!(at(&shown, "used_at"), at(&shown, "ready_at"), "{shown}");
    assert_eq!(at(&shown, "idle_at") - at(&shown, "used_at"), chrono::TimeDelta::hours(1));
    let told = "progress WHERE phase = 'idle' AND actor = 'system' AND message LIKE 'it is idle, and is stopped at 20__-__-__T__:__:__Z'";

    unused_for(&stage, "50 minutes").await;
    until("it is told", LIMIT, || async { (world.db.count(told).await == 1).then_some(()) }).await;
    assert!(text(&status().await, "next_step").contains(&format!("run alpine open {session}")));
    let events = world.api("ann").get(&format!("/v1/sessions/{session}/events?limit=200")).await;
    assert_eq!(text(events.expect(200)["events"].as_array().unwrap().last().unwrap(), "phase"), "idle");
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    used(&stage).await;
    assert!(!text(&status().await, "next_step").contains("nobody uses it"));

    // Its end as it was is looked at, and is none any more.
    world.db.execute("UPDATE sessions SET idle_look_at = now() WHERE state = 'ready'").await;
    until("it has been looked at", LIMIT, || async {
        (world.db.count("sessions WHERE idle_look_at > now() + interval '40 minutes'").await == 1).then_some(())
    })
    .await;
    assert_eq!((world.db.state(session).await.as_str(), world.db.count(told).await), ("ready", 1));
    unused_for(&stage, "50 minutes").await;
    until("it is told anew", LIMIT, || async { (world.db.count(told).await == 2).then_some(()) }).await;

    // An end of which nobody was warned, while nothing could be used say, is told first.
    unused_for(&stage, "61 minutes").await;
    until("it is told first", LIMIT, || async { (world.db.count(told).await == 3).then_some(()) }).await;
    let soon = "sessions WHERE state = 'ready' AND idle_look_at BETWEEN now() + interval '13 minutes' AND now() + interval '15 minutes'";
    assert_eq!(world.db.count(soon).await, 1);
    world
        .db
        .execute("UPDATE sessions SET used_at = used_at - interval '20 minutes', idle_look_at = idle_look_at - interval '20 minutes'")
        .await;
    world.db.wait_for_state(session, &["stopped"], LIMIT).await;
    world.assert_nothing_left(session);
    let why = "transitions WHERE to_state = 'stopping' AND actor = 'system' AND reason = 'nobody has used it for 1h'";
    assert_eq!((world.db.count(why).await, world.db.count("session_records").await), (1, 1));
    let over = status().await;
    assert!(over.get("idle_at").is_none() && over.get("used_at").is_none() && over.get("durable_object_id").is_some(), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_is_a_use_and_a_page_that_is_merely_open_is_none() {
    let stage = Stage::with(HOUR).await;
    let token = format!("Bearer {}", stage.token("dev", "ann", &[]));
    let (mut terminal, _) = websocket(&stage, &[("Authorization", &token)]).await;
    unused_for(&stage, "5 minutes").await;
    send(stage.as_ann(Method::POST, "/echo").body("x")).await.expect(200);
    used(&stage).await;

    unused_for(&stage, "5 minutes").await;
    let mut open = events(&stage, "/events").await;
    let (_idle, _) = websocket(&stage, &[("Authorization", &token)]).await;
    open.chunk().await.unwrap().unwrap();
    say(&mut terminal, 10).await;
    assert!(stays_unused(&stage).await, "events, a socket that opens, and an answer to a ping");
    open.chunk().await.unwrap().unwrap();

    say(&mut terminal, 1).await;
    used(&stage).await;
    drop((open, terminal));
    unused_for(&stage, "5 minutes").await;
    let mut endless = stage.as_ann(Method::GET, "/endless").send().await.unwrap();
    used(&stage).await;
    unused_for(&stage, "5 minutes").await;
    let reading = async {
        loop {
            endless.chunk().await.unwrap();
        }
    };
    tokio::select! {
        () = reading => {}
        () = used(&stage) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_extends_or_opens_a_session_uses_it() {
    let stage = Stage::with(HOUR).await;
    let ann = stage.world.api("ann");
    unused_for(&stage, "55 minutes").await;
    let extended = ann.send(Method::POST, &format!("/v1/sessions/{}/extend", stage.session), &json!({})).await;
    assert!(extended.expect(200).get("expires_at").is_none(), "its lifetime stays without an end: {}", extended.text);
    used(&stage).await;
    unused_for(&stage, "55 minutes").await;
    stage.open(&ann).await.expect(200);
    used(&stage).await;
    unused_for(&stage, "55 minutes").await;
    let bob = stage.world.api("bob");
    assert_eq!(stage.open(&bob).await.status, 403);
    bob.send(Method::POST, &format!("/v1/sessions/{}/extend", stage.session), &json!({})).await.expect(403);
    send(stage.ask(Method::GET, "/").bearer_auth(stage.token("dev", "bob", &[]))).await.expect(403);
    assert!(stays_unused(&stage).await, "who is refused uses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_uses_are_written_down_when_a_server_goes() {
    let mut stage = Stage::with(HOUR).await;
    // Written half a minute ago at most: one that goes on would wait for the next.
    unused_for(&stage, "10 seconds").await;
    let before: String = stage.world.db.one("SELECT used_at::text FROM sessions").await;
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(stage.world.db.one::<String>("SELECT used_at::text FROM sessions").await, before, "not so often");
    let (status, _) = stage.world.server.terminate().await;
    assert!(status.success(), "{status}");
    assert_ne!(stage.world.db.one::<String>("SELECT used_at::text FROM sessions").await, before);
    stage.world.server.start_again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_tell_of_the_same_session_and_the_latest_use_counts() {
    let stage = Stage::with(HOUR).await;
    unused_for(&stage, "5 minutes").await;
    // Somebody is at work on the session: nobody waits, and nothing is lost.
    let mut busy = sqlx::PgConnection::connect(&stage.world.db.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM sessions FOR UPDATE").execute(&mut busy).await.unwrap();
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    tokio::time::sleep(Duration::from_secs(7)).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut busy).await.unwrap();
    used(&stage).await;

    unused_for(&stage, "5 minutes").await;
    sqlx::raw_sql("BEGIN; SELECT FROM sessions FOR UPDATE").execute(&mut busy).await.unwrap();
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    tokio::time::sleep(Duration::from_secs(7)).await;
    // What another server tells of, later than what waits here.
    sqlx::raw_sql("UPDATE sessions SET used_at = now() + interval '20 seconds'; COMMIT").execute(&mut busy).await.unwrap();
    let later: String = stage.world.db.one("SELECT used_at::text FROM sessions").await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(stage.world.db.one::<String>("SELECT used_at::text FROM sessions").await, later, "never back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_timeout_is_asked_for_within_what_is_allowed() {
    let world = Stage::world(&[("ALPINE_SESSION_IDLE_MAX_SECONDS", "3600")]).await;
    world.git.with_files("org/repo", &[("index.html", "here")]);
    let up = |more: &'static [&'static str]| world.up("ann", REPO, "main", more).run();
    let first = up(&["--client-request-id", "k", "--idle-timeout", "30m"]).await.ok();
    assert_eq!(up(&["--client-request-id", "k", "--idle-timeout", "30m"]).await.ok()["session_id"], first["session_id"]);
    up(&["--client-request-id", "k"]).await.refused(1, "ERR_OPERATION_CONFLICT");
    let refused = up(&["--idle-timeout", "61m"]).await.refused(1, "ERR_INVALID_REQUEST");
    assert_eq!(text(&refused, "cause"), "an idle timeout is at most 1h here");
    let body = json!({ "repo_url": REPO, "branch": "main", "idle_timeout_seconds": 59 });
    let least = world.api("ann").request(Method::POST, "/v1/sessions").header("idempotency-key", "least").json(&body);
    assert_eq!(text(send(least).await.expect(422), "cause"), "an idle timeout is from 60 to 31536000 seconds");
    up(&[]).await.ok();
    let kept = |seconds: u32| format!("sessions WHERE idle_timeout_seconds = {seconds} AND state = 'ready' AND used_at = ready_at");
    assert_eq!(
        (world.db.count(&kept(1800)).await, world.db.count(&kept(3600)).await),
        (1, 1),
        "what is set as the most is the bound of all"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_tell_whether_a_session_is_used_none_ends_so() {
    let world = World::start().await;
    let refused = world.up("ann", REPO, "main", &["--idle-timeout", "30m"]).run().await.refused(1, "ERR_OPERATION_CONFLICT");
    assert_eq!(text(&refused, "cause"), "nobody can tell here whether a session is used");
    assert!(text(&refused, "next_step").contains("ALPINE_APPS_DOMAIN"), "{refused}");
    assert_eq!(world.db.count("sessions").await, 0);
}
