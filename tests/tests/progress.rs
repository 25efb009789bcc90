//! What people follow while a session is made and while it runs: how far it is, and what its programs write.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_tests::{World, cli::text, git_server::url, until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const MB: usize = 1024 * 1024;

/// All of a session's events, by pages.
async fn events(world: &World, session: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = world.api("ann").get(&format!("/v1/sessions/{session}/events?after={after}&limit=7")).await.expect(200).clone();
        let events = page["events"].as_array().unwrap().clone();
        if events.is_empty() {
            return all;
        }
        after = page["next_after"].as_i64().unwrap();
        all.extend(events);
    }
}

/// All of a session's log that is kept, by pages; and the number of its first piece.
async fn log(world: &World, session: &str) -> (Vec<Value>, i64) {
    let (mut all, mut after, mut first) = (Vec::new(), 0, 1);
    loop {
        let page = world.api("ann").get(&format!("/v1/sessions/{session}/log?after={after}")).await.expect(200).clone();
        let chunks = page["chunks"].as_array().unwrap().clone();
        if chunks.is_empty() {
            return (all, first);
        }
        first = page["first_seq"].as_i64().unwrap();
        after = page["next_after"].as_i64().unwrap();
        all.extend(chunks);
    }
}

fn assert_numbered(pieces: &[Value], from: i64) {
    let numbers: Vec<i64> = pieces.iter().map(|piece| piece["seq"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (from..).take(pieces.len()).collect::<Vec<_>>());
}

/// What one of a log's writers has written.
fn of(chunks: &[Value], source: &str) -> String {
    chunks.iter().filter(|chunk| chunk["source"] == source).map(|chunk| chunk["text"].as_str().unwrap()).collect()
}

async fn log_of(world: &World, session: &str, source: &str) -> String {
    of(&log(world, session).await.0, source)
}

/// The progress of one phase: messages, and how much was done.
fn progress<'e>(events: &'e [Value], phase: &str) -> Vec<(&'e str, Option<i64>)> {
    let of_phase = events.iter().filter(|event| event["kind"] == "progress" && event["phase"] == phase);
    of_phase.map(|event| (event["reason"].as_str().unwrap(), event["percent"].as_i64())).collect()
}

