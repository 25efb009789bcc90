//! The entries of the file, each read by itself.

use alpine_api::{
    ImportedFailure, ImportedOperation, ImportedSession, ImportedTransition, OperationKind, OperationStatus, SessionState,
    repo_url_without_credentials, without_credentials,
};
use serde_json::value::RawValue;

use super::{
    TRANSITIONS,
    fields::{Fields, Wrong},
    keys, record,
};

pub const SESSION_ID: &[&str] = &["session_id"];
pub const OPERATION_ID: &[&str] = &["operation_id"];
/// Within a session's entry.
pub const OWN_OPERATIONS: &[&str] = &["operations", "operation_history"];
const ID: &[&str] = &["id"];
const OWNER: &[&str] = &["owner_principal_id", "principal_id", "owner"];
const REPO_URL: &[&str] = &["repo_url", "repo"];
const BRANCH: &[&str] = &["branch"];
const PUBLIC: &[&str] = &["public"];
const STATE: &[&str] = &["state"];
const TARGET: &[&str] = &["target_commit_sha"];
const CREATED: &[&str] = &["created_at", "started_at"];
const UPDATED: &[&str] = &["updated_at"];
const READY: &[&str] = &["ready_at"];
const STOPPED: &[&str] = &["stopped_at"];
const PERSISTED: &[&str] = &["persisted_at"];
const DURABLE: &[&str] = &["durable_object_id"];
const LAST_ERROR: &[&str] = &["last_error"];
const TO: &[&str] = &["to_state", "to", "state"];
const FROM: &[&str] = &["from_state", "from"];
const AT: &[&str] = &["at", "timestamp", "time"];
const ACTOR: &[&str] = &["actor", "principal_id"];
const REASON: &[&str] = &["reason"];
const SEQ: &[&str] = &["seq"];
const FENCE: &[&str] = &["fence"];
const KIND: &[&str] = &["kind", "type", "action"];
const STATUS: &[&str] = &["status", "state"];
const FINISHED: &[&str] = &["finished_at", "completed_at", "ended_at"];
const ERROR: &[&str] = &["error", "last_error"];

/// Other members of a session that are known and not carried over: what they point to does not run here.
const NOT_CARRIED: &[&str] = &["schema_version", "opencode_url", "operation_id", "browser_opened", "persistence_verified", "next_step"];

/// A transition, and its number if it has one.
pub type Transition = (Option<i64>, ImportedTransition);

pub fn session(fields: &Fields, id: Option<String>, unknown: &mut usize) -> Result<(ImportedSession, Vec<String>), Wrong> {
    *unknown += fields.others(&[
        SESSION_ID,
        OWNER,
        REPO_URL,
        BRANCH,
        PUBLIC,
        STATE,
        TARGET,
        CREATED,
        UPDATED,
        READY,
        STOPPED,
        PERSISTED,
        DURABLE,
        LAST_ERROR,
        OWN_OPERATIONS,
        TRANSITIONS,
        record::OWN,
        keys::CLIENT_REQUEST_ID,
        NOT_CARRIED,
    ]);
    let (repo_url, cleaned) = repo_url_without_credentials(&fields.required(REPO_URL)?).map_err(|why| format!("repo_url: {why}"))?;
    let session = ImportedSession {
        session_id: id.ok_or("session_id is missing")?,
        owner_principal_id: fields.required(OWNER)?,
        repo_url: repo_url.as_str().to_owned(),
        branch: fields.required(BRANCH)?,
        public: fields.flag(PUBLIC)?,
        state: state(&fields.required(STATE)?, "state")?,
        target_commit_sha: fields.text(TARGET)?.map(|sha| sha.to_ascii_lowercase()),
        created_at: fields.time(CREATED)?.ok_or("created_at is missing")?,
        updated_at: fields.time(UPDATED)?,
        ready_at: fields.time(READY)?,
        stopped_at: fields.time(STOPPED)?,
        persisted_at: fields.time(PERSISTED)?,
        durable_object_id: fields.text(DURABLE)?,
        last_error: fields.raw(LAST_ERROR).map(failure).transpose()?.flatten(),
    };
    let warning = cleaned.then(|| "repo_url: credentials, query or fragment removed".to_owned());
    Ok((session, warning.into_iter().collect()))
}

