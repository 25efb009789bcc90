//! What nobody asks for and must happen all the same.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::{path::Path, process::Command, time::Duration};

use alpine_tests::{World, cli::text, sandboxes};

const LIMIT: Duration = Duration::from_secs(90);
const UNTIL_TOLD: &str = "install = \"touch stuck; until [ -e go ]; do sleep 0.1; done; exit 3\"";

/// A file that even root cannot remove.
fn immutable(path: &Path, yes: bool) {
    let status = Command::new("chattr").arg(if yes { "+i" } else { "-i" }).arg(path).status().unwrap();
    assert!(status.success(), "chattr needs root and a file system that has attributes: {}", path.display());
}

#[expect(clippy::disallowed_methods, reason = "whether a skip is allowed here")]
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_up_that_failed_is_tried_again_until_nothing_is_left() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root, so that this can be tested");
        eprintln!("SKIPPED a_clean_up_that_failed_is_tried_again_until_nothing_is_left: only root makes a file immutable");
        return;
    }
    let world = World::with(&[("ALPINE_SWEEP_SECONDS", "1")]).await;
    let (repo, _) = world.git.with_files("org/stuck", &[(".alpine.toml", UNTIL_TOLD)]);
    let begun = world.up("ann", &repo, "main", &["--client-request-id", "k", "--no-wait"]).run().await.ok();
    let session = text(&begun, "session_id");
    let workspace = world.workspace(&session);
    alpine_tests::until("the install began", LIMIT, || async { workspace.join("stuck").exists().then_some(()) }).await;
    immutable(&workspace.join("stuck"), true);
    std::fs::write(workspace.join("go"), "").unwrap();

    world.db.wait_for_state(&session, &["cleanup_failed"], LIMIT).await;
    let failed = world.up("ann", &repo, "main", &["--client-request-id", "k"]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    assert!(text(&failed, "cause").starts_with("install: "), "known by its own error, not the clean-up's: {failed}");
    assert_eq!(text(world.list("ann").await.first().unwrap(), "state"), "cleanup_failed");

    let left = sandboxes::files(&world.data_dir).into_iter().find(|path| path.ends_with("/stuck")).unwrap();
    immutable(&world.data_dir.join(left), false);
    world.db.wait_for_state(&session, &["failed"], LIMIT).await;
    world.assert_nothing_left(&session);
    let path = world.db.path(&session).await;
    assert!(path.ends_with(&["failing", "cleanup_failed", "failing", "failed"].map(str::to_owned)), "{path:?}");
    assert_eq!(world.db.count("transitions WHERE to_state = 'failed' AND actor = 'system'").await, 1);
    let again = world.up("ann", &repo, "main", &["--client-request-id", "k"]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    assert_eq!(again["cause"], failed["cause"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_of_a_phase_that_no_worker_knows_is_ended_at_its_deadline_and_not_before() {
    let world = World::start().await;
    let (repo, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 300\"")]);
    let session = text(&world.up("ann", &repo, "main", &["--client-request-id", "k", "--no-wait"]).run().await.ok(), "session_id");
    world.db.wait_for_state(&session, &["installing"], LIMIT).await;
    // As a newer version would have left it.
    let leave = "UPDATE operations SET phase = 'teleport', available_at = now();
        UPDATE leases SET owner = NULL, until = NULL, fence = fence + 1";
    world.db.meddle(leave).await;
    let unread = || async { world.server.log_text().contains("cannot be read").then_some(()) };
    alpine_tests::until("a worker has looked at it", LIMIT, unread).await;
    assert_eq!(world.db.state(&session).await, "installing", "a newer version may still go on with it");
    world.db.meddle("UPDATE operations SET deadline_at = now()").await;
    world.db.wait_for_state(&session, &["failed"], LIMIT).await;
    world.assert_nothing_left(&session);
    world.up("ann", &repo, "main", &["--client-request-id", "k"]).run().await.refused(2, "ERR_INTERNAL");
}
