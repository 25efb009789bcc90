//! A server that stops, is killed, or comes back: sessions and the people who wait go on.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{io::Write, time::Duration};

use alpine_tests::{World, cli::text, sandboxes};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const LIMIT: Duration = Duration::from_secs(90);
/// Leaves a mark when it is done, and takes its time.
const SLOW: &str = "install = \"sleep 4; echo done >> installed\"";

#[derive(Clone, Copy)]
enum End {
    Terminate,
    Kill,
}

async fn an_up_goes_on_after(end: End) {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let (repo, commit) = world.git.with_files("org/slow", &[(".alpine.toml", SLOW)]);
    let waiting = world.up("ann", &repo, "main", &["--client-request-id", "k1"]).spawn();
    let session = alpine_tests::until("the up is listed", LIMIT, || async {
        world.list("ann").await.first().map(|session| text(session, "session_id"))
    })
    .await;
    world.db.wait_for_state(&session, &["installing"], LIMIT).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    match end {
        End::Kill => world.server.kill(),
        End::Terminate => {
            let (status, took) = world.server.terminate().await;
            assert!(status.success(), "SIGTERM is a clean end: {status}");
            assert!(took < Duration::from_secs(30), "{took:?}");
        }
    }
    assert_eq!(world.db.state(&session).await, "installing", "handed over, not failed");
    world.server.start_again().await;
    let up = waiting.await.unwrap().ok();
    assert_eq!((&up["session_id"], &up["state"]), (&session.as_str().into(), &"ready".into()));
    assert_eq!(up["target_commit_sha"], commit.as_str());
    world.answers(&up).await;
    // An install that outlived its server may have come to its end, and another have followed it.
    let installed = std::fs::read_to_string(world.workspace(&session).join("installed")).unwrap();
    assert!(!installed.is_empty() && installed.lines().all(|line| line == "done"), "{installed:?}");
    let path = world.db.path(&session).await;
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready"], "resumed, not begun again");
    assert_eq!(world.db.count("operations").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_goes_on_and_gets_ready_when_the_server_is_restarted() {
    an_up_goes_on_after(End::Terminate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_goes_on_and_gets_ready_when_the_server_is_killed() {
    an_up_goes_on_after(End::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_sessions_stay_ready_across_restarts_and_can_be_stopped_after() {
    let mut world = World::start().await;
    let up = world.ready("ann").await;
    let session = text(&up, "session_id");
    let before = sandboxes::processes(&session);
    world.server.kill();
    world.answers(&up).await;
    world.server.start_again().await;
    let (status, _) = world.server.terminate().await;
    assert!(status.success(), "{status}");
    world.answers(&up).await;
    world.server.start_again().await;
    assert_eq!(sandboxes::processes(&session), before, "the very same processes");
    assert_eq!(world.status("ann", &session).await.ok()["state"], "ready");
    assert_eq!(world.down("ann", &session, &[]).await.ok()["state"], "stopped");
    world.assert_nothing_left(&session);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_goes_on_when_the_server_is_killed_while_it_clones_whatever_locks_git_left() {
    let mut world = World::with(&[("ALPINE_LEASE_SECONDS", "3")]).await;
    let (repo, commit) = world.git.with_files("org/slow", &[("README.md", "hello\n")]);
    world.git.delay("org/slow", Duration::from_secs(3));
    let waiting = world.up("ann", &repo, "main", &[]).spawn();
    let session = alpine_tests::until("the up is listed", LIMIT, || async {
        world.list("ann").await.first().map(|session| text(session, "session_id"))
    })
    .await;
    let git = world.workspace(&session).join(".git");
    alpine_tests::until("the clone began", LIMIT, || async { git.join("config").exists().then_some(()) }).await;
    world.server.kill();
    for lock in ["index.lock", "shallow.lock", "config.lock"] {
        std::fs::write(git.join(lock), "").unwrap();
    }
    world.git.delay("org/slow", Duration::ZERO);
    world.server.start_again().await;
    let up = waiting.await.unwrap().ok();
    assert_eq!((&up["state"], up["target_commit_sha"].as_str()), (&"ready".into(), Some(commit.as_str())));
    assert_eq!(std::fs::read_to_string(world.workspace(&session).join("README.md")).unwrap(), "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_end_while_it_starts_ends_well() {
    let mut world = World::start().await;
    world.server.terminate().await;
    // Its keys are read at the start, and here not before they are written.
    let keys = std::path::PathBuf::from(world.server.setting("ALPINE_JWT_KEY_FILE").unwrap());
    let key = std::fs::read(&keys).unwrap();
    std::fs::remove_file(&keys).unwrap();
    mknodat(CWD, &keys, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    world.server.spawn();
    let opened = tokio::task::spawn_blocking({
        let keys = keys.clone();
        move || std::fs::OpenOptions::new().write(true).open(keys).unwrap()
    });
    let mut starting = tokio::time::timeout(LIMIT, opened).await.expect("the server reads its keys").unwrap();
    world.server.ask_to_end();
    tokio::time::sleep(Duration::from_millis(300)).await;
    starting.write_all(&key).unwrap();
    drop(starting);
    let status = world.server.ended().await;
    assert!(status.success(), "{status}");
    let log = world.server.log_text();
    assert!(log.matches("stopping").count() >= 2, "told so, as a server that has started is: {log}");
}
