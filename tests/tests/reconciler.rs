//! What the provider has against what the ledger says, made the same again without anybody asking.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_tests::{World, cli::text, db::uuid, sandboxes, server::Server, until};

const LIMIT: Duration = Duration::from_secs(60);
const OFTEN: (&str, &str) = ("ALPINE_RECONCILE_SECONDS", "1");

async fn orphans(server: &Server) -> f64 {
    server.metric("alpine_orphans_total", &[]).await.unwrap()
}

/// The session has failed for want of its sandbox, and everybody is told so.
async fn assert_lost(world: &World, session: &str, cause: &str) {
    world.db.wait_for_state(session, &["failed"], LIMIT).await;
    world.assert_nothing_left(session);
    let path = world.db.path(session).await;
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready", "failing", "failed"]);
    let status = world.status("ann", session).await.ok();
    assert_eq!((&status["state"], &status["last_error"]["error_code"]), (&"failed".into(), &"ERR_SANDBOX_PROVISION_FAILED".into()));
    assert_eq!((&status["last_error"]["cause"], &status["last_error"]["retryable"]), (&cause.into(), &true.into()), "{status}");
    let own = format!("WHERE session_id = '{}'", uuid(session));
    assert_eq!(world.db.count(&format!("operations {own} AND kind = 'cleanup' AND status = 'succeeded'")).await, 1);
    let reason =
        world.db.one::<String>(&format!("SELECT reason FROM transitions {own} AND to_state = 'failing' AND actor = 'system'")).await;
    assert_eq!(reason, cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_dies_makes_its_session_fail_by_itself() {
    let world = World::with(&[OFTEN]).await;
    let second = world.another_server(&[]).await;
    let (dies, lives) = (text(&world.ready("ann").await, "session_id"), world.ready("ann").await);
    sandboxes::kill(&dies);
    assert_lost(&world, &dies, "lost: nothing serves it any more, so it is removed").await;
    assert_eq!(orphans(&world.server).await + orphans(&second).await, 0.0, "lost, not an orphan");
    assert_eq!(world.status("ann", &text(&lives, "session_id")).await.ok()["state"], "ready");
    world.answers(&lives).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_files_vanish_fails_and_its_processes_end() {
    let world = World::with(&[OFTEN]).await;
    let session = text(&world.ready("ann").await, "session_id");
    std::fs::remove_dir_all(world.sandbox(&session)).unwrap();
    assert!(!sandboxes::processes(&session).is_empty());
    assert_lost(&world, &session, "lost: nothing serves it any more, so it is removed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_of_a_final_session_is_destroyed_and_counted() {
    let world = World::with(&[OFTEN]).await;
    let (over, lives) = (text(&world.ready("ann").await, "session_id"), text(&world.ready("ann").await, "session_id"));
    assert_eq!(orphans(&world.server).await, 0.0);
    let id = uuid(&over);
    world
        .db
        .execute(&format!(
            "SET session_replication_role = replica; UPDATE sessions SET state = 'failed' WHERE session_id = '{id}'; RESET session_replication_role"
        ))
        .await;
    until("the orphan is gone", LIMIT, || async { (!world.sandbox(&over).exists()).then_some(()) }).await;
    until("it is counted", LIMIT, || async { (orphans(&world.server).await > 0.0).then_some(()) }).await;
    until("so are its processes", LIMIT, || async { sandboxes::processes(&over).is_empty().then_some(()) }).await;
    assert_eq!(orphans(&world.server).await, 1.0);
    assert_eq!(world.status("ann", &lives).await.ok()["state"], "ready");
    assert!(!sandboxes::processes(&lives).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_about_under_the_name_of_a_session_that_is_over_is_removed_after_the_grace() {
    let world = World::with(&[OFTEN, ("ALPINE_ORPHAN_GRACE_SECONDS", "2")]).await;
    let session = text(&world.ready("ann").await, "session_id");
    world.down("ann", &session, &[]).await.ok();
    // Without a label that would say whose it is.
    std::fs::create_dir_all(world.workspace(&session)).unwrap();
    until("it is gone", LIMIT, || async { (!world.sandbox(&session).exists()).then_some(()) }).await;
    until("it is counted", LIMIT, || async { (orphans(&world.server).await > 0.0).then_some(()) }).await;
    assert_eq!(orphans(&world.server).await, 1.0);
    assert_eq!(world.db.state(&session).await, "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_nobody_is_destroyed_after_its_grace_and_not_before() {
    const GRACE: Duration = Duration::from_secs(5);
    let world = World::with(&[OFTEN, ("ALPINE_ORPHAN_GRACE_SECONDS", "5")]).await;
    let session = text(&world.ready("ann").await, "session_id");
    let forgotten = Instant::now();
    let tables = ["idempotency_keys", "credentials", "transitions", "operations", "leases", "sessions"];
    let deletes: String = tables
        .iter()
        .map(|table| match *table {
            "idempotency_keys" | "credentials" => format!("DELETE FROM {table};"),
            _ => format!("DELETE FROM {table} WHERE session_id = '{}';", uuid(&session)),
        })
        .collect();
    world.db.execute(&format!("SET session_replication_role = replica; {deletes} RESET session_replication_role")).await;
    tokio::time::sleep(GRACE / 2).await;
    assert!(!sandboxes::processes(&session).is_empty() && world.sandbox(&session).exists());
    // For as long as the ledger cannot be read, nothing is known to be nobody's.
    let lock = world.db.lock("sessions").await;
    tokio::time::sleep(GRACE).await;
    assert!(!sandboxes::processes(&session).is_empty() && world.sandbox(&session).exists());
    drop(lock);
    until("the sandbox is gone", LIMIT, || async { (!world.sandbox(&session).exists()).then_some(()) }).await;
    assert!(forgotten.elapsed() > GRACE);
    until("it is counted and nothing runs", LIMIT, || async {
        (orphans(&world.server).await == 1.0 && sandboxes::processes(&session).is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_being_stopped_is_not_taken_for_lost() {
    let world = World::with(&[OFTEN]).await;
    let session = text(&world.ready("ann").await, "session_id");
    // Its record cannot be stored for a while, and its program has ended.
    let lock = world.db.lock("session_records").await;
    let down = world.alpine("ann").args(&["down", &session, "--json"]).spawn();
    world.db.wait_for_state(&session, &["persisting"], LIMIT).await;
    assert_eq!(sandboxes::processes(&session), Vec::<i32>::new());
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.db.state(&session).await, "persisting");
    assert!(world.workspace(&session).exists(), "nothing goes before the record is verified");
    drop(lock);
    assert_eq!(down.await.unwrap().ok()["state"], "stopped");
    let path = world.db.path(&session).await;
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready", "stopping", "persisting", "stopped"]);
    world.assert_nothing_left(&session);
    assert_eq!(orphans(&world.server).await, 0.0);
}
