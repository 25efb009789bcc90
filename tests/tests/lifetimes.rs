//! A session whose lifetime is bounded ends by itself, as by a `down`, and not before.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use alpine_tests::{World, api::Reply, cli::text, server::Server};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

async fn extend(world: &World, principal: &str, session: &str, body: Value) -> Reply {
    world.api(principal).send(Method::POST, &format!("/v1/sessions/{session}/extend"), &body).await
}

fn expires(session: &Value) -> DateTime<Utc> {
    text(session, "expires_at").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_stopped_when_its_lifetime_is_over_and_its_record_is_kept() {
    let world = World::with(&[("ALPINE_SWEEP_SECONDS", "1")]).await;
    let bounded = world.up("ann", alpine_tests::REPO, "main", &["--max-lifetime", "2h"]).run().await.ok();
    let free = world.ready("ann").await;
    let session = text(&bounded, "session_id");
    let shown = world.status("ann", &session).await.ok();
    let ready: DateTime<Utc> = text(&shown, "ready_at").parse().unwrap();
    assert_eq!(expires(&shown) - ready, TimeDelta::hours(2));
    assert!(!text(&shown, "next_step").contains("extend"), "there is time enough: {shown}");
    assert!(world.status("ann", &text(&free, "session_id")).await.ok().get("expires_at").is_none());

    let told = "progress WHERE phase = 'lifetime' AND actor = 'system' AND message LIKE 'its lifetime is over at 20__-__-__T__:__:__Z'";
    let soon = "UPDATE sessions SET expires_at = now() + interval '14 minutes' WHERE max_lifetime_seconds = 7200";
    assert_eq!((world.db.count(told).await, world.db.execute(soon).await), (0, 1));
    let warned = world.status("ann", &session).await.ok();
    assert!(text(&warned, "next_step").contains(&format!("run alpine extend {session}")), "{warned}");

    // Several sweeps have passed by.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.db.count(told).await, 1, "once");
    let events = world.api("ann").get(&format!("/v1/sessions/{session}/events?limit=200")).await;
    let last = events.expect(200)["events"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((text(&last, "kind"), text(&last, "phase")), ("progress".into(), "lifetime".into()), "{last}");
    let later = "UPDATE sessions SET expires_at = now() + interval '1 hour' WHERE max_lifetime_seconds = 7200";
    world.db.execute(later).await;
    world.db.execute(soon).await;
    alpine_tests::until("it is told anew", LIMIT, || async { (world.db.count(told).await == 2).then_some(()) }).await;
    assert_eq!(world.db.state(&session).await, "ready", "not before its time");
    world.db.meddle("UPDATE sessions SET expires_at = now() WHERE max_lifetime_seconds = 7200").await;
    world.db.wait_for_state(&session, &["stopped"], LIMIT).await;
    world.assert_nothing_left(&session);
    let why = "transitions WHERE to_state = 'stopping' AND actor = 'system' AND reason = 'its lifetime is over'";
    assert_eq!((world.db.count(why).await, world.db.count("session_records").await), (1, 1));
    let over = world.status("ann", &session).await.ok();
    assert!(over.get("expires_at").is_none() && over.get("durable_object_id").is_some(), "{over}");
    assert_eq!(world.db.state(&text(&free, "session_id")).await, "ready", "the one without an end goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_moved_by_those_who_may_and_never_to_an_earlier_time() {
    let world = World::with(&[("ALPINE_SESSION_LIFETIME_SECONDS", "3600"), ("ALPINE_SESSION_LIFETIME_MAX_SECONDS", "86400")]).await;
    let session = text(&world.ready("ann").await, "session_id");
    let first = expires(&world.status("ann", &session).await.ok());
    let longer = world.alpine("ann").args(&["extend", &session, "--for", "8h", "--json"]).run().await.ok();
    assert!(expires(&longer) - first > TimeDelta::hours(6), "{longer}");
    let same = extend(&world, "ann", &session, json!({})).await;
    assert_eq!(expires(same.expect(200)), expires(&longer), "an hour from now is before that");

    let refused = extend(&world, "ann", &session, json!({ "lifetime_seconds": 86_401 })).await;
    assert_eq!(text(refused.expect(422), "cause"), "a lifetime is at most 86400 seconds here");
    extend(&world, "ann", &session, json!({ "lifetime_seconds": 59 })).await.expect(422);
    assert_eq!(text(extend(&world, "bob", &session, json!({})).await.expect(403), "error_code"), "ERR_SESSION_FORBIDDEN");
    let elsewhere = world.api_of("other", "ann", &[]).send(Method::POST, &format!("/v1/sessions/{session}/extend"), &json!({})).await;
    assert_eq!(text(elsewhere.expect(404), "error_code"), "ERR_SESSION_NOT_FOUND");
    let by_admin = world.api_of("dev", "root", &["alpine.admin"]);
    by_admin.send(Method::POST, &format!("/v1/sessions/{session}/extend"), &json!({ "lifetime_seconds": 86_400 })).await.expect(200);
    let audited = "audit_log WHERE action = 'session.extend' AND owner = 'ann' AND actor || outcome IN ('bobdenied', 'rootdone')";
    assert_eq!(world.db.count(audited).await, 2);

    // As one is that was accepted before anything was set.
    world.db.meddle("UPDATE sessions SET expires_at = NULL, max_lifetime_seconds = NULL").await;
    let free = extend(&world, "ann", &session, json!({ "lifetime_seconds": 60 })).await;
    assert!(free.expect(200).get("expires_at").is_none(), "it stays without an end: {}", free.text);
    world.down("ann", &session, &[]).await.ok();
    let over = extend(&world, "ann", &session, json!({})).await;
    assert_eq!(text(over.expect(409), "cause"), "session is stopped, and only a ready one has a lifetime");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifetime_is_part_of_what_makes_two_requests_the_same() {
    let world = World::with(&[("ALPINE_SESSION_LIFETIME_MAX_SECONDS", "3600")]).await;
    let up = |more: &'static [&'static str]| world.up("ann", alpine_tests::REPO, "main", more).run();
    let first = up(&["--client-request-id", "k", "--max-lifetime", "30m"]).await.ok();
    assert_eq!(up(&["--client-request-id", "k", "--max-lifetime", "30m"]).await.ok()["session_id"], first["session_id"]);
    up(&["--client-request-id", "k", "--max-lifetime", "31m"]).await.refused(1, "ERR_OPERATION_CONFLICT");
    up(&["--client-request-id", "k"]).await.refused(1, "ERR_OPERATION_CONFLICT");
    up(&["--max-lifetime", "61m"]).await.refused(1, "ERR_INVALID_REQUEST");
    // Accepted when more could be had, its answer lost.
    let hour = up(&["--client-request-id", "hour", "--max-lifetime", "60m"]).await.ok();
    let stricter = world.another_server(&[("ALPINE_SESSION_LIFETIME_MAX_SECONDS", "600")]).await;
    let closed = world.another_server(&[("ALPINE_GIT_DENY_HOSTS", "github.com")]).await;
    let body = json!({ "repo_url": alpine_tests::REPO, "branch": "main", "max_lifetime_seconds": 3600 });
    let again = |server: &Server, key: &str| {
        let api = world.api_at(&server.base(), "ann");
        alpine_tests::api::send(api.request(Method::POST, "/v1/sessions").header("idempotency-key", key).json(&body))
    };
    for server in [&stricter, &closed] {
        assert_eq!(again(server, "hour").await.expect(200)["session_id"], hour["session_id"], "a key that has its answer answers");
    }
    again(&stricter, "another").await.expect(422);
    assert_eq!(again(&closed, "another").await.body["error_code"], "ERR_INVALID_REPO_URL");
    let bounded = up(&[]).await.ok();
    let shown = world.status("ann", &text(&bounded, "session_id")).await.ok();
    let ready: DateTime<Utc> = text(&shown, "ready_at").parse().unwrap();
    assert_eq!(expires(&shown) - ready, TimeDelta::hours(1), "what is set as the most is the bound of all");
}
