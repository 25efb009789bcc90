//! Secrets of every kind go through the program on every path, well and badly ending; afterwards none is found in
//! anything that was written, said, sent or shown. What is no secret goes the same ways and is found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

mod broken;
mod browsers;
mod callers;
mod commands;
mod needles;
mod places;
mod processes;
mod stage;
mod stored;

use std::{collections::BTreeSet, time::Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_is_found_anywhere_but_where_it_is_used() {
    // What is started from here leaves a core file when it is aborted, unless it sees to it that it does not.
    let most = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: most, maximum: most }).unwrap();
    let before = places::cores();
    assert!(before.is_empty(), "left by an earlier run: {before:?}");
    let begun = Instant::now();
    let told = |what: &str| eprintln!("{:>6.1?} {what}", begun.elapsed());

    let mut stage = Stage::start(broken::FIRST).await;
    told("started");
    let adopter = broken::crashes(&mut stage).await;
    told("crashes");
    broken::failures(&mut stage).await;
    broken::echoes(&mut stage).await;
    broken::cancelled(&mut stage).await;
    told("failures");
    callers::headers(&mut stage).await;
    callers::bodies(&mut stage).await;
    callers::bad_tokens(&mut stage).await;
    callers::access_tokens(&mut stage).await;
    browsers::let_in(&mut stage).await;
    told("callers");
    commands::command_line(&mut stage).await;
    commands::check_config(&stage);
    told("commands");
    drop(adopter);
    stored::credentials(&mut stage).await;
    stored::rotation(&mut stage).await;
    told("stored credentials");
    broken::scrape(&stage).await;
    commands::marks(&mut stage).await;
    // The last traces are sent at the end.
    stage.world.server.terminate().await;

    let seen = stage.watcher.stop();
    told(&format!("{} processes seen", seen.len()));
    let search = stage.kinds.search();
    let findings = places::look_everywhere(&stage, &search, seen);
    let kinds = stage.kinds.secrets();
    told(&format!("{} kinds of secrets looked for in {} places", kinds.len(), findings.places()));
    for (at, kind) in kinds.iter().enumerate() {
        eprintln!("{:>3} {kind}", at + 1);
    }
    for receiver in [&stage.receiver, &stage.grpc_receiver] {
        let sent = receiver.headers().concat();
        assert!(!search.within(sent.as_bytes()).0.is_empty(), "the exporter did not prove itself: {sent}");
        let names: BTreeSet<String> = receiver.spans().into_iter().map(|span| span.name).collect();
        for name in ["operation.up", "phase.sync", "git.fetch", "sandbox.exec", "ledger.commit", "ledger.git_credential"] {
            assert!(names.contains(name), "no {name} was searched: {names:?}");
        }
    }
    commands::assert_marked(&findings);
    assert!(kinds.len() >= 20);
    assert!(findings.leaks.is_empty(), "{} leaks:\n{}", findings.leaks.len(), findings.leaks.join("\n"));
    assert_eq!(places::cores(), before, "a core file holds all that its process knew");
}
