//! The client against a small server that answers as it is told.

use std::{
    collections::VecDeque,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use alpine_api::{OperationStatus, SessionState};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    config::Environment,
    testing::{Run, alpine, alpine_on, operation, operation_id, session_id, transitions},
    ui::Terminal,
};

/// An answer: a status and a body; status 0 hangs up without a word.
type Answer = (u16, String);

struct Fake {
    env: Environment,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn fake(answers: Vec<Answer>) -> Fake {
    fake_version(env!("CARGO_PKG_VERSION"), answers).await
}

/// Answers in this order; the last one ever again. Events are answered beside it.
async fn fake_version(version: &'static str, answers: Vec<Answer>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, version, Arc::clone(&seen), Arc::clone(&answers)));
            }
        }
    });
    let env = Environment::of(&[
        ("ALPINE_CONFIG_DIR", "/nonexistent"),
        ("ALPINE_SERVER", &address),
        ("ALPINE_TOKEN", "bearer-s3cr3t"),
        ("GITHUB_TOKEN", "repo-s3cr3t"),
    ]);
    Fake { env, seen }
}

/// One request a connection.
async fn serve(mut stream: TcpStream, version: &str, seen: Arc<Mutex<Vec<String>>>, answers: Arc<Mutex<VecDeque<Answer>>>) {
    let mut request = String::new();
    let mut bytes = [0; 4096];
    loop {
        let read = stream.read(&mut bytes).await.unwrap_or(0);
        request.push_str(&String::from_utf8_lossy(&bytes[..read]));
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
        if read == 0 || request.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length) {
            break;
        }
    }
    let (status, body) = if request.contains("/events?after=0 ") {
        (200, json!({"events": transitions(), "next_after": 3}).to_string())
    } else if request.contains("/events?after=") {
        (200, json!({"events": [], "next_after": 3}).to_string())
    } else {
        seen.lock().unwrap().push(request);
        let mut answers = answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
    };
    if status != 0 {
        let head =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\nx-alpine-version: {version}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.ok();
    }
}

impl Fake {
    async fn alpine(&self, args: &[&str]) -> Run {
        alpine(args, &self.env).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// A header of every request that was seen, by the request's method and path.
    fn headers(&self, name: &str) -> Vec<(String, String)> {
        let header = |request: &String| {
            let start = request.split(" HTTP").next().unwrap().to_owned();
            let value = request.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            (start, value.unwrap_or_default().to_owned())
        };
        self.seen().iter().map(header).collect()
    }
}

fn up_operation(status: OperationStatus) -> String {
    let seen = operation();
    json!({
        "operation_id": seen.operation_id, "session_id": seen.session_id, "kind": "up", "status": status, "phase": "install",
        "state": if status == OperationStatus::Succeeded { SessionState::Ready } else { SessionState::Installing },
        "created_at": seen.created_at, "opencode_url": seen.opencode_url, "ready_at": seen.ready_at,
        "target_commit_sha": seen.target_commit_sha, "persistence_verified": false, "from_tomorrow": true,
    })
    .to_string()
}

fn done() -> Answer {
    (200, up_operation(OperationStatus::Succeeded))
}

fn running() -> Answer {
    (202, up_operation(OperationStatus::Running))
}

fn problem(status: u16, code: &str) -> Answer {
    (status, json!({"error_code": code, "cause": "told by the server", "next_step": "do that", "retryable": false}).to_string())
}

fn nothing(status: u16) -> Answer {
    (status, "<html>proxy</html>".to_owned())
}

const UP: &[&str] = &["up", "https://github.com/org/repo.git", "--branch", "main", "--json"];

#[tokio::test]
async fn an_up_is_tried_again_with_the_same_key_until_it_is_answered() {
    let server = fake(vec![(0, String::new()), problem(503, "ERR_UNAVAILABLE"), nothing(502), done()]).await;
    let run = server.alpine(UP).await;
    assert_eq!(run.code, ExitCode::SUCCESS, "{run:?}");
    let keys = server.headers("idempotency-key");
    assert_eq!(keys.len(), 4);
    assert!(keys.iter().all(|(start, key)| start == "POST /v1/sessions" && key.len() == 36 && *key == keys[0].1), "{keys:?}");
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&answer["state"], &answer["browser_opened"]), (&json!("ready"), &json!(false)));
}

