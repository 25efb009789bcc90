//! A worker leaves alone what only a later version knows how to go on with, and nothing stays for ever.

use std::time::Duration;

use alpine_tests::{World, cli::text, git_server::url, server::PHASE_SCHEMA};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_older_worker_leaves_what_a_later_version_began_and_works_on_what_is_its_own() {
    let world = World::start().await;
    let later = world.another_server(&[(PHASE_SCHEMA, "3"), ("ALPINE_ROLE", "api")]).await;
    let asked = world.api_at(&later.base(), "ann").up("later", &url("org/repo"), "main").await;
    let session = text(asked.expect(202), "session_id");
    // The older worker is at work meanwhile: it takes what comes after.
    world.ready("bob").await;
    assert_eq!(world.db.state(&session).await, "requested");
    assert_eq!(world.db.count("operations WHERE phase_schema = 3 AND status = 'queued'").await, 1, "nobody touched it");
    assert!(!world.server.log_text().contains("cannot be read"), "it was not even claimed");
    let _worker = world.another_server(&[(PHASE_SCHEMA, "3")]).await;
    assert_eq!(world.db.wait_for_state(&session, &["ready", "failed"], LIMIT).await, "ready");
    // A later worker that goes on with what an earlier one began keeps it.
    assert_eq!(world.db.count("operations WHERE phase_schema = 3 AND status = 'succeeded'").await, 1);
    world.down("ann", &session, &[]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_worker_knows_any_more_is_ended_at_its_deadline() {
    let world = World::with(&[("ALPINE_UP_DEADLINE_SECONDS", "4")]).await;
    let later = world.another_server(&[(PHASE_SCHEMA, "3"), ("ALPINE_ROLE", "api"), ("ALPINE_UP_DEADLINE_SECONDS", "4")]).await;
    let asked = world.api_at(&later.base(), "ann").up("rolled-back", &url("org/repo"), "main").await;
    let session = text(asked.expect(202), "session_id");
    assert_eq!(world.db.wait_for_state(&session, &["ready", "failed"], LIMIT).await, "failed");
    assert_eq!(world.db.count("operations WHERE status = 'failed' AND finished_at >= deadline_at").await, 1);
    world.assert_nothing_left(&session);
}
