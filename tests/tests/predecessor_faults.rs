//! The predecessor's four faults, one named test each.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_api::{OperationKind, OperationStatus, SessionState, StoredRecord};
use alpine_tests::{LIGHT_SERVE, REPO, World, cli::text, db::uuid, git_server::url};
use chrono::{DateTime, Utc};

const LIMIT: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread")]
async fn list_answers_within_a_second_while_fifty_ups_hang_in_git() {
    let world = World::start().await;
    world.git.with_files("org/hang", &[("a", "a")]);
    world.git.delay("org/hang", Duration::MAX);
    let api = world.api("ann");
    let mut sessions = Vec::new();
    for number in 0..50 {
        let reply = api.up(&format!("k{number}"), &url("org/hang"), "main").await;
        sessions.push(text(reply.expect(202), "session_id"));
    }
    alpine_tests::until("fifty gits wait for an answer", LIMIT, || async { (world.git.requests("org/hang") >= 50).then_some(()) }).await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let list = world.alpine("ann").args(&["list", "--json"]).run().await;
        times.push(list.took);
        let list = list.ok();
        let listed: Vec<String> = list.as_array().unwrap().iter().map(|session| text(session, "session_id")).collect();
        assert!(sessions.iter().all(|session| listed.contains(session)), "some are not visible");
        assert!(list.as_array().unwrap().iter().all(|session| session["state"] == "provisioning"), "{list}");
    }
    times.sort();
    // One of them may have met this machine at work.
    assert!(times[2] < Duration::from_secs(1) && times[4] < Duration::from_secs(5), "{times:?}");
    let begun = Instant::now();
    world.up("bob", REPO, "main", &[]).run().await.ok();
    assert!(begun.elapsed() < Duration::from_secs(60), "others are not disturbed");
}

/// Something serves that ignores the polite signal, so that `stopping` takes as long as the grace.
async fn stubborn() -> (World, String) {
    let serve = format!("trap '' TERM; {LIGHT_SERVE}");
    let world = World::with(&[("ALPINE_SANDBOX_SERVE", &serve), ("ALPINE_LEASE_SECONDS", "3")]).await;
    let session = text(&world.ready("ann").await, "session_id");
    (world, session)
}

