//! What a script is told and what a person is told is the same.

use alpine_tests::{World, base, cli::Alpine};
use serde_json::Value;

use crate::modes::{Said, normalised};

/// Fields that only scripts have, by the command and why people do not need them there.
const FOR_SCRIPTS: &[(&str, &[&str], &str)] = &[
    ("", &["operation_id", "request_id"], "people follow a session"),
    ("token", &["owner_principal_id"], "one's own"),
    ("list", &["opencode_url", "owner_principal_id"], "one's own; in list --wide, status and open"),
    ("version", &["api"], "for people the program's own is enough"),
    ("import", &["results", "unknown_fields"], "people read how many, and of those that need a look"),
    ("man", &["name", "pages"], "people read the page, or how many were written"),
    ("completion", &["shell"], "it was asked for"),
    ("status", &["last_error.next_step"], "the session's own next step stands there"),
    ("audit", &["hash", "prev_hash", "request_id", "id"], "audit --verify checks them"),
    ("open", &["session_id"], "it was asked for"),
];

/// Every value of the object stands in the words for people: with a terminal and without one.
#[track_caller]
pub fn of(said: &Said) {
    if said.plain.code != Some(0) {
        return of_error(said);
    }
    let Ok(object) = serde_json::from_str::<Value>(&said.json.stdout) else { return };
    // Each mode may be about something of its own, which has its number.
    let own = regex::Regex::new(r"([a-z])[0-3]\b").unwrap();
    let squeezed = |text: &str| own.replace_all(&normalised(text), "${1}0").split_whitespace().collect::<String>();
    let plain = squeezed(&format!("{}{}", said.plain.stdout, said.plain.stderr));
    // Where it is narrow, values are cut.
    let wide = said.terminal.screen().lines().all(|line| !line.contains('…'));
    let terminal = squeezed(said.terminal.screen());
    let for_scripts: Vec<&str> =
        FOR_SCRIPTS.iter().filter(|(command, ..)| said.words.starts_with(command)).flat_map(|(_, fields, _)| *fields).copied().collect();
    let told =
        |name: &str| !for_scripts.iter().any(|field| name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    for (name, value) in leaves("", &object).into_iter().filter(|(name, _)| told(name)) {
        let value = squeezed(&value);
        assert!(plain.contains(&value), "{name}, {value}, is not told to people: {said:?}");
        // What most addresses share goes before anything is cut.
        let short = value.strip_prefix("https://").unwrap_or(&value);
        let short = short.strip_suffix(".git").unwrap_or(short);
        assert!(!wide || terminal.contains(short), "{name}, {value}, is not told on a terminal: {said:?}");
    }
}

/// The values that are text or a number, by the path of their field.
fn leaves(name: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            let path = |field: &str| if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") };
            fields.iter().flat_map(|(field, value)| leaves(&path(field), value)).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| leaves(name, item)).collect(),
        // People are told a time in words, and how long ago it was.
        Value::String(text) if text.is_empty() || chrono::DateTime::parse_from_rfc3339(text).is_ok() => Vec::new(),
        Value::String(text) => vec![(name.to_owned(), text.clone())],
        Value::Number(number) => vec![(name.to_owned(), number.to_string())],
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}

/// The error's code, cause and next step stand in the words for people.
#[track_caller]
fn of_error(said: &Said) {
    let error: Value = serde_json::from_str(&said.json.stdout).unwrap();
    assert_eq!(error["exit_code"].as_i64(), said.plain.code.map(i64::from));
    same(&error, &said.plain.stderr);
    same(&error, &said.terminal.frames.last().unwrap().replace('\n', " "));
}

#[track_caller]
fn same(error: &Value, people: &str) {
    let text = |field: &str| error[field].as_str().unwrap_or_else(|| panic!("no {field}: {error}")).to_owned();
    let squeezed = |text: &str| without_ids(text).split_whitespace().collect::<String>();
    for field in ["error_code", "cause", "next_step"] {
        assert!(squeezed(people).contains(&squeezed(&text(field))), "{field} is not told to people: {error}\n{people}");
    }
}

/// Each mode may have had a session of its own.
fn without_ids(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(at) = text.find("ses_0") {
        text.replace_range(at..(at + 36).min(text.len()), "(session)");
    }
    text
}

struct Class {
    name: &'static str,
    alpine: Alpine,
    args: Vec<String>,
    code: &'static str,
    exit: i32,
}

