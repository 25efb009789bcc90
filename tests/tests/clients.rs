//! Clients that generators make of the committed document, built and run against one live server, and the page that shows them.
//! What each does is tests/clients/<language>/main.*; how it is made is generate.sh beside it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use alpine_tests::{REPO, World, bins, cli::text};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

/// A language, the program in the folder where it is built, and whether its client hands out the bytes of an answer.
const CLIENTS: [(&str, &[&str], bool); 4] = [
    ("rust", &["target/debug/main"], false),
    ("typescript", &["node", "build/main.js"], true),
    ("go", &["./main"], true),
    ("python", &["python3", "main.py"], true),
];

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_four_languages_take_a_session_from_up_to_its_record() {
    let tools = spawn_blocking(fetch).await.unwrap();
    let builds = CLIENTS.map(|(language, ..)| {
        let tools = tools.clone();
        spawn_blocking(move || build(language, &tools))
    });
    let world = Arc::new(World::start().await);
    let mut all = JoinSet::new();
    for ((language, program, reads_bytes), build) in CLIENTS.into_iter().zip(builds) {
        let (world, tools) = (world.clone(), tools.clone());
        all.spawn(async move {
            let dir = build.await.unwrap()?;
            let begun = Instant::now();
            let token = world.token("dev", language, &[]);
            let ca = world.pki.ca.clone();
            let server = world.server.base();
            let said = spawn_blocking(move || run(&dir, program, &tools, &[("ALPINE_SERVER", &server), ("ALPINE_TOKEN", &token)], &ca));
            let summary = said.await.unwrap().map_err(|error| format!("{language}: {error}"))?;
            println!("{language}: ran {:.1?}", begun.elapsed());
            check(&world, language, &summary, reads_bytes).await;
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
    assert_eq!(world.db.count("sessions").await, 4, "a replay is not a session, nor is what was refused");
}

/// What the program printed, against what the server knows.
async fn check(world: &World, language: &str, summary: &Value, reads_bytes: bool) {
    let said = format!("{language}: {summary}");
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
    let refusals = json!([
        { "status": 422, "error_code": "ERR_INVALID_BRANCH" },
        { "status": 404, "error_code": "ERR_SESSION_NOT_FOUND" },
    ]);
    assert_eq!(summary["refusals"], refusals, "{said}");
    let api = world.api(language);
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

/// The folder of the generators, which tests/run.sh fetches into `target/tools`; a test run without it does so itself.
fn fetch() -> PathBuf {
    let dir = variable("ALPINE_TEST_CLIENTS").map_or_else(|| bins::root().join("target/tools/clients"), PathBuf::from);
    let status = Command::new(bins::root().join("tests/clients/fetch.sh")).arg(&dir).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "the generators could not be fetched");
    dir
}

/// The folder in which the language's program is built; what went wrong where it could not be.
fn build(language: &str, tools: &Path) -> Result<PathBuf, String> {
    let begun = Instant::now();
    let root = bins::root();
    let dir = root.join("target/clients").join(language);
    let mut command = Command::new(root.join("tests/clients/build.sh"));
    command.arg(language).arg(root.join("openapi/alpine.v1.json")).arg(tools).arg(&dir);
    let output = command.stdin(Stdio::null()).output().unwrap();
    println!("{language}: built {:.1?}", begun.elapsed());
    if output.status.success() { Ok(dir) } else { Err(format!("{language} could not be built: {}", said(&output))) }
}

/// The program's summary: the last line that it printed.
fn run(dir: &Path, program: &[&str], tools: &Path, settings: &[(&str, &str)], ca: &Path) -> Result<Value, String> {
    let path = std::env::join_paths([tools.join("python/bin")].into_iter().chain(paths())).unwrap();
    let mut command = Command::new(program[0]);
    if program[0].contains('/') {
        command = Command::new(dir.join(program[0]));
    }
    command.args(&program[1..]).current_dir(dir).stdin(Stdio::null()).env("PATH", path).envs(settings.iter().copied());
    command.env("ALPINE_REPO", REPO).env("ALPINE_CA_FILE", ca).env("NODE_EXTRA_CA_CERTS", ca);
    command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = stdout.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    summary.filter(|_| output.status.success()).ok_or_else(|| said(&output))
}

fn said(output: &std::process::Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[expect(clippy::disallowed_methods, reason = "the harness's own switch")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn paths() -> Vec<PathBuf> {
    variable("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// What a file has between its `docs` marks, each part as if nothing stood around it.
fn shown(file: &str) -> String {
    let source = fs::read_to_string(bins::root().join("tests/clients").join(file)).unwrap();
    let (mut lines, mut indent) = (Vec::new(), None);
    for line in source.lines() {
        match line.trim_start().trim_start_matches(['/', '#', ' ']) {
            "docs: begin" => indent = Some(line.len() - line.trim_start().len()),
            "docs: end" => indent = None,
            _ => lines.extend(indent.map(|indent| line.get(indent..).unwrap_or_default())),
        }
    }
    assert!(!lines.is_empty(), "{file} shows nothing");
    lines.join("\n")
}

#[test]
fn the_page_on_clients_shows_the_code_that_is_run_here_and_no_other() {
    let page = fs::read_to_string(bins::root().join("docs/clients.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("\n```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).map(|(_, code)| code).collect();
    let sources = [("typescript", "ts"), ("python", "py"), ("rust", "rs"), ("go", "go")];
    let files = sources.iter().flat_map(|(language, ending)| [format!("{language}/generate.sh"), format!("{language}/main.{ending}")]);
    let run: Vec<String> = files.map(|file| shown(&file)).collect();
    for code in &run {
        assert!(blocks.contains(&code.as_str()), "docs/clients.md lacks:\n{code}");
    }
    for block in blocks {
        assert!(run.iter().any(|code| code == block), "docs/clients.md shows what nothing runs:\n{block}");
    }
}
