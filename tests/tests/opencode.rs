//! The real opencode, as a session's web app.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{path::PathBuf, process::Command, time::Duration};

use alpine_tests::{REPO, World, bins, cli::text};

/// The newest that the registry has for this kind of machine.
const VERSION: &str = if cfg!(target_arch = "aarch64") { "1.18.18" } else { "1.18.33" };

#[expect(clippy::disallowed_methods, reason = "the harness's own switch, and the path that programs are found in")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A directory with opencode in it: the one that is named, one that was fetched, or one that is fetched now.
fn tools() -> PathBuf {
    let fetched = bins::root().join("target/tools");
    let package = if cfg!(target_arch = "aarch64") { "opencode-linux-arm64" } else { "opencode-linux-x64" };
    let bin = format!("node_modules/{package}/bin");
    let known = [variable("ALPINE_TEST_TOOLS").map(PathBuf::from), Some(fetched.join(&bin))];
    if let Some(dir) = known.into_iter().flatten().find(|dir| dir.join("opencode").is_file()) {
        return dir;
    }
    std::fs::create_dir_all(&fetched).unwrap();
    let package = format!("{package}@{VERSION}");
    let args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"];
    let status = Command::new("npm").args(args).arg(&fetched).arg(package).status().expect("npm runs");
    assert!(status.success(), "npm could not fetch opencode");
    fetched.join(&bin)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_session_serves_opencode_which_is_healthy_and_gone_after() {
    let path = format!("{}:{}", tools().display(), variable("PATH").unwrap());
    let world = World::with(&[("ALPINE_SANDBOX_SERVE", ""), ("PATH", &path)]).await;
    let up = world.up("ann", REPO, "main", &[]).limit(Duration::from_secs(300)).run().await.ok();
    let url = text(&up, "opencode_url");
    let health = world.pki.client().get(format!("{}/global/health", url.trim_end_matches('/'))).timeout(Duration::from_secs(10));
    let health = alpine_tests::api::send(health).await;
    assert_eq!(health.expect(200)["healthy"], true, "{}", health.text);
    let page = world.answers(&up).await.to_lowercase();
    assert!(page.contains("<html") || page.contains("<!doctype html"), "{page}");
    let session = text(&up, "session_id");
    world.down("ann", &session, &[]).await.ok();
    world.assert_nothing_left(&session);
    let gone = world.pki.client().get(&url).timeout(Duration::from_secs(2)).send().await;
    assert!(gone.is_err(), "{url} still answers");
}
