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

    // Several sweeps pass by.
    alpine_tests::until("it is told", LIMIT, || async { (world.db.count(told).await > 0).then_some(()) }).await;
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
    assert_eq!(text(refused.expect(422), "cause"), "a lifetime is at most 1d here");
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

/// Of the tenant `dev`, as an operator sets them.
async fn bound(world: &World, bounds: Value) -> Reply {
    let olga = world.api_of("house", "olga", &["alpine.operator"]);
    olga.send(Method::PATCH, "/v1/tenants/dev", &bounds).await
}

async fn ask(world: &World, tenant: &str, key: &str, more: Value) -> Reply {
    let mut body = json!({ "repo_url": alpine_tests::REPO, "branch": "main", "public": true });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let api = world.api_of(tenant, "ann", &[]);
    alpine_tests::api::send(api.request(Method::POST, "/v1/sessions").header("idempotency-key", key).json(&body)).await
}

/// Its lifetime and its idle timeout.
async fn given(world: &World, accepted: &Reply) -> [Option<i32>; 2] {
    let key = accepted.expect(202)["session_id"].as_str().unwrap().trim_start_matches("ses_").to_owned();
    let of = |column: &str| format!("SELECT {column} FROM sessions WHERE replace(session_id::text, '-', '') = '{key}'");
    [world.db.one(&of("max_lifetime_seconds")).await, world.db.one(&of("idle_timeout_seconds")).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_may_have_bounds_what_is_asked_for_and_cuts_what_is_not() {
    let world = World::with(&[("ALPINE_ROLE", "api"), ("ALPINE_APPS_DOMAIN", "apps.localhost")]).await;
    let first = ask(&world, "dev", "before", json!({ "max_lifetime_seconds": 7200 })).await;
    assert_eq!(given(&world, &first).await, [Some(7200), None], "a tenant that is seen for the first time has no bound");
    let free = ask(&world, "dev", "free", json!({})).await;
    assert_eq!(given(&world, &free).await, [None, None]);

    let set = bound(&world, json!({ "max_lifetime_seconds": 3600, "max_idle_seconds": 600 })).await;
    assert_eq!(set.expect(200)["quotas"]["max_idle_seconds"], 600, "{}", set.text);
    let before = world.db.count("sessions").await;
    for (more, cause) in [
        (json!({ "max_lifetime_seconds": 3601 }), "a lifetime is at most 1h here"),
        (json!({ "idle_timeout_seconds": 601 }), "an idle timeout is at most 10m here"),
    ] {
        let refused = ask(&world, "dev", "more", more).await;
        let body = refused.expect(422);
        assert_eq!((text(body, "error_code"), text(body, "cause")), ("ERR_INVALID_REQUEST".into(), cause.into()));
    }
    assert_eq!((world.db.count("sessions").await, world.db.count("idempotency_keys WHERE key = 'more'").await), (before, 0));
    let most = ask(&world, "dev", "most", json!({ "max_lifetime_seconds": 3600, "idle_timeout_seconds": 600 })).await;
    assert_eq!(given(&world, &most).await, [Some(3600), Some(600)]);
    let less = ask(&world, "dev", "less", json!({ "max_lifetime_seconds": 60 })).await;
    assert_eq!(given(&world, &less).await, [Some(60), Some(600)], "each by itself");
    assert_eq!(given(&world, &ask(&world, "dev", "none", json!({})).await).await, [Some(3600), Some(600)], "without an end");

    // A key that has its answer answers, and what was accepted keeps what it had.
    let again = ask(&world, "dev", "before", json!({ "max_lifetime_seconds": 7200 })).await;
    assert_eq!(again.body["session_id"], first.body["session_id"]);
    assert_eq!((given(&world, &first).await, given(&world, &free).await), ([Some(7200), None], [None, None]));
    let other = ask(&world, "other", "k", json!({ "max_lifetime_seconds": 7200 })).await;
    assert_eq!(given(&world, &other).await, [Some(7200), None], "it is nobody else's");
    assert_eq!(given(&world, &ask(&world, "other", "none", json!({})).await).await, [None, None]);

    bound(&world, json!({ "max_lifetime_seconds": null, "max_idle_seconds": null })).await.expect(200);
    assert_eq!(given(&world, &ask(&world, "dev", "k2", json!({ "max_lifetime_seconds": 7200 })).await).await, [Some(7200), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_the_server_gives_and_what_the_tenant_may_have_the_shorter_counts() {
    let server = [("ALPINE_ROLE", "api"), ("ALPINE_SESSION_LIFETIME_SECONDS", "1800"), ("ALPINE_SESSION_LIFETIME_MAX_SECONDS", "7200")];
    let world = World::with(&server).await;
    let olga = world.api_of("house", "olga", &["alpine.operator"]);
    let made = json!({ "tenant_id": "dev", "quotas": { "max_lifetime_seconds": 600 } });
    olga.send(Method::POST, "/v1/tenants", &made).await.expect(201);
    olga.send(Method::POST, "/v1/tenants", &made).await.expect(200);
    let listed = olga.get("/v1/tenants").await.expect(200)["tenants"].as_array().unwrap().clone();
    let dev = listed.iter().find(|tenant| tenant["tenant_id"] == "dev").unwrap();
    assert_eq!((&dev["quotas"]["max_lifetime_seconds"], &dev["quotas"]["max_idle_seconds"]), (&json!(600), &Value::Null));
    assert_eq!(given(&world, &ask(&world, "dev", "cut", json!({})).await).await, [Some(600), None], "the standard is cut");
    bound(&world, json!({ "max_lifetime_seconds": 86_400 })).await.expect(200);
    assert_eq!(given(&world, &ask(&world, "dev", "standard", json!({})).await).await, [Some(1800), None], "and not made longer");
    let refused = ask(&world, "dev", "more", json!({ "max_lifetime_seconds": 7201 })).await;
    assert_eq!(text(refused.expect(422), "cause"), "a lifetime is at most 2h here", "the server's is less");

    for bad in [json!({ "max_lifetime_seconds": 59 }), json!({ "max_lifetime_seconds": 31_536_001 }), json!({ "max_idle_seconds": 59 })] {
        bound(&world, bad).await.expect(422);
    }
    let unseen = bound(&world, json!({ "max_idle_seconds": 600 })).await;
    assert!(text(unseen.expect(422), "cause").contains("ALPINE_APPS_DOMAIN"), "{}", unseen.text);
    let admin = world.api_of("dev", "root", &["alpine.admin"]);
    admin.send(Method::PATCH, "/v1/tenants/dev", &json!({ "max_lifetime_seconds": null })).await.expect(403);
    // From when sessions had hosts here.
    world.db.execute("UPDATE tenants SET max_idle_seconds = 600").await;
    assert_eq!(given(&world, &ask(&world, "dev", "unseen", json!({})).await).await, [Some(1800), None], "nobody sees that it is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_extended_within_what_its_tenant_may_have_now() {
    let world = World::start().await;
    let bounded = world.up("ann", alpine_tests::REPO, "main", &["--max-lifetime", "2h"]).run().await.ok();
    let session = text(&bounded, "session_id");
    let before = expires(&world.status("ann", &session).await.ok());
    bound(&world, json!({ "max_lifetime_seconds": 10_800 })).await.expect(200);
    let refused = extend(&world, "ann", &session, json!({ "lifetime_seconds": 10_801 })).await;
    assert_eq!(text(refused.expect(422), "cause"), "a lifetime is at most 3h here");
    let longer = extend(&world, "ann", &session, json!({ "lifetime_seconds": 10_800 })).await;
    assert!(expires(longer.expect(200)) - before > TimeDelta::minutes(55), "{}", longer.text);

    bound(&world, json!({ "max_lifetime_seconds": 600 })).await.expect(200);
    let own = extend(&world, "ann", &session, json!({})).await;
    assert_eq!(expires(own.expect(200)), expires(&longer.body), "it keeps what it had, and has no more");
    world.db.execute("UPDATE sessions SET expires_at = now() + interval '1 minute'").await;
    let cut = extend(&world, "ann", &session, json!({})).await;
    assert!(before - expires(cut.expect(200)) > TimeDelta::hours(1), "its own two hours are cut: {}", cut.text);
    bound(&world, json!({ "max_lifetime_seconds": null })).await.expect(200);
    let free = extend(&world, "ann", &session, json!({ "lifetime_seconds": 86_400 })).await;
    assert!(expires(free.expect(200)) - before > TimeDelta::hours(21), "{}", free.text);
}