#[tokio::test]
async fn the_request_says_who_asks_what() {
    let server = fake(vec![done()]).await;
    let run = server.alpine(&[UP, &["--client-request-id", "build-7", "-v"]].concat()).await;
    assert_eq!(run.code, ExitCode::SUCCESS, "{run:?}");
    let request = server.seen().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    for line in
        ["idempotency-key: build-7", "authorization: Bearer bearer-s3cr3t", concat!("user-agent: alpine/", env!("CARGO_PKG_VERSION"))]
    {
        assert!(head.lines().any(|sent| sent == line), "{line}: {head}");
    }
    let trace: Vec<_> = head.lines().find_map(|line| line.strip_prefix("traceparent: ")).unwrap().split('-').map(str::len).collect();
    assert_eq!(trace, [2, 32, 16, 2]);
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        json!({"repo_url": "https://github.com/org/repo.git", "branch": "main", "public": false, "repo_token": "repo-s3cr3t"})
    );
    assert!(!format!("{run:?}").contains("s3cr3t"));
}

#[tokio::test]
async fn a_public_repository_is_asked_for_without_a_token() {
    let server = fake(vec![done()]).await;
    server.alpine(&[UP, &["--public"]].concat()).await;
    let request = server.seen().remove(0);
    assert!(request.contains("\"public\":true") && !request.contains("repo_token"), "{request}");
}

