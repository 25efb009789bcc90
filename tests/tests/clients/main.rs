//! Clients that generators make of the committed document, built and run against one live server, and the page that shows them.
//! What each does is tests/clients/<language>/main.*; how it is made is generate.sh beside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod made;
mod newer;
mod page;

use std::{sync::Arc, time::Instant};

use alpine_tests::{World, cli::text, drive::CHEAP_SERVE, tools};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use newer::Newer;

/// A language, the program in the folder where it is built, and whether its client hands out the bytes of an answer.
const CLIENTS: [(&str, &[&str], bool); 4] = [
    ("rust", &["target/debug/main"], false),
    ("typescript", &["node", "build/main.js"], true),
    ("go", &["./main"], true),
    ("python", &["python3", "main.py"], true),
];

/// Straight to the server, and once more through one that is newer than the document: its answers have more fields.
#[tokio::test(flavor = "multi_thread")]
async fn clients_in_four_languages_take_a_session_from_up_to_its_record_and_ignore_fields_that_are_newer_than_they_are() {
    let started = Instant::now();
    let tools = spawn_blocking(|| tools::fetched("clients")).await.unwrap();
    let builds = CLIENTS.map(|(language, ..)| {
        let tools = tools.clone();
        spawn_blocking(move || made::build(language, &tools))
    });
    let world = Arc::new(World::with(&[("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)]).await);
    let newer = Newer::start(&world).await;
    let servers = [("now", world.server.base()), ("later", newer.base())];
    let mut all = JoinSet::new();
    for ((language, program, reads_bytes), build) in CLIENTS.into_iter().zip(builds) {
        let (world, tools, servers) = (world.clone(), tools.clone(), servers.clone());
        all.spawn(async move {
            let dir = build.await.unwrap()?;
            println!("{language}: built after {:.1?}", started.elapsed());
            for (when, server) in servers {
                let begun = Instant::now();
                let principal = format!("{language}-{when}");
                let (token, ca) = (world.token("dev", &principal, &[]), world.pki.ca.clone());
                let (dir, tools) = (dir.clone(), tools.clone());
                let run =
                    spawn_blocking(move || made::run(&dir, program, &tools, &[("ALPINE_SERVER", &server), ("ALPINE_TOKEN", &token)], &ca));
                let summary = run.await.unwrap().map_err(|error| format!("{principal}: {error}"))?;
                println!("{principal}: ran {:.1?}", begun.elapsed());
                check(&world, &principal, &summary, reads_bytes).await;
            }
            Ok::<_, String>(())
        });
    }
    let mut wrong = Vec::new();
    while let Some(one) = all.join_next().await {
        match one {
            Ok(Ok(())) => {}
            Ok(Err(error)) => wrong.push(error),
            Err(panic) => wrong.push(panic.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(newer.widened() > 4 * 10, "{} answers had more fields", newer.widened());
    assert_eq!(world.db.count("sessions").await, 8, "a replay is not a session, nor is what was refused");
}

/// What the program printed, against what the server knows.
async fn check(world: &World, principal: &str, summary: &Value, reads_bytes: bool) {
    let said = format!("{principal}: {summary}");
    let list = |name: &str| summary[name].as_array().unwrap_or_else(|| panic!("{name}: {said}")).clone();
    let session = text(summary, "session_id");
    let (ups, downs) = (list("operation_ids"), list("down_operation_ids"));
    assert!(
        ups.len() == 2 && ups.iter().all(|id| *id == ups[0] && id.as_str().unwrap().starts_with("op_")),
        "the replay is the same operation: {said}"
    );
    assert!(downs.len() == 2 && downs[0] == downs[1] && downs[0] != ups[0], "one down: {said}");
    assert_eq!(
        (&summary["ready"], &summary["status"], &summary["stopped"]),
        (&json!("ready"), &json!("ready"), &json!("stopped")),
        "{said}"
    );
    assert_eq!(summary["listed"], json!([session]), "{said}");
    let sequence = list("sequence");
    assert_eq!(sequence, (1..=sequence.len()).map(|seq| json!(seq)).collect::<Vec<_>>(), "no gap, page by page: {said}");
    assert!(sequence.len() >= 5, "requested, provisioning, repo_syncing, installing, ready: {said}");
    // Of the client that reads the stream too, once the session is over.
    if let Some(streamed) = summary["streamed"].as_array() {
        assert_eq!(*streamed, (1..=streamed.len()).map(|seq| json!(seq)).collect::<Vec<_>>(), "no gap, as a stream: {said}");
        assert!(streamed.len() >= sequence.len() + 3, "and stopping, persisting, stopped: {said}");
    }
    let refusals = json!([
        { "status": 422, "error_code": "ERR_INVALID_BRANCH" },
        { "status": 404, "error_code": "ERR_SESSION_NOT_FOUND" },
    ]);
    assert_eq!(summary["refusals"], refusals, "{said}");
    let api = world.api(principal);
    let stored = api.get(&format!("/v1/sessions/{session}/record")).await.expect(200).clone();
    assert_eq!((&summary["verified"], &summary["record_state"]), (&json!(true), &json!("stopped")), "{said}");
    assert_eq!(summary["sha256"], stored["sha256"], "{said}");
    if reads_bytes {
        assert_eq!(summary["digest"], stored["sha256"], "the digest of the bytes that the client was sent: {said}");
    }
    let up = api.get(&format!("/v1/operations/{}", ups[0].as_str().unwrap())).await.expect(200).clone();
    assert_eq!(summary["commit"], up["target_commit_sha"], "{said}");
    world.assert_nothing_left(&session);
}