fn state(text: &str, name: &str) -> Result<SessionState, Wrong> {
    text.parse().map_err(|_| format!("{name} is no session state"))
}

pub fn transition(fields: &Fields, unknown: &mut usize) -> Result<Transition, Wrong> {
    *unknown += fields.others(&[SESSION_ID, TO, FROM, AT, ACTOR, REASON, SEQ, FENCE, OPERATION_ID]);
    let transition = ImportedTransition {
        to_state: state(&fields.required(TO)?, "to_state")?,
        at: fields.time(AT)?.ok_or("at is missing")?,
        actor: fields.text(ACTOR)?,
        reason: fields.text(REASON)?.map(clean),
        operation_id: fields.text(OPERATION_ID)?,
    };
    Ok((fields.number(SEQ)?, transition))
}

pub fn operation(fields: &Fields, name: Option<String>, unknown: &mut usize) -> Result<ImportedOperation, Wrong> {
    *unknown += fields.others(&[OPERATION_ID, ID, SESSION_ID, KIND, STATUS, ACTOR, CREATED, FINISHED, ERROR, keys::CLIENT_REQUEST_ID]);
    let own = fields.text(OPERATION_ID)?.or(fields.text(ID)?);
    if own.is_some() && name.is_some() && own != name {
        return Err("its operation_id is not the name that it stands under".to_owned());
    }
    let error = fields.raw(ERROR).map(failure).transpose()?.flatten();
    Ok(ImportedOperation {
        operation_id: own.or(name).ok_or("operation_id is missing")?,
        kind: match fields.required(KIND)?.as_str() {
            "up" | "create" => OperationKind::Up,
            "down" | "teardown" => OperationKind::Down,
            _ => return Err("kind is neither up nor down".to_owned()),
        },
        status: match fields.required(STATUS)?.as_str() {
            "queued" | "pending" => OperationStatus::Queued,
            "running" | "in_progress" | "started" => OperationStatus::Running,
            "succeeded" | "success" | "completed" | "complete" | "done" => OperationStatus::Succeeded,
            "failed" | "error" => OperationStatus::Failed,
            "cancelled" | "canceled" => OperationStatus::Cancelled,
            _ => return Err("status is no status of an operation".to_owned()),
        },
        actor: fields.text(ACTOR)?,
        created_at: fields.time(CREATED)?,
        finished_at: fields.time(FINISHED)?,
        error,
    })
}

/// An object as the contract has it, or a bare text.
fn failure(raw: &RawValue) -> Result<Option<ImportedFailure>, Wrong> {
    if let Ok(cause) = serde_json::from_str::<String>(raw.get()) {
        return Ok(
            Some(ImportedFailure { error_code: None, cause: clean(cause), next_step: None }).filter(|failure| !failure.cause.is_empty())
        );
    }
    let fields = Fields::of(raw).map_err(|_| "error is neither a text nor an object".to_owned())?;
    let error_code = fields.text(&["error_code", "code"])?;
    let cause = fields.text(&["cause", "message", "detail"])?.or_else(|| error_code.clone());
    let next_step = fields.text(&["next_step"])?.map(clean);
    Ok(cause.map(|cause| ImportedFailure { error_code, cause: clean(cause), next_step }))
}

/// No credential leaves this machine.
fn clean(text: String) -> String {
    without_credentials(&text).unwrap_or(text)
}

/// In the order of their numbers if all have one, of their times otherwise.
pub fn in_order(mut transitions: Vec<Transition>) -> Vec<ImportedTransition> {
    if transitions.iter().all(|(seq, _)| seq.is_some()) {
        transitions.sort_by_key(|(seq, _)| *seq);
    } else {
        transitions.sort_by_key(|(_, transition)| transition.at);
    }
    transitions.into_iter().map(|(_, transition)| transition).collect()
}

pub fn oldest_first(mut operations: Vec<ImportedOperation>) -> Vec<ImportedOperation> {
    operations.sort_by_key(|operation| operation.created_at);
    operations
}
