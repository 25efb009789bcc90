//! People at work, and people who do what they should not.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use alpine_tests::{
    REPO, World,
    api::{Api, send},
    cli::text,
    db::uuid,
    git_server::url,
    sse::Stream,
};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::json;

const UPS: usize = 22;
/// Nobody but the fewest begins later, on however slow a machine: an hour of the rules is a minute, and the gate of a release's first hour is to be seen.
const GOOD: Duration = Duration::from_secs(25);
/// Half of them end: of so many there are enough.
const FEWEST: usize = 10;
const AT_ONCE: usize = 4;
/// Between two misdeeds of a kind.
const PACE: Duration = Duration::from_secs(1);

/// What good work has left.
pub struct Left {
    pub ready: Vec<String>,
    pub stopped: Vec<String>,
}

/// The operation's end, waited for by the API.
async fn ended(api: &Api, operation: &str) {
    loop {
        let request = api.request(Method::GET, &format!("/v1/operations/{operation}")).header("Prefer", "wait=30");
        let reply = send(request).await;
        if reply.body["status"] != "queued" && reply.body["status"] != "running" {
            return;
        }
    }
}

/// An `up` that gets ready, looked at in every way; every second one is ended.
async fn session(world: &World, apis: &[Api], number: usize) -> (String, bool) {
    let api = &apis[number % apis.len()];
    let repository = if number == 0 { url("org/slow") } else { REPO.to_owned() };
    let up = api.up(&format!("good{number}"), &repository, "main").await;
    let up = up.expect(202);
    let session = text(up, "session_id");
    let stream =
        if number.is_multiple_of(5) { Some(Stream::open(api, &format!("/v1/sessions/{session}/events"), None).await) } else { None };
    ended(api, &text(up, "operation_id")).await;
    world.db.wait_for_state(&session, &["ready"], Duration::from_secs(60)).await;
    for path in [String::new(), "/events".to_owned(), "/log".to_owned()] {
        api.get(&format!("/v1/sessions/{session}{path}")).await.expect(200);
    }
    api.get("/v1/sessions").await.expect(200);
    drop(stream);
    let ends = number % 2 == 1;
    if ends {
        let down = api.down(&session, json!({})).await;
        ended(api, &text(down.expect(202), "operation_id")).await;
        world.db.wait_for_state(&session, &["stopped"], Duration::from_secs(60)).await;
        api.get(&format!("/v1/sessions/{session}/record")).await.expect(200);
    }
    (session, ends)
}

/// Of each server a share.
pub async fn good(world: &World, apis: &[Api]) -> Left {
    world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 6\"")]);
    let begun = Instant::now();
    let numbers = stream::iter((0..UPS).take_while(|number| *number < FEWEST || begun.elapsed() < GOOD));
    let sessions: Vec<_> = numbers.map(|number| session(world, apis, number)).buffer_unordered(AT_ONCE).collect().await;
    // What is a spike is told by the average of all times so far: a machine that is done sooner has as many of them.
    tokio::time::sleep(GOOD.saturating_sub(begun.elapsed())).await;
    let (stopped, ready): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|(_, ends)| *ends);
    let ids = |sessions: Vec<(String, bool)>| sessions.into_iter().map(|(session, _)| session).collect();
    Left { ready: ids(ready), stopped: ids(stopped) }
}

/// Sandboxes of sessions that are over: more than 2 % of the `up`s, and three of them.
pub fn orphans(world: &World, left: &Left) {
    for session in &left.stopped[..4] {
        std::fs::create_dir_all(world.workspace(session)).unwrap();
    }
}

/// All misdeeds at once, until dropped.
pub async fn bad(world: &World, apis: &[Api], left: &Left) {
    let count = AtomicUsize::new(0);
    let next = || count.fetch_add(1, Ordering::Relaxed);
    let conflicts = every(async || {
        // A key with other parameters; and the key of a session that is over.
        apis[0].up("good2", REPO, "other").await.expect(422);
        apis[1].up("good2", REPO, "another").await.expect(422);
        for api in apis {
            api.up("good1", REPO, "main").await.expect(409);
        }
    });
    let forbidden = every(async || {
        let path = format!("/v1/sessions/{}", left.ready[1]);
        join_all((0..3).map(|_| async { world.api("bob").get(&path).await.expect(403).clone() })).await;
    });
    let failing = every(async || {
        join_all((0..3).map(|_| async { fails(&apis[0], &format!("bad{}", next())).await })).await;
    });
    let too_large = never_fits(world, &apis[0], &left.ready[0]);
    tokio::join!(conflicts, forbidden, failing, too_large);
}

/// An `up` of a branch that is not there fails, and its failure is told again.
async fn fails(api: &Api, key: &str) {
    let up = api.up(key, REPO, "nowhere").await;
    ended(api, &text(up.expect(202), "operation_id")).await;
    let again = api.up(key, REPO, "nowhere").await;
    assert_eq!(again.expect(502)["error_code"], "ERR_SANDBOX_PROVISION_FAILED");
}

/// A session whose record is too large, and whose `down` is tried over and over. Each failure becomes the session's last error, and so small.
async fn never_fits(world: &World, api: &Api, session: &str) {
    let enlarge = format!(
        "UPDATE sessions SET last_error = jsonb_build_object('error_code', 'ERR_INTERNAL', 'cause', repeat('x', 600000),
         'next_step', 'x', 'retryable', false) WHERE session_id = '{}'",
        uuid(session)
    );
    every(async || {
        world.db.execute(&enlarge).await;
        let down = api.down(session, json!({ "retry_persist": true })).await;
        ended(api, &text(down.expect(202), "operation_id")).await;
    })
    .await;
}

async fn every(mut misdeed: impl AsyncFnMut()) {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        misdeed().await;
    }
}
