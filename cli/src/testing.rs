//! Fixed values for tests.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use alpine_api::{EventKind, OperationId, OperationKind, OperationStatus, Scope, SessionId, SessionState, Share, ShareId, TokenId};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    args, begin,
    config::Environment,
    go_on,
    ui::{Answer, Style, Terminal, Ui},
    wire::{Event, Operation, Session, Token, Word},
};

pub fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub fn session_id(n: u128) -> SessionId {
    SessionId::from_uuid(Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_0000 + n))
}

pub fn operation_id(n: u128) -> OperationId {
    OperationId::from_uuid(Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_1000 + n))
}

/// An `up` that succeeded.
pub fn operation() -> Operation {
    Operation {
        operation_id: operation_id(1),
        session_id: session_id(1),
        kind: Word::Known(OperationKind::Up),
        status: Word::Known(OperationStatus::Succeeded),
        state: Word::Known(SessionState::Ready),
        created_at: at("2026-11-22T10:00:00Z"),
        target_commit_sha: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
        opencode_url: Some("https://127.0.0.1:8443/s/1/".to_owned()),
        ready_at: Some(at("2026-11-22T10:00:12.345678Z")),
        durable_object_id: None,
        persisted_at: None,
        persistence_verified: false,
        error: None,
        next_step: None,
    }
}

pub fn session() -> Session {
    Session {
        session_id: session_id(1),
        state: Word::Known(SessionState::Ready),
        owner_principal_id: "tester".to_owned(),
        repo_url: "https://github.com/org/repo.git".to_owned(),
        branch: "main".to_owned(),
        target_commit_sha: operation().target_commit_sha,
        opencode_url: operation().opencode_url,
        updated_at: at("2026-11-22T10:00:12.345678Z"),
        ready_at: operation().ready_at,
        class: None,
        expires_at: None,
        used_at: None,
        idle_at: None,
        stopped_at: None,
        persisted_at: None,
        durable_object_id: None,
        operation_id: Some(operation_id(1)),
        last_error: None,
        next_step: format!("run alpine down {} when work is complete", session_id(1)),
    }
}

pub fn token(n: u128) -> Token {
    Token {
        token_id: TokenId::from_uuid(Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_2000 + n)),
        name: "nightly build".to_owned(),
        owner_principal_id: "tester".to_owned(),
        scopes: vec![Word::Known(Scope::SessionsRead), Word::Known(Scope::SessionsWrite)],
        created_at: at("2026-11-22T10:00:00Z"),
        expires_at: at("2027-02-20T10:00:00Z"),
        last_used_at: None,
        revoked_at: None,
    }
}

pub fn share(n: u128) -> Share {
    Share {
        share_id: ShareId::from_uuid(Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_3000 + n)),
        session_id: session_id(1),
        port: Some(3000),
        with: vec!["ann".to_owned(), "bob".to_owned()],
        public: false,
        created_by: "tester".to_owned(),
        created_at: at("2026-11-22T10:00:00Z"),
        expires_at: at("2026-11-23T10:00:00Z"),
    }
}

pub fn transitions() -> Vec<Event> {
    let change = |seq, from: Option<SessionState>, to, time, reason: &str| Event {
        seq,
        kind: Word::Known(EventKind::Transition),
        phase: None,
        percent: None,
        from_state: from.map(Word::Known),
        to_state: Word::Known(to),
        at: at(time),
        actor: if seq == 1 { "tester" } else { "system" }.to_owned(),
        reason: reason.to_owned(),
        operation_id: operation_id(1),
        fence: seq - 1,
    };
    vec![
        change(1, None, SessionState::Requested, "2026-11-22T10:00:00Z", "up requested"),
        change(2, Some(SessionState::Requested), SessionState::Provisioning, "2026-11-22T10:00:00.25Z", "claimed"),
        change(3, Some(SessionState::Provisioning), SessionState::Failing, "2026-11-22T10:01:30.5Z", "branch\nnot found"),
    ]
}

/// A transition of an `up` that began at 10:00:00.
pub fn event(seq: i64, state: SessionState, time: &str, reason: &str) -> Event {
    Event { to_state: Word::Known(state), at: at(&format!("2026-11-22T{time}")), seq, reason: reason.to_owned(), ..transitions().remove(0) }
}

pub fn progress_event(seq: i64, state: SessionState, phase: &str, time: &str, reason: &str, percent: Option<i16>) -> Event {
    Event { kind: Word::Known(EventKind::Progress), phase: Some(phase.to_owned()), percent, ..event(seq, state, time, reason) }
}

pub fn json_of(answer: &impl Answer) -> String {
    serde_json::to_string_pretty(answer).unwrap()
}

pub fn people_of(answer: &impl Answer) -> String {
    answer.for_people(Style::default(), at("2026-11-22T12:00:00Z"))
}

/// What a run of the program said, and how it ended.
#[derive(Debug)]
pub struct Run {
    pub code: ExitCode,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The JSON error on stdout: its code, cause and exit code, which is the program's.
    pub fn json_error(&self) -> (String, String, u8) {
        let error: Value = serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON object on stdout: {self:?}"));
        let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no {name} in {error}")).to_owned();
        assert!(!text("next_step").is_empty() && error["retryable"].is_boolean(), "{error}");
        let exit = u8::try_from(error["exit_code"].as_u64().unwrap()).unwrap();
        assert_eq!(self.code, ExitCode::from(exit), "{self:?}");
        (text("error_code"), text("cause"), exit)
    }
}

/// The program with these arguments after its name, without a terminal.
pub async fn alpine(args: &[&str], env: &Environment) -> Run {
    alpine_on(Terminal::default(), args, env).await
}

pub async fn alpine_on(terminal: Terminal, args: &[&str], env: &Environment) -> Run {
    let argv: Vec<OsString> = std::iter::once("alpine").chain(args.iter().copied()).map(OsString::from).collect();
    let (out, err) = (Buffer::default(), Buffer::default());
    let ui = Ui::new(Box::new(out.clone()), Box::new(err.clone()), args::look(&argv), terminal);
    let code = match begin(argv, env.clone(), ui) {
        Ok(context) => go_on(context).await,
        Err(code) => code,
    };
    Run { code, out: out.text(), err: err.text() }
}

#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
