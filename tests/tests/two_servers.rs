//! Two servers on one database: they share the work, and one carries on what the other cannot.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_tests::{REPO, World, cli::text, git_server::url};

const LIMIT: Duration = Duration::from_secs(120);
const LEASE: Duration = Duration::from_secs(3);
const SLOW: &str = "install = \"sleep 5; echo done >> installed\"";

async fn done(server: &alpine_tests::server::Server) -> f64 {
    server.metric("alpine_operations_total", &["kind=\"up\"", "outcome=\"succeeded\""]).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_share_twenty_ups() {
    let world = World::start().await;
    let second = world.another_server(&[]).await;
    let bases = [world.server.base(), second.base()];
    let up = |n: usize| world.up("ann", REPO, "main", &[]).env("ALPINE_SERVER", &bases[n % 2]).spawn();
    let all: Vec<_> = (0..20).map(up).collect();
    let mut sessions = std::collections::BTreeSet::new();
    for up in all {
        sessions.insert(text(&up.await.unwrap().ok(), "session_id"));
    }
    assert_eq!(sessions.len(), 20);
    let (one, two) = (done(&world.server).await, done(&second).await);
    assert!(one >= 1.0 && two >= 1.0, "one did {one}, the other {two}");
    assert_eq!((one + two).round(), 20.0, "each up was ended once");
    let twice = world.db.count("(SELECT 1 FROM transitions GROUP BY session_id, to_state HAVING count(*) > 1) AS twice").await;
    assert_eq!(twice, 0, "no state was reached twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_down_through_one_server_is_heard_by_who_waits_at_the_other() {
    let world = World::start().await;
    let second = world.another_server(&[]).await;
    let session = text(&world.ready("ann").await, "session_id");
    let down = |base: String| world.alpine("ann").env("ALPINE_SERVER", &base).args(&["down", &session, "--json"]).spawn();
    let (one, two) = (down(world.server.base()), down(second.base()));
    assert_eq!(one.await.unwrap().ok(), two.await.unwrap().ok());
}

/// Six slow `up`s that `world.server` has all begun to install.
async fn six_in_progress(world: &World) -> Vec<String> {
    six_that_install(world, SLOW).await
}

async fn six_that_install(world: &World, install: &str) -> Vec<String> {
    world.git.with_files("org/slow", &[(".alpine.toml", install)]);
    let api = world.api("ann");
    let mut sessions = Vec::new();
    for n in 0..6 {
        sessions.push(text(api.up(&format!("k{n}"), &url("org/slow"), "main").await.expect(202), "session_id"));
    }
    for session in &sessions {
        world.db.wait_for_state(session, &["installing"], LIMIT).await;
    }
    sessions
}

/// Waits until nobody holds a lease but `other` than the owners of now; how long that took.
async fn adopted(world: &World, owner: &str) -> Duration {
    let begun = Instant::now();
    let left = format!("leases WHERE owner = '{owner}'");
    alpine_tests::until("every lease is adopted", LIMIT, || async { (world.db.count(&left).await == 0).then_some(()) }).await;
    begun.elapsed()
}

async fn each_is_ready_once(world: &World, sessions: &[String]) {
    for session in sessions {
        world.db.wait_for_state(session, &["ready", "failed"], LIMIT).await;
        let path = world.db.path(session).await;
        assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready"]);
        let installed = std::fs::read_to_string(world.workspace(session).join("installed")).unwrap();
        assert!(!installed.is_empty() && installed.lines().all(|line| line == "done"), "installed to the end: {installed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_was_doing_is_adopted_within_its_lease_and_five_seconds() {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let sessions = six_in_progress(&world).await;
    let owner: String = world.db.one("SELECT min(owner) FROM leases").await;
    let second = world.another_server(&[]).await;
    world.server.kill();
    let took = adopted(&world, &owner).await;
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
    each_is_ready_once(&world, &sessions).await;
    assert!(second.metric("alpine_lease_adoptions_total", &[]).await.unwrap_or_default() >= 1.0, "adoptions are counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_was_doing_when_it_was_told_to_stop_is_handed_over_at_once() {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "600"), ("ALPINE_HAND_OVER_SECONDS", "1")]).await;
    // None of them is done before another server is there to go on with it.
    let sessions = six_that_install(&world, "install = \"sleep 12; echo done >> installed\"").await;
    let owner: String = world.db.one("SELECT min(owner) FROM leases").await;
    let second = world.another_server(&[]).await;
    let (status, _) = world.server.terminate().await;
    assert!(status.success(), "{status}");
    assert_eq!(world.db.count(&format!("leases WHERE owner = '{owner}'")).await, 0, "it kept a lease");
    each_is_ready_once(&world, &sessions).await;
    let gone_on = second.metric("alpine_operation_phase_duration_seconds_count", &["phase=\"start\"", "outcome=\"ok\""]).await;
    assert_eq!(gone_on, Some(6.0), "the other went on with all of them");
    let adoptions = second.metric("alpine_lease_adoptions_total", &[]).await;
    assert_eq!(adoptions, Some(0.0), "nothing was taken: it was given");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wakes_up_too_late_changes_nothing() {
    let world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let sessions = six_in_progress(&world).await;
    let owner: String = world.db.one("SELECT min(owner) FROM leases").await;
    let _second = world.another_server(&[]).await;
    world.server.freeze();
    adopted(&world, &owner).await;
    // In the middle of the other's work.
    world.server.thaw();
    each_is_ready_once(&world, &sessions).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seqs = world.db.count("transitions WHERE to_state = 'ready'").await;
    assert_eq!(seqs, 6);
    for session in &sessions {
        let down = world.down("ann", session, &[]).await.ok();
        assert_eq!(down["state"], "stopped");
        world.assert_nothing_left(session);
    }
}
