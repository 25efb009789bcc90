//! Examples, made from the types of the contract: one that is not of its form does not compile.

mod apps;
mod problems;
mod sent;

use alpine_api as api;
use api::{OperationKind as Kind, OperationStatus as Status, Scope, SessionState as State};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::openapi::{Content, RefOr, example::ExampleBuilder, path::Operation, request_body::RequestBody};
use uuid::Uuid;

pub(super) use self::problems::{add_problems, problem_name};

const REPO: &str = "https://github.com/org/repo.git";
const SHA: &str = "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12";
const URL: &str = "http://127.0.0.1:40123/";
const NEXT_STEP: &str = "open the URL; stop it with alpine down <session-id>";

/// Seconds after a moment of an autumn day.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_795_600_800 + seconds)
}

fn uuid(last: u128) -> Uuid {
    Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_0000 + last)
}

fn session_id() -> api::SessionId {
    api::SessionId::from_uuid(uuid(1))
}

fn operation_id(kind: Kind) -> api::OperationId {
    api::OperationId::from_uuid(uuid(if kind == Kind::Up { 2 } else { 3 }))
}

fn value(of: impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// An operation; of one that has ended, everything that it has found.
fn operation(kind: Kind, status: Status) -> api::Operation {
    let (ready, done) = (status == Status::Succeeded && kind == Kind::Up, status == Status::Succeeded && kind == Kind::Down);
    let (state, phase) = match (kind, status) {
        (Kind::Up, Status::Queued) => (State::Requested, "resolve"),
        (Kind::Up, _) => (State::Ready, "start"),
        (_, Status::Succeeded) => (State::Stopped, "destroy"),
        _ => (State::Stopping, "stop"),
    };
    let began = if kind == Kind::Up { 0 } else { 3600 };
    api::Operation {
        operation_id: operation_id(kind),
        session_id: session_id(),
        kind,
        status,
        state,
        phase: phase.into(),
        created_at: at(began),
        finished_at: status.is_terminal().then(|| at(began + 9)),
        target_commit_sha: (status != Status::Queued).then(|| SHA.into()),
        opencode_url: ready.then(|| URL.into()),
        ready_at: ready.then(|| at(9)),
        durable_object_id: done.then(|| format!("rec_{}", uuid(4).simple())),
        persisted_at: done.then(|| at(3609)),
        persistence_verified: done,
        error: None,
        next_step: ready.then(|| NEXT_STEP.into()),
    }
}

fn transition() -> api::Transition {
    api::Transition {
        seq: 5,
        from_state: Some(State::Installing),
        to_state: State::Ready,
        at: at(9),
        actor: "system".into(),
        reason: "ready".into(),
        operation_id: operation_id(Kind::Up),
        fence: 1,
    }
}

fn session() -> api::Session {
    api::Session {
        session_id: session_id(),
        state: State::Ready,
        owner_principal_id: "ann".into(),
        repo_url: REPO.into(),
        branch: "main".into(),
        public: true,
        target_commit_sha: Some(SHA.into()),
        opencode_url: Some(URL.into()),
        created_at: at(0),
        updated_at: at(9),
        ready_at: Some(at(9)),
        class: Some("standard".into()),
        expires_at: Some(at(28_809)),
        used_at: None,
        idle_at: None,
        stopped_at: None,
        persisted_at: None,
        durable_object_id: None,
        operation_id: operation_id(Kind::Up),
        last_transition: transition(),
        last_error: None,
        next_step: NEXT_STEP.into(),
    }
}

fn session_page() -> api::SessionPage {
    let api::Session { session_id, state, repo_url, branch, created_at, updated_at, owner_principal_id, opencode_url, .. } = session();
    let summary = api::SessionSummary { session_id, state, repo_url, branch, created_at, updated_at, owner_principal_id, opencode_url };
    api::SessionPage { sessions: vec![summary], next_cursor: Some("AAZhGC9wQAABmrHCTT5_UIGSo7TF1gAB".into()) }
}

fn events() -> [api::Event; 2] {
    let progress = api::Event {
        seq: 4,
        kind: api::EventKind::Progress,
        from_state: None,
        to_state: State::RepoSyncing,
        at: at(2),
        actor: "system".into(),
        reason: "Receiving objects".into(),
        operation_id: operation_id(Kind::Up),
        fence: 1,
        phase: Some("sync".into()),
        percent: Some(62),
    };
    let changed = api::Event {
        seq: 5,
        kind: api::EventKind::Transition,
        from_state: Some(State::RepoSyncing),
        to_state: State::Installing,
        at: at(3),
        reason: "synced".into(),
        phase: None,
        percent: None,
        ..progress.clone()
    };
    [progress, changed]
}

fn log_chunk() -> api::LogChunk {
    api::LogChunk { seq: 17, at: at(4), source: api::LogSource::Install, text: "added 240 packages in 6s\n".into() }
}

/// Messages of a stream, as they stand in it: `(id, event, data)`.
fn stream(messages: &[(i64, &str, Value)]) -> Value {
    let messages = messages.iter().map(|(id, event, data)| format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
    messages.chain([": \n\n".to_owned()]).collect::<String>().into()
}

fn stored_record() -> Value {
    let record = api::SessionRecord {
        schema_version: api::RECORD_SCHEMA_VERSION.into(),
        session_id: session_id(),
        principal_id: "ann".into(),
        repo_url: REPO.into(),
        branch: "main".into(),
        state: State::Stopped,
        state_transitions: vec![transition()],
        started_at: at(0),
        stopped_at: at(3605),
        persisted_at: at(3609),
        operation_history: vec![api::OperationSummary {
            operation_id: operation_id(Kind::Up),
            kind: Kind::Up,
            status: Status::Succeeded,
            actor: "ann".into(),
            created_at: at(0),
            finished_at: Some(at(9)),
            error: None,
        }],
        last_error: None,
        history_truncated: false,
    };
    json!({
        "session_id": session_id(), "durable_object_id": format!("rec_{}", uuid(4).simple()),
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "size_bytes": 912,
        "persisted_at": at(3609), "verified_at": at(3609), "record": record,
    })
}

fn token() -> api::Token {
    api::Token {
        token_id: api::TokenId::from_uuid(uuid(5)),
        name: "nightly build".into(),
        owner_principal_id: "ann".into(),
        scopes: vec![Scope::SessionsRead, Scope::SessionsWrite],
        created_at: at(0),
        expires_at: at(90 * 86_400),
        last_used_at: None,
        revoked_at: None,
    }
}

fn credential() -> api::Credential {
    api::Credential {
        credential_id: api::CredentialId::from_uuid(uuid(6)),
        host: "github.com".into(),
        kind: api::CredentialKind::Token,
        owner: api::CredentialOwner::Me,
        fingerprint: None,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn quotas() -> api::TenantQuotas {
    api::TenantQuotas { max_active_sessions: Some(200), max_active_sessions_per_principal: Some(20), ..Default::default() }
}

fn class() -> api::Class {
    api::Class {
        name: "standard".into(),
        description: Some("what most need".into()),
        default: true,
        memory_mb: Some(4096),
        cpu_millis: Some(2000),
        disk_mb: Some(20_480),
        image: None,
        lifetime_seconds: Some(28_800),
        max_lifetime_seconds: Some(86_400),
        idle_seconds: Some(3600),
        max_idle_seconds: Some(14_400),
    }
}

fn tenant() -> api::Tenant {
    let usage = api::TenantUsage { active_sessions: 12, operations: 1, memory_mb: 49_152, cpu_millis: 24_000, disk_mb: 245_760 };
    api::Tenant { tenant_id: "acme".into(), created_at: at(0), quotas: quotas(), usage }
}

fn audit_entry() -> api::AuditEntry {
    let entry = api::AuditEntry {
        tenant: "acme".into(),
        seq: 1,
        at: at(3600),
        actor: "root".into(),
        actor_tenant: "acme".into(),
        action: "session.down".into(),
        outcome: api::AuditOutcome::Done,
        target: Some(session_id().to_string()),
        owner: Some("ann".into()),
        reason: Some("cleaning up after the demo".into()),
        request_id: uuid(7).simple().to_string(),
        prev_hash: String::new(),
        hash: String::new(),
    };
    api::AuditEntry { hash: entry.digest(), ..entry }
}

/// What is answered, by the operation's id, the status and the media type.
fn answered(operation_id: &str, status: &str, media: &str) -> Vec<(&'static str, Value)> {
    let one = |value: Value| vec![("example", value)];
    match (operation_id, status, media) {
        ("createSession", "200", _) | ("getOperation", ..) => vec![("ready", value(operation(Kind::Up, Status::Succeeded)))],
        ("createSession", ..) => vec![("under_way", value(operation(Kind::Up, Status::Queued)))],
        ("downSession", "200", _) => vec![("stopped", value(operation(Kind::Down, Status::Succeeded)))],
        ("downSession", ..) => vec![("under_way", value(operation(Kind::Down, Status::Running)))],
        ("listSessions", ..) => one(value(session_page())),
        ("getSession" | "extendSession", ..) => one(value(session())),
        ("listEvents", _, "text/event-stream") => {
            let [progress, changed] = events();
            one(stream(&[(progress.seq, "progress", value(&progress)), (changed.seq, "transition", value(&changed))]))
        }
        ("getLog", _, "text/event-stream") => one(stream(&[(17, "log", value(log_chunk()))])),
        ("listEvents", ..) => one(value(api::EventPage { events: events().into(), next_after: 5 })),
        ("getLog", ..) => one(value(api::LogPage { chunks: vec![log_chunk()], next_after: 17, first_seq: Some(1) })),
        ("getRecord", ..) => one(stored_record()),
        ("createToken", ..) => {
            let token_text = format!("alpine_pat_{}", "0".repeat(49));
            one(value(api::CreatedToken { token: token_text, about: token() }))
        }
        ("listTokens", ..) => one(value(api::TokenPage { tokens: vec![token()], next_cursor: None })),
        ("setCredential", ..) => one(value(credential())),
        ("listCredentials", ..) => one(value(api::CredentialList { credentials: vec![credential()] })),
        ("listTenants", ..) => one(value(api::TenantPage { tenants: vec![tenant()], next_after: None })),
        ("createTenant" | "getTenant" | "updateTenant", ..) => one(value(tenant())),
        ("importSession", ..) => one(value(api::Imported {
            outcome: api::ImportOutcome::Imported,
            session_id: session_id(),
            original_id: "s-17".into(),
            state: Some(State::Stopped),
            operation_id: None,
            keys: vec!["up-of-monday".into()],
            expired_keys: Vec::new(),
            warnings: vec!["it was ready there: it is ended here".into()],
        })),
        ("listAudit", ..) => one(value(api::AuditPage { entries: vec![audit_entry()], next_after: 1 })),
        ("listClasses", ..) => one(value(api::ClassList { classes: vec![class()] })),
        ("whoAmI", ..) => one(value(api::WhoAmI {
            tenant: "acme".into(),
            principal_id: "ann".into(),
            roles: vec!["alpine.admin".into()],
            scopes: Scope::ALL.map(|scope| scope.to_string()).into(),
            method: "jwt".into(),
            expires_at: Some(at(3600)),
        })),
        ("protectedResource", ..) => one(value(api::ProtectedResource {
            resource: "https://alpine.example.com".into(),
            authorization_servers: vec!["https://login.example.com".into()],
            bearer_methods_supported: vec!["header".into()],
            alpine_login: vec![api::LoginHint {
                issuer: "https://login.example.com".into(),
                client_id: "alpine-cli".into(),
                scope: "openid offline_access".into(),
                resource: None,
            }],
        })),
        _ => apps::answered(operation_id).map(one).unwrap_or_default(),
    }
}

/// Puts them where they belong. An operation may say its own in its attribute: `example = json!(…)`.
pub(super) fn complete(operation: &mut Operation) {
    let Some(id) = operation.operation_id.clone() else { return };
    if let Some(RefOr::T(RequestBody { content, .. })) = &mut operation.request_body {
        content.values_mut().for_each(|content| add(content, sent::examples(&id)));
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (media, content) in &mut response.content {
            add(content, answered(&id, status, media));
        }
    }
}

fn add(content: &mut RefOr<Content>, examples: Vec<(&'static str, Value)>) {
    let RefOr::T(content) = content else { return };
    if content.example.is_some() || !content.examples.is_empty() {
        return;
    }
    let named = examples.into_iter().map(|(name, value)| (name.to_owned(), ExampleBuilder::new().value(Some(value)).build().into()));
    content.examples.extend(named);
}