async fn ends_stopped(world: &World, session: &str) {
    world.db.wait_for_state(session, &["stopped"], LIMIT).await;
    let path = world.db.path(session).await;
    assert_eq!(path[4..], ["ready", "stopping", "persisting", "stopped"], "each state once");
    world.assert_nothing_left(session);
    assert_eq!(world.db.count("operations WHERE kind = 'down'").await, 1);
    let record = world.api("ann").get(&format!("/v1/sessions/{session}/record")).await;
    assert_eq!(record.expect(200)["record"]["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_stopping_goes_on_to_stopped() {
    let (mut world, session) = stubborn().await;
    let waiting = world.alpine("ann").args(&["down", &session, "--json"]).spawn();
    world.db.wait_for_state(&session, &["stopping"], LIMIT).await;
    world.server.kill();
    assert_eq!(world.db.state(&session).await, "stopping");
    world.server.start_again().await;
    assert_eq!(waiting.await.unwrap().ok()["state"], "stopped", "the one who waited is told");
    ends_stopped(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_persisting_goes_on_to_stopped() {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let session = text(&world.ready("ann").await, "session_id");
    let locked = world.db.lock("session_records").await;
    let waiting = world.alpine("ann").args(&["down", &session, "--json"]).spawn();
    world.db.wait_for_state(&session, &["persisting"], LIMIT).await;
    world.server.kill();
    assert_eq!(world.db.state(&session).await, "persisting");
    locked.rollback().await.unwrap();
    world.server.start_again().await;
    assert_eq!(waiting.await.unwrap().ok()["state"], "stopped", "the one who waited is told");
    ends_stopped(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_down_of_an_interrupted_down_carries_it_on() {
    let (mut world, session) = stubborn().await;
    let first = world.api("ann").down(&session, serde_json::json!({})).await;
    world.db.wait_for_state(&session, &["stopping"], LIMIT).await;
    world.server.kill();
    world.server.start_again().await;
    let down = world.down("ann", &session, &[]).await.ok();
    assert_eq!((&down["state"], &down["operation_id"]), (&"stopped".into(), &first.body["operation_id"]));
    ends_stopped(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_failed_up_is_the_error() {
    let world = World::start().await;
    let (broken, _) = world.git.with_files("org/broken", &[(".alpine.toml", "install = \"exit 7\"")]);
    for (key, repo, branch) in [("absent", REPO, "absent"), ("install", broken.as_str(), "main")] {
        let up = || world.up("ann", repo, branch, &["--client-request-id", key]).run();
        let error = up().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
        for _ in 0..2 {
            assert_eq!(up().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED"), error);
        }
        assert!(text(&error, "next_step").contains("NEW"), "{error}");
        let reply = world.api("ann").request(reqwest::Method::POST, "/v1/sessions").header("Idempotency-Key", key);
        let body = serde_json::json!({ "repo_url": repo, "branch": branch, "repo_token": "dummy" });
        let reply = alpine_tests::api::send(reply.json(&body)).await;
        assert_eq!(reply.expect(502)["error_code"], "ERR_SANDBOX_PROVISION_FAILED", "a replay is never a success");
    }
    assert_eq!(world.db.count("operations").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn persisted_at_is_one_value_everywhere() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let down = world.down("ann", &session, &[]).await.ok();
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let answered = time(down["persisted_at"].as_str().unwrap());

    let api = world.api("ann");
    let operation = api.get(&format!("/v1/operations/{}", text(&down, "operation_id"))).await;
    let operation = operation.expect(200);
    let shown = api.get(&format!("/v1/sessions/{session}")).await;
    let shown = shown.expect(200);
    let reply = api.get(&format!("/v1/sessions/{session}/record")).await;
    reply.expect(200);
    let stored: StoredRecord = serde_json::from_str(&reply.text).unwrap();
    let payload: alpine_api::SessionRecord = serde_json::from_str(stored.record.get()).unwrap();

    let id = uuid(&session);
    let row: DateTime<Utc> = world.db.one(&format!("SELECT persisted_at FROM session_records WHERE session_id = '{id}'")).await;
    let ledger: DateTime<Utc> = world.db.one(&format!("SELECT persisted_at FROM sessions WHERE session_id = '{id}'")).await;
    let ended: DateTime<Utc> =
        world.db.one(&format!("SELECT at FROM transitions WHERE session_id = '{id}' AND to_state = 'stopped'")).await;
    let last = payload.state_transitions.last().unwrap();
    let everywhere = [
        ("operation", time(operation["persisted_at"].as_str().unwrap())),
        ("session", time(shown["persisted_at"].as_str().unwrap())),
        ("record", stored.persisted_at),
        ("payload", payload.persisted_at),
        ("row of the record", row),
        ("row of the session", ledger),
        ("last transition", ended),
        ("last transition in the payload", last.at),
    ];
    for (place, value) in everywhere {
        assert_eq!(value, answered, "{place}");
    }
    let bytes: Vec<u8> = world.db.one(&format!("SELECT payload FROM session_records WHERE session_id = '{id}'")).await;
    assert_eq!(bytes, stored.record.get().as_bytes(), "what is shown is what is stored");

    assert_eq!((payload.state, last.to_state), (SessionState::Stopped, SessionState::Stopped));
    assert_eq!(payload.stopped_at, time(shown["stopped_at"].as_str().unwrap()));
    let own = payload.operation_history.last().unwrap();
    assert_eq!((own.kind, own.status), (OperationKind::Down, OperationStatus::Succeeded), "the completed down is in it");
    assert_eq!(own.operation_id.to_string(), text(&down, "operation_id"));
    assert_eq!(own.finished_at, Some(answered));
    assert_eq!(time(operation["finished_at"].as_str().unwrap()), answered);
}
