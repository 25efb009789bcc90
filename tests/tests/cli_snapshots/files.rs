//! What is read from files and what is made for them: imports, profiles, shells' scripts, manual pages; and the log.

use std::path::PathBuf;

use alpine_api::SessionState;
use alpine_tests::{World, cli::text, predecessor_file::File};
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::modes::{Modes, Said, normalised, settings};

/// A predecessor's ledger of one's own: an import brings it once.
fn ledger(world: &World, name: &str, faulty: bool) -> PathBuf {
    let path = world.dir.join("home").join(format!("{name}.json"));
    if path.exists() {
        return path;
    }
    let mut file = File::of(TimeDelta::hours(3));
    file.session(&format!("{name}-a"), "ann", SessionState::Stopped);
    file.session(&format!("{name}-b"), "ann", SessionState::Failed);
    if faulty {
        file.json["sessions"][format!("{name}-c")] = json!({ "session_id": 7 });
    }
    std::fs::write(&path, file.json.to_string()).unwrap();
    path
}

async fn import(world: &World, name: &str, faulty: bool, more: &[&str]) -> Said {
    let files: Vec<_> = (0..4).map(|n| ledger(world, &format!("{name}{n}"), faulty).display().to_string()).collect();
    let args = |n: usize| ["import", &files[n]].iter().chain(more).map(|word| (*word).to_owned()).collect();
    Modes::of(world, "admin").run_each(args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_says_what_came_of_each_entry() {
    let world = World::start().await;
    settings()
        .bind_async(async {
            import(&world, "dry", false, &["--dry-run"]).await.snapshot("import_dry_run");
            import(&world, "good", false, &[]).await.snapshot("import");
            import(&world, "good", false, &[]).await.snapshot("import_again");
            import(&world, "bad", true, &[]).await.snapshot("import_faulty");
            let absent = world.dir.join("absent.json").display().to_string();
            Modes::of(&world, "admin").run(&["import", &absent]).await.snapshot("import_absent");
        })
        .await;
}

/// How much comes at once, and what the served program says of being asked whether it is ready, is not the same each time.
fn snapshot_of_log(said: &Said, name: &str) {
    let text = |pieces: Vec<Value>| pieces.iter().map(|piece| text(piece, "text")).collect::<String>();
    let json: Vec<Value> = match serde_json::from_str(&said.json.stdout) {
        Ok(all) => all,
        Err(_) => said.json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    };
    assert!(json.iter().all(|piece| ["seq", "at", "source", "text"].iter().all(|field| !piece[field].is_null())), "{json:?}");
    assert_eq!(text(json), said.plain.stdout);
    let steps = |text: &str| text.lines().filter(|line| line.starts_with("step ")).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(steps(said.terminal.screen()), steps(&said.plain.stdout));
    assert_eq!([said.terminal.code, said.plain.code, said.json.code, said.json_terminal.code], [Some(0); 4], "{said:?}");
    insta::assert_snapshot!(name, normalised(&format!("$ alpine {}\n{}", said.words, steps(&said.plain.stdout))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_whole_and_as_it_comes() {
    let world = crate::world().await;
    let ann = Modes::of(&world, "ann");
    let up = world.up("ann", "https://github.com/org/slow.git", "main", &["--no-wait"]).run().await.ok();
    let session = text(&up, "session_id");
    settings()
        .bind_async(async {
            // It ends when the session is stopped, some time after it is ready.
            let stop = async {
                let state = || async { (text(&world.status("ann", &session).await.ok(), "state") == "ready").then_some(()) };
                alpine_tests::until("ready", std::time::Duration::from_secs(60), state).await;
                world.down("ann", &session, &[]).await.ok();
            };
            let follow = ["logs", &session, "--follow"];
            let (followed, ()) = tokio::join!(ann.run(&follow), stop);
            snapshot_of_log(&followed, "logs_follow");
            snapshot_of_log(&ann.run(&["logs", &session]).await, "logs");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_nobody_waits_for_says_how_to_follow_it() {
    // Nobody works: it stays as it was accepted.
    let world = World::with(&[("ALPINE_ROLE", "api")]).await;
    let up = Modes::of(&world, "ann").run(&[&crate::UP[..], &["--no-wait"]].concat()).await;
    settings().bind(|| up.snapshot("up_no_wait"));
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_scripts_and_pages() {
    let world = World::start().await;
    // Each writes its own.
    let dir = |n: usize| {
        let dir = world.dir.join(format!("profiles{n}"));
        if !dir.exists() {
            std::fs::create_dir(&dir).unwrap();
            let config = "default_profile = \"dev\"\n[profiles.dev]\nserver = \"https://127.0.0.1:8443\"\n\
                          [profiles.team]\nserver = \"https://alpine.example.com\"\n";
            std::fs::write(dir.join("config.toml"), config).unwrap();
        }
        dir.display().to_string()
    };
    let person = Modes::each(|n| world.alpine("ann").env("ALPINE_CONFIG_DIR", &dir(n)));
    let pages = |n: usize| ["man", "--dir"].map(str::to_owned).into_iter().chain([format!("{}/.config/man", dir(n))]).collect();
    settings()
        .bind_async(async {
            person.run(&["profile", "list"]).await.snapshot("profile_list");
            person.run(&["profile", "use", "team"]).await.snapshot("profile_use");
            person.run(&["profile", "use", "absent"]).await.snapshot("profile_use_absent");
            person.run(&["completion", "bash"]).await.snapshot("completion_bash");
            person.run(&["completion", "zsh"]).await.snapshot("completion_zsh");
            person.run(&["completion", "fish"]).await.snapshot("completion_fish");
            person.run(&["man"]).await.snapshot("man");
            person.run_each(pages).await.snapshot("man_dir");
        })
        .await;
}