fn classes(world: &World, down: &str) -> Vec<Class> {
    let ann = || world.alpine("ann");
    let away = format!("https://127.0.0.1:{}", base::free_port());
    let stranger = alpine_tests::pki::Pki::create(&base::fresh("stranger"));
    let class = |name, alpine, args: &[&str], code, exit| {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Class { name, alpine, args, code, exit }
    };
    let repo = alpine_tests::REPO;
    let nobody = "ses_019ab1c24d3e7f508192a3b4c5d60001";
    let key = jsonwebtoken::EncodingKey::from_secret(b"another");
    let claims = serde_json::json!({"sub": "ann", "exp": 1_764_000_000});
    let ended = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    vec![
        class("no branch", ann(), &["up", repo], "ERR_BRANCH_REQUIRED", 1),
        class("bad branch", ann(), &["up", repo, "--branch", "a..b"], "ERR_INVALID_BRANCH", 1),
        class("bad URL", ann(), &["up", "ftp://h/x", "--branch", "main"], "ERR_INVALID_REPO_URL", 1),
        class("no identity", ann().env("ALPINE_PRINCIPAL_ID", ""), &["list"], "ERR_CALLER_IDENTITY_REQUIRED", 1),
        class("garbage token", ann().env("ALPINE_TOKEN", "gar bage"), &["list"], "ERR_CALLER_IDENTITY_REQUIRED", 1),
        class("foreign token", ann().env("ALPINE_TOKEN", "garbage"), &["list"], "ERR_CALLER_IDENTITY_REQUIRED", 1),
        class("ended token", ann().env("ALPINE_TOKEN", &ended), &["list"], "ERR_CALLER_IDENTITY_REQUIRED", 1),
        class("no credentials", ann().without("GITHUB_TOKEN"), &["up", repo, "--branch", "main"], "ERR_REPO_AUTH_MISSING", 1),
        class("no such branch", ann(), &["up", repo, "--branch", "nope"], "ERR_SANDBOX_PROVISION_FAILED", 2),
        class("no such session", ann(), &["status", nobody], "ERR_SESSION_NOT_FOUND", 1),
        class("no session's id", ann(), &["down", "x"], "ERR_SESSION_NOT_FOUND", 1),
        class("another's session", world.alpine("bob"), &["status", down], "ERR_SESSION_FORBIDDEN", 1),
        class("not an admin", ann(), &["list", "--all-owners"], "ERR_SESSION_FORBIDDEN", 1),
        class("not an operator", ann(), &["tenant", "list"], "ERR_FORBIDDEN", 1),
        class("not ready", ann(), &["open", down, "--print"], "ERR_OPERATION_CONFLICT", 1),
        class("replaced", ann(), &["create"], "ERR_COMMAND_REPLACED", 1),
        class("usage", ann(), &["list", "--limit", "x"], "ERR_INVALID_REQUEST", 1),
        class("no such credential", ann(), &["credential", "rm", "github.com"], "ERR_NOT_FOUND", 1),
        class("no server", ann().env("ALPINE_SERVER", &away), &["status", nobody], "ERR_UNAVAILABLE", 2),
        class("not trusted", ann().env("ALPINE_CA_FILE", &stranger.ca.display().to_string()), &["list"], "ERR_UNAVAILABLE", 2),
    ]
}

pub async fn errors(world: &World) {
    let up = world.ready("ann").await;
    let session = alpine_tests::cli::text(&up, "session_id");
    world.down("ann", &session, &[]).await.ok();
    let mut told = String::new();
    for Class { name, alpine, args, code, exit } in classes(world, &session) {
        let (json, plain, terminal) = tokio::join!(
            alpine.clone().args(&args).args(&["--json"]).run(),
            alpine.clone().args(&args).args(&["--quiet"]).run(),
            alpine.clone().args(&args).args(&["--quiet"]).on_terminal(200),
        );
        let error = json.refused(exit, code);
        assert_eq!(
            (json.stderr.as_str(), plain.stdout.as_str(), plain.code, terminal.code),
            ("", "", Some(exit), Some(exit)),
            "{name}: {plain}"
        );
        same(&error, &plain.stderr);
        same(&error, terminal.screen());
        told.push_str(&format!("{name}\n{}{}\n\n", plain.stderr, json.stdout.trim_end()));
    }
    crate::modes::settings().bind(|| insta::assert_snapshot!("errors", normalised(&told)));
}