#[tokio::test]
async fn the_wait_goes_on_through_a_restart_of_the_server() {
    let answers = vec![running(), (0, String::new()), nothing(502), problem(503, "ERR_UNAVAILABLE"), nothing(429), running(), done()];
    let server = fake(answers).await;
    let run = server.alpine(UP).await;
    assert_eq!((run.code, run.err.as_str()), (ExitCode::SUCCESS, ""), "{run:?}");
    let asked = server.headers("prefer");
    assert_eq!(asked.len(), 7);
    assert!(
        asked[1..].iter().all(|(start, wait)| *start == format!("GET /v1/operations/{}", operation_id(1)) && wait == "wait=30"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_failed_operation_is_the_commands_error() {
    let mut failed: Value = serde_json::from_str(&up_operation(OperationStatus::Failed)).unwrap();
    failed["error"] =
        json!({"error_code": "ERR_SANDBOX_PROVISION_FAILED", "cause": "branch not found", "next_step": "push it", "retryable": true});
    for answers in [vec![running(), (200, failed.to_string())], vec![(200, failed.to_string())]] {
        for no_wait in [&[][..], &["--no-wait"]] {
            let run = fake(answers.clone()).await.alpine(&[UP, no_wait].concat()).await;
            if answers.len() == 2 && !no_wait.is_empty() {
                assert_eq!(run.code, ExitCode::SUCCESS);
                continue;
            }
            assert_eq!(run.json_error(), ("ERR_SANDBOX_PROVISION_FAILED".to_owned(), "branch not found".to_owned(), 2));
            assert!(run.out.contains(&operation_id(1).to_string()));
        }
    }
}

#[tokio::test]
async fn an_operations_error_as_a_problem_is_not_taken_for_an_interruption() {
    let mut body: Value = serde_json::from_str(&problem(502, "ERR_SANDBOX_PROVISION_FAILED").1).unwrap();
    body["operation_id"] = json!(operation_id(1));
    let server = fake(vec![(502, body.to_string())]).await;
    let run = server.alpine(UP).await;
    assert_eq!(run.json_error().2, 2);
    assert!(run.out.contains(&operation_id(1).to_string()), "{run:?}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_wait_that_cannot_go_on_says_what_does() {
    for quiet in [&["--json"][..], &["--json", "--quiet"]] {
        let server = fake(vec![running(), problem(401, "ERR_CALLER_IDENTITY_REQUIRED")]).await;
        let run = server.alpine(&[&UP[..4], quiet].concat()).await;
        assert_eq!(run.json_error(), ("ERR_CALLER_IDENTITY_REQUIRED".to_owned(), "told by the server".to_owned(), 1));
        let error: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!((&error["operation_id"], &error["session_id"]), (&json!(operation_id(1)), &json!(session_id(1))));
        let next = error["next_step"].as_str().unwrap();
        assert!(next.contains("the operation goes on: follow it with alpine status ses_") && next.ends_with("--follow"), "{next}");
    }
}

#[tokio::test]
async fn codes_that_this_program_does_not_know_are_told_by_their_status() {
    for (answer, code, exit) in [
        (problem(418, "ERR_FROM_TOMORROW"), "ERR_FROM_TOMORROW", 1),
        (problem(500, "ERR_FROM_TOMORROW"), "ERR_FROM_TOMORROW", 2),
        (problem(503, "ERR_FROM_TOMORROW"), "ERR_FROM_TOMORROW", 2),
        (problem(403, "ERR_SESSION_FORBIDDEN"), "ERR_SESSION_FORBIDDEN", 1),
        (problem(409, "ERR_PERSIST_PAYLOAD_TOO_LARGE"), "ERR_PERSIST_PAYLOAD_TOO_LARGE", 2),
    ] {
        let run = fake(vec![answer]).await.alpine(UP).await;
        assert_eq!(run.json_error(), (code.to_owned(), "told by the server".to_owned(), exit));
        assert!(run.out.contains("do that"));
    }
    for (answer, code, exit) in [
        (nothing(404), "ERR_INVALID_REQUEST", 1),
        (nothing(302), "ERR_INVALID_REQUEST", 1),
        (nothing(500), "ERR_INTERNAL", 2),
        ((200, "{}".to_owned()), "ERR_INTERNAL", 2),
        ((200, "<html>".to_owned()), "ERR_INTERNAL", 2),
    ] {
        let (told, _, exited) = fake(vec![answer]).await.alpine(UP).await.json_error();
        assert_eq!((told.as_str(), exited), (code, exit));
    }
}

#[tokio::test]
async fn no_server_is_said_with_its_address_and_how_to_start_one() {
    // Held without listening: a port that is free is another test's the next moment.
    let held = tokio::net::TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = held.local_addr().unwrap();
    let env =
        Environment::of(&[("ALPINE_SERVER", &format!("http://{free}")), ("ALPINE_TOKEN", "t"), ("ALPINE_CONFIG_DIR", "/nonexistent")]);
    let run = alpine(&["list", "--json"], &env).await;
    let (code, cause, exit) = run.json_error();
    assert_eq!((code.as_str(), exit), ("ERR_UNAVAILABLE", 2));
    assert!(cause.contains(&free.to_string()) && run.out.contains("alpine-server dev"), "{}", run.out);
}

#[tokio::test]
async fn a_malformed_session_id_is_not_found_without_asking() {
    let server = fake(vec![nothing(500)]).await;
    for args in [&["status", "nonsense"][..], &["down", ""], &["down", "../x"], &["events", "nonsense"], &["events", "-f", "x"]] {
        let told = server.alpine(&[args, &["--json"]].concat()).await.json_error();
        assert_eq!(told, ("ERR_SESSION_NOT_FOUND".to_owned(), "session not found".to_owned(), 1), "{args:?}");
    }
    assert!(server.seen().is_empty());
}

fn sessions(count: u128, cursor: Option<&str>) -> Answer {
    let one = |n| {
        json!({"session_id": session_id(n), "state": "ready", "repo_url": "https://h/x", "branch": "main",
               "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z", "owner_principal_id": "tester"})
    };
    (200, json!({"sessions": (0..count).map(one).collect::<Vec<_>>(), "next_cursor": cursor}).to_string())
}

#[tokio::test]
async fn a_list_follows_its_pages_as_far_as_it_is_asked_to() {
    let server = fake(vec![sessions(2, Some("a+b")), sessions(1, None)]).await;
    let run = server.alpine(&["list", "--json", "--all-owners", "--state", "ready"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&run.out).unwrap().len(), 3, "{run:?}");
    let asked: Vec<_> = server.headers("prefer").into_iter().map(|(start, _)| start).collect();
    assert_eq!(
        asked,
        ["GET /v1/sessions?limit=200&state=ready&owner=all", "GET /v1/sessions?limit=200&state=ready&owner=all&cursor=a%2Bb"]
    );

    let server = fake(vec![sessions(50, Some("more"))]).await;
    let run = server.alpine(&["ls"]).await;
    assert_eq!((run.out.lines().count(), server.seen().len()), (51, 1));
    assert!(run.err.contains("more than 50"), "{}", run.err);
    let run = fake(vec![sessions(3, Some("more"))]).await.alpine(&["ls", "--limit", "2", "--json"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&run.out).unwrap().len(), 2);
}

#[tokio::test]
async fn a_person_sees_the_phases_and_a_script_that_wants_the_object_does_not() {
    let terminal = Terminal { stderr: true, repaints: true, unicode: true, columns: Some(60), ..Terminal::default() };
    let server = fake(vec![running(), running(), done()]).await;
    let run = alpine_on(terminal, &UP[..4], &server.env).await;
    assert_eq!(run.code, ExitCode::SUCCESS);
    let size = |n| std::num::NonZero::new(n).unwrap();
    let mut screen = vt100::Parser::new(size(20), size(60), 0);
    screen.process(run.err.replace('\n', "\r\n").as_bytes());
    insta::assert_snapshot!("up_on_a_terminal", format!("{}\n---\n{}", screen.screen().contents().trim_end(), run.out));
    // Nothing of it stays that has to be written over, and a dumb terminal gets lines.
    for terminal in [Terminal::default(), Terminal { stderr: true, ..Terminal::default() }] {
        let server = fake(vec![running(), running(), done()]).await;
        let run = alpine_on(terminal, &[&UP[..4], &["--no-color"]].concat(), &server.env).await;
        assert!(!run.err.contains('\u{1b}') && !run.err.contains('\r'), "{run:?}");
        insta::assert_snapshot!("up_in_plain_lines", run.err);
    }
    for silent in ["--quiet", "--json"] {
        let server = fake(vec![running(), done()]).await;
        let run = alpine_on(terminal, &[&UP[..4], &[silent]].concat(), &server.env).await;
        assert_eq!((run.code, run.err.as_str()), (ExitCode::SUCCESS, ""));
    }
}

#[tokio::test]
async fn events_come_as_an_array_or_a_line_each() {
    let id = session_id(1).to_string();
    let server = fake(vec![nothing(500)]).await;
    let all = server.alpine(&["events", &id, "--json"]).await;
    assert_eq!(serde_json::from_str::<Vec<Value>>(&all.out).unwrap().len(), 3, "{all:?}");
    // The last event leaves it failing: it is followed until the session has failed.
    let session = json!({"session_id": session_id(1), "state": "failed", "repo_url": "https://h/x", "branch": "main", "owner_principal_id": "t",
                         "updated_at": "2026-11-22T10:00:00Z", "next_step": "none"});
    let server = fake(vec![(200, session.to_string())]).await;
    let followed = server.alpine(&["events", &id, "--json", "--follow"]).await;
    let lines: Vec<Value> = followed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), followed.code), (3, ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_shown_once() {
    let made = json!({"token": "alpine_pat_s3cr3t", "token_id": "tok_019ab1c24d3e7f508192a3b4c5d62001", "name": "ci", "scopes": ["sessions:read"],
        "owner_principal_id": "tester", "created_at": "2026-11-22T10:00:00Z", "expires_at": "2027-02-20T10:00:00Z", "from_tomorrow": 1});
    let create = ["token", "create", "--name", "ci", "--scope", "sessions:read", "--scope", "sessions:read", "--expires-in", "7d", "-v"];
    let good = fake(vec![(201, made.to_string())]).await;
    let run = good.alpine(&create).await;
    assert_eq!((run.code, run.out.lines().filter(|line| *line == "alpine_pat_s3cr3t").count()), (ExitCode::SUCCESS, 1), "{run:?}");
    assert_eq!(run.out, "alpine_pat_s3cr3t\n", "TOKEN=$(alpine token create …) is the token");
    assert!(run.err.contains("only time") && run.err.contains("tok_") && !run.err.contains("s3cr3t"), "{run:?}");
    let quiet = fake(vec![(201, made.to_string())]).await.alpine(&[&create[..10], &["--quiet"]].concat()).await;
    assert_eq!(quiet.out, "alpine_pat_s3cr3t\n", "{quiet:?}");
    let body: Value = serde_json::from_str(good.seen()[0].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body, json!({"name": "ci", "scopes": ["sessions:read"], "expires_in_days": 7}));
    // Whether a lost answer was a token is not known: another try could make a second one.
    for lost in [(0, String::new()), (503, String::new())] {
        let away = fake(vec![lost, (201, made.to_string())]).await;
        let run = away.alpine(&[&create[..], &["--json"]].concat()).await;
        assert_eq!((run.json_error().0.as_str(), away.seen().len()), ("ERR_UNAVAILABLE", 1), "{run:?}");
    }
}

#[tokio::test]
async fn a_revocation_has_no_body_and_is_tried_again() {
    let server = fake(vec![(503, String::new()), (204, String::new())]).await;
    let run = server.alpine(&["token", "revoke", "tok_019ab1c24d3e7f508192a3b4c5d62001", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap()["revoked"], true, "{run:?}");
    assert!(server.seen().iter().all(|seen| seen.starts_with("DELETE /v1/tokens/tok_019ab1c24d3e7f508192a3b4c5d62001 ")));
    // What may be the secret is not sent.
    let run = server.alpine(&["token", "revoke", "alpine_pat_s3cr3t", "--json"]).await;
    assert_eq!((run.json_error().0.as_str(), server.seen().len()), ("ERR_NOT_FOUND", 2));
    assert!(!run.out.contains("s3cr3t"));
}

#[path = "client_error_tests.rs"]
mod errors;
