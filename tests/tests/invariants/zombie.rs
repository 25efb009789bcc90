//! Two real servers, one of which is frozen beyond its lease: with the fence it writes nothing when it wakes up,
//! and without the fence the checks see what it wrote.

use std::time::Duration;

use alpine_tests::{
    LIGHT_SERVE, World,
    cli::text,
    invariants::{self, Limits, Violation},
    server::Server,
};

use crate::{LIMIT, caught, connect, shown};

/// Every wall: the one function that knows whether a lease is held, and what the database itself refuses.
const NO_FENCE: &str = "
    CREATE OR REPLACE FUNCTION hold_lease(of_tenant text, of_session uuid, my_fence bigint, me text) RETURNS boolean
        LANGUAGE sql VOLATILE AS 'SELECT true';
    DROP TRIGGER transitions_follow_lease ON transitions;
    DROP TRIGGER operations_final ON operations;
    DROP TRIGGER sessions_consistent_still ON sessions;
    DROP TRIGGER sessions_consistent_still ON operations;";

/// A world whose session takes longer to stop than a `down` may take: it gets `close_failed`, and every `down` is a
/// new try, from the same state as the last. There a zombie's write can pass for its successor's.
async fn stubborn() -> (World, String) {
    let serve = format!("trap '' TERM; {LIGHT_SERVE}");
    let settings = [
        ("ALPINE_SANDBOX_SERVE", serve.as_str()),
        ("ALPINE_LEASE_SECONDS", "2"),
        ("ALPINE_STOP_GRACE_SECONDS", "60"),
        ("ALPINE_DOWN_DEADLINE_SECONDS", "5"),
    ];
    let world = World::with(&settings).await;
    let session = text(&world.ready("ann").await, "session_id");
    (world, session)
}

/// The first server is frozen while it stops the session; the second lets that fail and begins again; the first
/// wakes up and has its result to write.
async fn zombie(world: &World, session: &str) -> Server {
    world.api("ann").down(session, serde_json::json!({})).await.expect(202);
    world.db.wait_for_state(session, &["stopping"], LIMIT).await;
    world.server.freeze();
    let second = world.another_server(&[]).await;
    world.db.wait_for_state(session, &["close_failed"], LIMIT).await;
    let again = world.alpine("ann").env("ALPINE_SERVER", &second.base()).args(&["down", session, "--json"]).spawn();
    world.db.wait_for_state(session, &["stopping"], LIMIT).await;
    world.server.thaw();
    // However it ends: the session takes too long to stop.
    again.await.unwrap();
    second
}

async fn broken(world: &World) -> Vec<Violation> {
    let limits = Limits { lease: Duration::from_secs(2), cleanup: Duration::from_secs(5), slack: Duration::from_secs(20) };
    invariants::always(&mut connect(world).await, &limits).await.unwrap()
}

/// A server that wakes up writes its result, or learns before that its lease is lost: which is a matter of luck.
const TRIES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_writes_nothing() {
    for _ in 0..TRIES {
        let (world, session) = stubborn().await;
        let _second = zombie(&world, &session).await;
        let found = broken(&world).await;
        assert!(found.is_empty(), "{}", shown(&found));
        if world.server.metric("alpine_fenced_writes_total", &[]).await.unwrap_or_default() >= 1.0 {
            return;
        }
    }
    panic!("it never tried to write, so that nothing is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_zombie_writes_without_the_fence_is_seen() {
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let (world, session) = stubborn().await;
        world.db.execute(NO_FENCE).await;
        let _second = zombie(&world, &session).await;
        found = broken(&world).await;
        if !found.is_empty() {
            break;
        }
    }
    caught("fences_only_grow", "every lease is held", &found);
}
