//! Everything that `alpine` says, through the real program: on a pseudo-terminal, without one, and with `--json`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod administration;
mod captures;
mod disconnects;
mod files;
mod interrupts;
mod login;
mod modes;
mod parity;
mod shells;
mod waiting;

use alpine_tests::{World, cli::text};
use modes::{Modes, settings};

/// A repository whose install step says something and fails, and one that takes its time.
async fn world() -> World {
    let world = World::start().await;
    let broken = "install = \"echo 'added 3 packages'; echo 'error: left-pad is gone' >&2; exit 3\"\n";
    world.git.with_files("org/broken", &[(".alpine.toml", broken)]);
    world.git.with_files("org/slow", &[(".alpine.toml", "install = \"for n in 1 2 3 4 5 6 7 8 9; do echo step $n; sleep 0.4; done\"\n")]);
    world
}

const UP: [&str; 4] = ["up", "https://github.com/org/repo.git", "--branch", "main"];

#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_what_it_said() {
    let world = world().await;
    let modes = Modes::of(&world, "ann");
    settings()
        .bind_async(async {
            let up = modes.run(&UP).await;
            up.snapshot("up");
            let sessions = up.sessions();
            modes.run(&["list"]).await.snapshot("list");
            Modes::of(&world, "ann").at(40).run(&["list"]).await.snapshot("list_narrow");
            Modes::of(&world, "ann").at(200).run(&["list", "--wide", "--limit", "2"]).await.snapshot("list_wide");
            modes.run(&[&UP[..3], &["nope", "--public"]].concat()).await.snapshot("up_failing_to_resolve");
            let failing = modes.run(&["up", "https://github.com/org/broken.git", "--branch", "main"]).await;
            failing.snapshot("up_failing_to_install");
            modes.run(&["list", "--state", "installing"]).await.snapshot("list_empty");
            let status = modes.run(&["status", &sessions[0]]).await;
            status.snapshot("status");
            modes.run(&["status", &failing.sessions()[0]]).await.snapshot("status_failed");
            modes.run(&["events", &sessions[0]]).await.snapshot_of_events("events");
            modes.run(&["events", &sessions[0], "--follow"]).await.snapshot_of_events("events_follow");
            modes.run(&["open", &sessions[0], "--print"]).await.snapshot("open");
            modes.run(&["open", &failing.sessions()[0]]).await.snapshot("open_failed");
            let down = modes.run_each(|n| vec!["down".to_owned(), sessions[n].clone(), "--reason".to_owned(), "done".to_owned()]).await;
            down.snapshot("down");
            modes.run(&["status", &sessions[0]]).await.snapshot("status_stopped");
            modes.run(&["whoami"]).await.snapshot("whoami");
            modes.run(&["classes"]).await.snapshot("classes");
            modes.run(&["token", "create", "--name", "ci", "--scope", "sessions:read"]).await.snapshot("token_create");
            modes.run(&["token", "list"]).await.snapshot("token_list");
            modes.run(&["credential", "list"]).await.snapshot("credential_list");
            modes.run(&["completion", "install", "--shell", "fish", "--json"]).await;
            modes.run(&["completion", "install", "--shell", "fish"]).await.snapshot("completion_install");
            modes.run(&["version"]).await.snapshot("version");
        })
        .await;
    let admin = Modes::of(&world, "admin");
    settings()
        .bind_async(async {
            admin.run(&["tenant", "show"]).await.snapshot("tenant_show");
            admin.run(&["audit", "--verify"]).await.snapshot("audit_verify");
            admin.run(&["list", "--all-owners", "--limit", "2"]).await.snapshot("list_all_owners");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_of_every_command_is_the_same_on_a_terminal_and_without_one() {
    let bare = || alpine_tests::cli::Alpine::new(std::path::Path::new("/nonexistent"), std::path::Path::new("/"));
    let pages = bare().args(&["man", "--json", "--dir"]).args(&[alpine_tests::base::fresh("man").display().to_string()]).run().await.ok();
    let names: Vec<String> =
        pages["pages"].as_array().unwrap().iter().map(|page| page.as_str().unwrap().trim_end_matches(".1").to_owned()).collect();
    assert!(names.len() > 25, "{names:?}");
    let mut all = String::new();
    for name in names {
        let mut words: Vec<&str> = name.split('-').skip(1).collect();
        words.push("--help");
        let (plain, terminal) = tokio::join!(bare().args(&words).run(), bare().args(&words).on_terminal(100));
        assert_eq!((plain.code, terminal.code, plain.stderr.as_str()), (Some(0), Some(0), ""), "{plain}");
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned();
        assert_eq!(trimmed(terminal.screen()), trimmed(&plain.stdout), "{words:?}");
        all.push_str(&format!("$ alpine {}\n{}\n\n", words.join(" "), trimmed(&plain.stdout)));
    }
    settings().bind(|| insta::assert_snapshot!("help", all));
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_pages_are_such_that_man_reads_them_without_a_warning() {
    let dir = alpine_tests::base::fresh("man");
    let bare = alpine_tests::cli::Alpine::new(std::path::Path::new("/nonexistent"), std::path::Path::new("/"));
    bare.args(&["man", "--json", "--dir", &dir.display().to_string()]).run().await.ok();
    let (mut read, pages) = (0, std::fs::read_dir(&dir).unwrap());
    for page in pages.map(|page| page.unwrap().path()) {
        let groff =
            std::process::Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"]).arg(&page).output().expect("groff runs");
        let said = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{}: {said}", page.display());
        read += 1;
    }
    assert!(read > 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_the_same_for_people_and_for_scripts() {
    let world = world().await;
    parity::errors(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_alone_on_stdout() {
    let world = World::start().await;
    let made = world.alpine("ann").args(&["token", "create", "--name", "ci"]).run().await;
    assert_eq!(made.code, Some(0), "{made}");
    let who = world.alpine("nobody").env("ALPINE_TOKEN", made.stdout.trim_end()).args(&["whoami", "--json"]).run().await.ok();
    assert_eq!(text(&who, "principal_id"), "ann");
}