/// A repository of 400 files that cannot be compressed, 3 MB in all, and these besides.
fn large(world: &World, name: &str, more: &[(&str, &str)]) -> String {
    let noise = || (0..240).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect::<String>();
    let files: Vec<(String, String)> = (0..400).map(|n| (format!("data/{n}"), noise())).collect();
    let mut all: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    all.extend_from_slice(more);
    world.git.with_files(name, &all);
    url(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn git_and_the_installer_tell_how_far_they_are_and_all_events_are_one_sequence() {
    let world = World::start().await;
    let install = "install = '''for n in $(seq 200); do echo \"line $n of the installer\"; sleep 0.012; done'''";
    let repo = large(&world, "org/large", &[(".alpine.toml", install)]);
    world.git.throttle("org/large", MB / 2);
    let up = world.up("ann", &repo, "main", &[]).run().await.ok();
    let session = text(&up, "session_id");

    let events = events(&world, &session).await;
    assert_numbered(&events, 1);
    for event in &events {
        assert_eq!(event["kind"] == "progress", event["phase"].is_string(), "{event}");
    }
    let states: Vec<_> = events.iter().filter(|event| event["kind"] == "transition").map(|event| &event["to_state"]).collect();
    assert_eq!(states, ["requested", "provisioning", "repo_syncing", "installing", "ready"]);
    let syncing = progress(&events, "sync");
    eprintln!("{syncing:?}");
    let receiving: Vec<i64> =
        syncing.iter().filter(|(message, _)| message.starts_with("Receiving objects: ")).filter_map(|(_, p)| *p).collect();
    assert!(receiving.len() >= 2 && receiving.is_sorted(), "{syncing:?}");
    assert_eq!(syncing.last().map(|(message, percent)| (message.contains("% ("), *percent)), Some((true, Some(100))), "{syncing:?}");

    let installing = progress(&events, "install");
    eprintln!("{installing:?}");
    assert_eq!(installing.last(), Some(&("line 200 of the installer", None)), "the last line of all is told");
    let spent = span(&events, "installing", "ready");
    let most = 2 + usize::try_from(spent.as_secs()).unwrap() + 1;
    assert!((2..=most).contains(&installing.len()), "{} in {spent:?}: {installing:?}", installing.len());
    assert_eq!(progress(&events, "start").first(), Some(&("checking the commit and the workspace", None)));

    let (chunks, first) = log(&world, &session).await;
    assert_eq!(first, 1);
    assert_numbered(&chunks, 1);
    let wanted: String = (1..=200).map(|n| format!("line {n} of the installer\n")).collect();
    assert_eq!(of(&chunks, "install"), wanted, "all of it, in order");
    let pieces = chunks.iter().filter(|chunk| chunk["source"] == "install").count();
    assert!(pieces >= 4 && pieces <= 4 * (usize::try_from(spent.as_secs()).unwrap() + 2), "{pieces} pieces in {spent:?}");
    let git = of(&chunks, "git");
    assert!(git.starts_with("Receiving objects: 100% (") && git.contains(", done.\n") && !git.contains("remote:"), "{git}");
}

/// The time between two states.
fn span(events: &[Value], from: &str, to: &str) -> Duration {
    let at = |state: &str| {
        let event = events.iter().find(|event| event["kind"] == "transition" && event["to_state"] == state).unwrap();
        event["at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    (at(to) - at(from)).to_std().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_that_floods_is_cut_short_in_the_log_and_holds_nobody_up() {
    let world = World::start().await;
    // 50 MB in lines, then a megabyte without any.
    let flood = "install = '''echo first; yes 'one of very many lines that are all the same' | head -c 52428800; head -c 1000000 /dev/zero; echo; echo last'''";
    world.git.with_files("org/flood", &[(".alpine.toml", flood)]);
    let up = world.up("ann", &url("org/flood"), "main", &[]).spawn();
    let mut slowest = Duration::ZERO;
    while !up.is_finished() {
        let begun = Instant::now();
        world.api("bob").get("/v1/sessions").await.expect(200);
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let session = text(&up.await.unwrap().ok(), "session_id");
    let (chunks, first) = log(&world, &session).await;
    assert_numbered(&chunks, first);
    let install = of(&chunks, "install");
    eprintln!("{} bytes kept from piece {first} on, the slowest list took {slowest:?}", install.len());
    assert!(install.len() <= MB && install.ends_with("last\n"), "{} bytes", install.len());
    if first == 1 {
        assert!(install.starts_with("first\n"));
        let (mut kept, mut left_out) = (0, 0);
        for line in install.lines() {
            match line.split_once("[... ").and_then(|(_, note)| note.strip_suffix(" bytes left out ...]")) {
                Some(count) => left_out += count.parse::<usize>().unwrap(),
                None => kept += line.len() + 1,
            }
        }
        // Of the line of zeros nothing is to be seen.
        let missing = 52_428_800 + 1_000_000 + 12 - left_out - kept;
        assert!(missing < 5_000, "{left_out} bytes are said to be left out, {kept} are kept");
    }
    assert!(chunks.iter().all(|chunk| chunk["text"].as_str().unwrap().len() <= 16 * 1024));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    world.down("ann", &session, &[]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_writes_is_in_the_log_each_line_once_through_restarts_and_to_its_last_words() {
    let mut world = World::start().await;
    let serve = "serve = '''(trap 'echo and good bye; exit' TERM; n=0; while n=$((n+1)); do echo \"tick $n\"; sleep 0.05; done) & exec python3 -m http.server $PORT --bind $HOST 2>/dev/null'''";
    world.git.with_files("org/ticks", &[(".alpine.toml", serve)]);
    let up = world.up("ann", &url("org/ticks"), "main", &[]).run().await.ok();
    let session = text(&up, "session_id");
    let ticks = |text: &str| text.lines().filter_map(|line| line.strip_prefix("tick ")?.parse::<u32>().ok()).collect::<Vec<_>>();
    let grows_beyond = async |world: &World, count: usize| {
        until("more of the server's output is in the log", LIMIT, || async {
            let seen = ticks(&log_of(world, &session, "server").await);
            (seen.len() > count).then_some(seen.len())
        })
        .await
    };
    let before = grows_beyond(&world, 10).await;
    world.server.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.server.start_again().await;
    let again = grows_beyond(&world, before + 30).await;
    // Of two that look each line is taken by one.
    let second = world.another_server(&[]).await;
    let shared = grows_beyond(&world, again + 20).await;
    let (ended, _) = world.server.terminate().await;
    assert!(ended.success());
    drop(second);
    world.server.start_again().await;
    grows_beyond(&world, shared + 20).await;
    world.down("ann", &session, &[]).await.ok();
    let (chunks, first) = log(&world, &session).await;
    assert_eq!(first, 1);
    assert_numbered(&chunks, 1);
    let server = of(&chunks, "server");
    let seen = ticks(&server);
    assert_eq!(seen, (1..).take(seen.len()).collect::<Vec<_>>(), "none lost, none twice, in order");
    assert!(server.ends_with("and good bye\n"), "its last words: {}", &server[server.len().saturating_sub(200)..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_up_keeps_its_log() {
    let world = World::start().await;
    for (name, toml, source, said) in [
        ("org/install", "install = \"echo about to fail; exit 3\"", "install", "about to fail\n"),
        (
            "org/serve",
            "serve = \"echo no port is good enough; printf unfinished; exit 1\"",
            "server",
            "no port is good enough\nunfinished\n",
        ),
    ] {
        world.git.with_files(name, &[(".alpine.toml", toml)]);
        world.up("ann", &url(name), "main", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
        let session = text(&world.list("ann").await[0], "session_id");
        assert_eq!(world.db.wait_for_state(&session, &["failed"], LIMIT).await, "failed");
        assert_eq!(log_of(&world, &session, source).await, said);
        assert_numbered(&events(&world, &session).await, 1);
        world.assert_nothing_left(&session);
    }
}
