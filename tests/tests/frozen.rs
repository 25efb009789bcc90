//! Holders that sleep beyond their leases: when they wake up, what they held is another's.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; the counts are the point")]

use std::{ops::Range, time::Duration};

use alpine_server::domain::operation::Phase;
use alpine_tests::{
    World,
    drive::{CHEAP_SERVE, Drive, LIMIT, each, sessions},
    git_server::url,
    sandboxes,
    server::Server,
};

const TRIALS: usize = 200;
const AT_ONCE: usize = 20;
const INSTALL: &str = "install = \"sleep 1; echo ran >> installs\"";
const SETTINGS: &[(&str, &str)] = &[("ALPINE_LEASE_SECONDS", "2"), ("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)];

/// How often a server has given an operation up: refused at a write, or told by its heartbeat.
fn given_up(server: &Server) -> usize {
    let log = server.log_text();
    ["another has this operation now", "the lease is lost; another goes on", "the operation is left to be claimed again"]
        .iter()
        .map(|words| log.matches(words).count())
        .sum()
}

async fn fenced(server: &Server) -> f64 {
    server.metric("alpine_fenced_writes_total", &[]).await.unwrap()
}

/// Appends whose fence is lower than that of the one before.
async fn stale(world: &World) -> i64 {
    let pairs = "(SELECT fence, lag(fence) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before FROM transitions) AS pairs";
    world.db.count(&format!("{pairs} WHERE fence < before")).await
}

async fn pause(milliseconds: Range<u64>) {
    let spread = milliseconds.end - milliseconds.start;
    let random = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * spread / 256;
    tokio::time::sleep(Duration::from_millis(milliseconds.start + random)).await;
}

/// The worker that holds most, or the one that holds nothing.
async fn owner_of_most(world: &World, but: &str) -> Option<String> {
    let most = format!(
        "SELECT (SELECT owner FROM leases WHERE until > clock_timestamp() AND owner <> '{but}' GROUP BY owner ORDER BY count(*) DESC LIMIT 1)"
    );
    world.db.one(&most).await
}

/// Freeze it, let the other take what it held, and wake it up in the middle of that. How much it held.
async fn sleep_beyond_the_lease(world: &World, server: &Server, owner: &str) -> usize {
    server.freeze();
    // What it had sent to the database has arrived.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let held = format!("leases WHERE owner = '{owner}' AND until > clock_timestamp()");
    let trials = world.db.count(&held).await;
    let left = format!("leases WHERE owner = '{owner}'");
    alpine_tests::until("all is adopted", LIMIT, || async { (world.db.count(&left).await == 0).then_some(()) }).await;
    assert!(server.is_frozen(), "it slept all the while");
    pause(0..300).await;
    server.thaw();
    usize::try_from(trials).unwrap()
}

/// As many operations in progress as there should be.
async fn top_up(world: &World, begun: &mut usize) {
    let live = world.db.count("operations WHERE status IN ('queued', 'running')").await;
    let api = world.api("ann");
    for _ in usize::try_from(live).unwrap()..AT_ONCE {
        api.up(&format!("k{begun}"), &url("org/slow"), "main").await.expect(202);
        *begun += 1;
    }
    let running = "operations WHERE status = 'running'";
    let all = i64::try_from(AT_ONCE).unwrap() / 2;
    alpine_tests::until("enough is in progress", LIMIT, || async { (world.db.count(running).await >= all).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_sleeps_beyond_its_lease_writes_nothing_when_it_wakes() {
    let world = World::with(SETTINGS).await;
    world.git.with_files("org/slow", &[(".alpine.toml", INSTALL)]);
    let (mut begun, mut trials, mut rounds) = (0, 0, 0);
    // Who of the two is whom in the ledger: the first has begun something before the second is there.
    top_up(&world, &mut begun).await;
    let first = owner_of_most(&world, "").await.unwrap();
    let second = world.another_server(SETTINGS).await;
    while trials < TRIALS {
        let server = if rounds % 2 == 0 { &world.server } else { &second };
        let owner = if rounds % 2 == 0 { Some(first.clone()) } else { owner_of_most(&world, &first).await };
        if let Some(owner) = owner {
            trials += sleep_beyond_the_lease(&world, server, &owner).await;
        }
        rounds += 1;
        assert!(rounds < 100, "{trials} trials in {rounds} rounds");
        top_up(&world, &mut begun).await;
        pause(0..1200).await;
    }
    let unfinished = "operations WHERE status IN ('queued', 'running')";
    alpine_tests::until("all is done", LIMIT, || async { (world.db.count(unfinished).await == 0).then_some(()) }).await;
    let both = [&world.server, &second];
    let gave_up = || async { Some(both.map(given_up).iter().sum::<usize>()).filter(|given_up| *given_up >= trials) };
    let given_up = alpine_tests::until("each holder gave up what it had held", LIMIT, gave_up).await;
    let fenced = fenced(&world.server).await + fenced(&second).await;
    eprintln!("{trials} trials in {rounds} rounds with {begun} sessions; given up {given_up}, of these refused at a write {fenced}");

    assert!(fenced >= 1.0, "no write was ever tried");
    assert_eq!(stale(&world).await, 0, "stale writes");
    let errors: Option<Vec<String>> = world.db.one("SELECT array_agg(last_error::text) FROM sessions WHERE last_error IS NOT NULL").await;
    assert_eq!(errors, None);
    let sessions = sessions(&world).await;
    assert_eq!(sessions.len(), begun);
    for session in &sessions {
        assert_eq!(world.db.path(session).await, Drive::Up.path(), "each state once");
    }
    assert_eq!(world.db.count("operations WHERE status = 'succeeded'").await, i64::try_from(begun).unwrap());
    assert_eq!(sandboxes::directories(&world.data_dir).len(), begun, "one sandbox a session");
    let processes: Vec<_> = sessions.iter().map(|session| sandboxes::processes(session).len()).collect();
    assert!(processes.iter().all(|count| *count == processes[0] && *count > 0), "each serves once: {processes:?}");
}

/// All that the ledger says.
async fn snapshot(world: &World) -> String {
    let table = |name: &str| format!("(SELECT json_agg(t ORDER BY t::text)::text FROM {name} t)");
    let tables = ["sessions", "operations", "leases", "transitions", "session_records"].map(table).join(", ");
    world.db.one(&format!("SELECT concat_ws(E'\\n', {tables})")).await
}

async fn a_commit_comes_too_late(phase: Phase) {
    let world = World::with_faults(&format!("{phase}.after=freeze#1"), SETTINGS).await;
    let drive = Drive::to(phase);
    let other = world.another_server(&[("ALPINE_LEASE_SECONDS", "60")]).await;
    other.freeze();
    let session = drive.begin(&world).await;
    alpine_tests::until("it sleeps", LIMIT, || async { world.server.is_frozen().then_some(()) }).await;
    let fence = || world.db.one::<i64>("SELECT fence FROM leases");
    let fence_then = fence().await;
    other.thaw();
    alpine_tests::until("adoption", LIMIT, || async { (fence().await > fence_then).then_some(()) }).await;
    // Nothing but the fence stands between the sleeper and the ledger.
    other.freeze();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = snapshot(&world).await;
    world.server.thaw();
    alpine_tests::until("it gives up", LIMIT, || async { (given_up(&world.server) >= 1).then_some(()) }).await;
    assert_eq!(snapshot(&world).await, before, "{phase}: what the sleeper wrote");
    other.thaw();
    drive.assert_rests(phase.as_str(), &world, &session).await;
    assert_eq!(stale(&world).await, 0);
    // Its heartbeat may have told it just before it tried.
    eprintln!("{phase}.after: refused at a write: {}", fenced(&world.server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_that_slept_between_its_effect_and_its_commit_commits_nothing() {
    let failed = each(Phase::ALL.iter().copied(), a_commit_comes_too_late).await;
    assert_eq!(failed, 0, "each says above which it is");
}
