//! A server that dies at the boundary of a phase: another goes on from the last commit.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{os::unix::process::ExitStatusExt, time::Duration};

use alpine_server::domain::operation::Phase;
use alpine_tests::{
    World,
    drive::{CHEAP_SERVE, Drive, INSTALL, each},
    server::Server,
};

const LEASE: Duration = Duration::from_secs(2);
const PLACES: &[&str] = &["before", "after", "committed"];

/// What the other server has to do: nothing that was committed.
fn left(phase: Phase, place: &str) -> Vec<Phase> {
    let first = if place == "committed" { phase.next() } else { Some(phase) };
    std::iter::successors(first, |phase| phase.next()).collect()
}

async fn fence(world: &World) -> i64 {
    world.db.one("SELECT fence FROM leases").await
}

async fn a_kill_is_survived(phase: Phase, place: &'static str) {
    let at = format!("{phase}.{place}");
    let settings = [("ALPINE_LEASE_SECONDS", "2"), ("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)];
    let mut world = World::with_faults(&format!("{at}=kill#1"), &settings).await;
    let drive = Drive::to(phase);
    // There from the start, and out of the way until it is needed.
    let other = world.another_server(&[("ALPINE_LEASE_SECONDS", "30")]).await;
    other.freeze();
    let session = drive.begin(&world).await;
    let status = world.server.ended().await;
    assert_eq!(status.signal(), Some(9), "{at}: {status}");
    let fence_then = fence(&world).await;

    // Whoever resolves again finds another commit; whoever clones again empties the workspace first.
    let moved = world.git.create("org/driven").commit("main", &[(".alpine.toml", INSTALL), ("moved", "")]);
    let mark = world.workspace(&session).join("mark");
    let marked = std::fs::write(&mark, "").is_ok();
    other.thaw();

    let left = left(phase, place);
    if !left.is_empty() {
        // From when somebody is there to adopt it; from the death it is measured in two_servers.rs.
        let limit = LEASE + Duration::from_secs(5);
        alpine_tests::until(&format!("{at}: adoption"), limit, || async { (fence(&world).await > fence_then).then_some(()) }).await;
    }
    drive.assert_rests(&at, &world, &session).await;
    for each in Phase::ALL {
        let done = done(&other, *each).await;
        assert_eq!(done, usize::from(left.contains(each)), "{at}: how often {each} was done by who went on");
    }
    if drive == Drive::Up {
        let target: String = world.db.one("SELECT target_commit_sha FROM sessions").await;
        assert_eq!(target == moved, left.contains(&Phase::Resolve), "{at}: pinned once");
        let cloned = at == "sync.after" || !left.contains(&Phase::Sync);
        assert_eq!(mark.exists(), marked && cloned, "{at}: cloned once");
        let installs = std::fs::read_to_string(world.workspace(&session).join("installs")).unwrap();
        let expected = if at == "install.after" { 2 } else { 1 };
        assert_eq!(installs.lines().count(), expected, "{at}: installs");
    }
}

async fn done(server: &Server, phase: Phase) -> usize {
    let label = format!("phase=\"{phase}\"");
    let done = server.metric("alpine_operation_phase_duration_seconds_count", &[&label, "outcome=\"ok\""]).await;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    done.map_or(0, |done| done as usize)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_boundary_of_any_phase_is_survived() {
    let cases: Vec<_> = Phase::ALL.iter().flat_map(|phase| PLACES.iter().map(|place| (*phase, *place))).collect();
    let kills = cases.len();
    let failed = each(cases, |(phase, place)| a_kill_is_survived(phase, place)).await;
    assert_eq!(failed, 0, "of {kills} kills; each says above which it is");
}
