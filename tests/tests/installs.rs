//! Dependencies are really installed, from the real registries, by the lock file that is there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{path::Path, process::Command};

use alpine_tests::{World, base, cli::text, git_repo::git, sandboxes};

/// Runs a package manager where its lock file is to be.
fn run(dir: &Path, program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A repository with these files becomes a ready session at its commit; the session's id.
async fn ready(world: &World, files: &[(&str, &str)]) -> String {
    let (repo, commit) = world.git.with_files("org/deps", files);
    let up = world.up("ann", &repo, "main", &[]).limit(std::time::Duration::from_secs(600)).run().await.ok();
    let session = text(&up, "session_id");
    assert_eq!(up["target_commit_sha"], commit.as_str());
    assert_eq!(git(&world.workspace(&session), &["rev-parse", "HEAD"]), commit);
    world.answers(&up).await;
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_lock_is_installed_by_npm() {
    let world = World::start().await;
    let package = r#"{ "name": "sample", "version": "1.0.0", "private": true, "dependencies": { "is-number": "7.0.0" } }"#;
    let dir = base::fresh("npm");
    std::fs::write(dir.join("package.json"), package).unwrap();
    run(&dir, "npm", &["install", "--package-lock-only", "--omit-lockfile-registry-resolved", "--no-audit", "--no-fund"]);
    let lock = std::fs::read_to_string(dir.join("package-lock.json")).unwrap();
    let session = ready(&world, &[("package.json", package), ("package-lock.json", &lock)]).await;
    let module = world.workspace(&session).join("node_modules/is-number");
    assert!(std::fs::read_to_string(module.join("package.json")).unwrap().contains("\"7.0.0\""));
    assert!(std::fs::metadata(module.join("index.js")).unwrap().len() > 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cargo_lock_is_fetched_by_cargo() {
    let world = World::start().await;
    let manifest = "[package]\nname = \"sample\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\nitoa = \"=1.0.15\"\n";
    let dir = base::fresh("cargo");
    std::fs::create_dir(dir.join("src")).unwrap();
    std::fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(dir.join("src/lib.rs"), "").unwrap();
    run(&dir, "cargo", &["generate-lockfile"]);
    let lock = std::fs::read_to_string(dir.join("Cargo.lock")).unwrap();
    let session = ready(&world, &[("Cargo.toml", manifest), ("Cargo.lock", &lock), ("src/lib.rs", "")]).await;
    let home = sandboxes::files(&world.sandbox(&session).join("home"));
    assert!(
        home.iter().any(|file| file.ends_with("itoa-1.0.15/src/lib.rs")),
        "the crate's sources are not in the session's home: {home:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_are_installed_by_pip() {
    let world = World::start().await;
    let session = ready(&world, &[("requirements.txt", "six==1.16.0\n")]).await;
    let files = sandboxes::files(&world.workspace(&session).join(".venv"));
    let module = files.iter().find(|file| file.ends_with("site-packages/six.py")).expect("six is installed");
    let source = std::fs::read_to_string(world.workspace(&session).join(".venv").join(module)).unwrap();
    assert!(source.contains("1.16.0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_a_lock_file_has_nothing_to_install() {
    let world = World::start().await;
    let session = ready(&world, &[("README.md", "just words\n"), ("package.json", "{}")]).await;
    let mut there: Vec<_> = std::fs::read_dir(world.workspace(&session)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, [".git", "README.md", "package.json"]);
    assert!(!world.sandbox(&session).join("home/.npm").exists(), "no installer ran");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_file_that_pins_what_does_not_exist_fails_with_what_the_installer_said() {
    let world = World::start().await;
    let (repo, _) = world.git.with_files("org/broken", &[("requirements.txt", "six==999.999.999\n")]);
    let error = world.up("ann", &repo, "main", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    let cause = text(&error, "cause");
    assert!(cause.starts_with("install:") && cause.contains("six"), "{cause}");
    world.assert_nothing_left(&text(&world.list("ann").await[0], "session_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_repositorys_own_install_and_serve_come_first() {
    let world = World::with(&[("ALPINE_SANDBOX_SERVE", "exit 1")]).await;
    let toml = format!("install = \"echo own > chosen\"\nserve = \"{}\"\n", alpine_tests::LIGHT_SERVE);
    let session = ready(&world, &[(".alpine.toml", &toml), ("requirements.txt", "six==999.999.999\n")]).await;
    assert_eq!(std::fs::read_to_string(world.workspace(&session).join("chosen")).unwrap(), "own\n");
}
