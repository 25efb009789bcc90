//! The two programs from the outside: what they print, well and badly ending; and the marks that must be found.

use std::process::{Command, Stdio};

use alpine_tests::{bins, cli::text};
use serde_json::json;

use crate::{needles::random, places::Findings, stage::Stage};

/// `alpine up` with the tokens of its environment, well and badly ending, with `-vv`, with and without `--json`; then
/// `down`.
pub async fn command_line(stage: &mut Stage) {
    let jwt = stage.jwt.clone();
    for variable in ["GITHUB_TOKEN", "GH_TOKEN"] {
        let token = stage.secret(&format!("{variable} of alpine"));
        let org = format!("org/{}", variable.to_lowercase());
        let repo = stage.repository(&org, &token);
        let words = |branch: &str| ["up", &repo, "--branch", branch, "--no-browser"].map(str::to_owned);
        let alpine = || stage.alpine(&jwt).env(variable, &token);
        let up = stage.run(alpine().args(&words(&stage.branch)).args(&["--json"])).await.ok();
        assert_eq!(up["state"], "ready");
        stage.run(alpine().args(&words("absent"))).await;
        stage.run(alpine().args(&words("absent")).args(&["--json"])).await;
        stage.world.git.protect(&org, "another");
        assert_eq!(stage.run(alpine().args(&words(&stage.branch)).args(&["--json"])).await.code, Some(2));
        assert_eq!(stage.run(alpine().args(&words(&stage.branch))).await.code, Some(2));
        for alpine in [alpine().env("ALPINE_SERVER", "https://127.0.0.1:9"), alpine().env("ALPINE_CA_FILE", "/nowhere")] {
            assert_ne!(stage.run(alpine.args(&["list", "--json"])).await.code, Some(0));
        }
        let session = text(&up, "session_id");
        for words in [vec!["status", &session], vec!["events", &session], vec!["list"], vec!["down", &session], vec!["down", &session]] {
            stage.run(stage.alpine(&jwt).args(&words)).await;
        }
    }
}

/// What an operator looks at: the settings, with every secret in its environment.
pub fn check_config(stage: &Stage) {
    let environ = std::fs::read(format!("/proc/{}/environ", stage.world.server.pid().unwrap())).unwrap();
    for (more, expected) in [(&[][..], true), (&["--tls-key", "/nowhere", "--credential-key-file", "/nowhere", "--nonsense"], false)] {
        let mut command = Command::new(bins::path("alpine-server"));
        command.arg("check-config").args(more).env_clear().stdin(Stdio::null());
        for (name, value) in crate::processes::variables(&environ) {
            let (name, value) = (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned());
            command.env(name, value);
        }
        let output = command.output().expect("alpine-server runs");
        assert_eq!(output.status.success(), expected, "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        stage.keep("what alpine-server says", &String::from_utf8_lossy(&said));
    }
}

/// A session that stays; a request with a mark for its id; a process with a mark in its arguments and one in its
/// environment.
pub async fn marks(stage: &mut Stage) {
    let token = stage.secret("repo_token of a session that stays");
    let repo = stage.repository("org/stays", &token);
    let up = stage.up(&repo, json!({ "repo_token": token })).await;
    let operation = stage.ends(&up, "succeeded").await;
    stage.get(&format!("/v1/sessions/{}", text(&operation, "session_id"))).await;
    let id = random();
    stage.kinds.mark("a request's id", &id);
    stage.ask(stage.ann().request(reqwest::Method::GET, "/v1/sessions").header("X-Request-Id", &id)).await;
    let (argument, variable) = (random(), random());
    stage.kinds.mark("an argument", &argument);
    stage.kinds.mark("a variable", &variable);
    let status = Command::new("sh").args(["-c", "sleep 0.3; true", &argument]).env("MARK", &variable).status();
    assert!(status.unwrap().success());
}

/// Every place has shown what is no secret.
pub fn assert_marked(findings: &Findings) {
    for (place, mark) in [
        ("an answer of the server", "the branch"),
        ("what alpine says", "the branch"),
        ("what alpine-server says", "the service's name"),
        ("/metrics", "a name of a metric"),
        ("traces by HTTP", "the service's name"),
        ("traces by gRPC", "the service's name"),
        ("a dump of the database", "the branch"),
        ("the table session_logs", "the branch"),
        ("the table progress", "a step of a phase"),
        // Of either server: who is first claims the `up` whose branch is not there, and logs it.
        ("file server", "the branch"),
        ("file server.log", "a request's id"),
        ("database file log", "the branch"),
        ("database file data/", "the branch"),
        ("/workspace/.git/config", "the branch"),
        ("/home/mark", "the branch"),
        ("/tmp/mark", "the branch"),
        ("/served.log", "the branch"),
        ("arguments of", "an argument"),
        ("arguments of git", "the branch"),
        ("environment of", "a variable"),
    ] {
        let marks = findings.marks(place);
        assert!(marks.contains(&mark), "{place} does not show {mark}, but {marks:?}");
    }
}
