//! A session of another ledger as a plan of what to write: checked, its history made legal, its times in order, its
//! credentials removed. What is not as it stood there is said.

mod history;
mod ids;
mod operations;
mod record;
#[cfg(test)]
mod tests;
mod texts;

use alpine_api::{
    Failure, IMPORT_MAX_KEYS, IMPORT_MAX_OPERATIONS, IMPORT_MAX_TRANSITIONS, ImportSession, ImportedSession, OperationKind,
    OperationStatus, SessionState, json_without_credentials, repo_url_without_credentials, without_credentials,
};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sha2::{Digest, Sha256};

pub use history::Step;
pub use ids::{derived_operation, derived_session};
pub use operations::Planned;
pub use record::Kept;

use self::{
    history::{History, Named},
    texts::Texts,
};
use super::{
    Fault,
    idempotency::IdempotencyKey,
    principal::{ADMIN, Principal, PrincipalId},
    repo::{Branch, RepoUrl},
};

/// Ids of other ledgers, in bytes.
const LONGEST_ID: usize = 200;
/// How far the clock of another ledger may be ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// As long as keys live.
const KEY_LIFE: TimeDelta = TimeDelta::hours(72);

/// Which entry of a session cannot be taken, and why. Never repeats a value: it may be a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct BadImport {
    place: String,
    why: String,
}

impl BadImport {
    fn at(place: &str, why: impl Into<String>) -> Self {
        Self { place: place.to_owned(), why: why.into() }
    }
}

/// What will be written of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub original_id: String,
    pub owner: PrincipalId,
    pub repo_url: RepoUrl,
    pub branch: Branch,
    pub public: bool,
    pub target_commit_sha: Option<String>,
    pub durable_object_id: Option<String>,
    /// The first is `requested`.
    pub steps: Vec<Step>,
    /// Of each step, its place in `operations`.
    pub of_step: Vec<usize>,
    pub operations: Vec<Planned>,
    /// The record is verified by the last operation, which is yet to run.
    pub persists: bool,
    pub record: Option<Kept>,
    pub ready_at: Option<DateTime<Utc>>,
    pub stopped_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    pub last_error: Option<Failure>,
    pub keys: Vec<IdempotencyKey>,
    pub expired_keys: Vec<String>,
    pub warnings: Vec<String>,
    /// What was sent, without credentials, and without the record where that is kept as the session's.
    pub bundle: String,
}

/// Sessions of other principals come into the caller's tenant: its admins may bring them.
pub fn may_import(by: &Principal) -> Result<(), Fault> {
    if by.is_admin() { Ok(()) } else { Err(Fault::RoleMissing(ADMIN)) }
}

/// A digest of all that was sent but for whether it is a dry run: the same again is no second import.
pub fn digest(import: &ImportSession) -> Result<[u8; 32], BadImport> {
    let sent = ImportSession { dry_run: false, ..import.clone() };
    let json = serde_json::to_vec(&sent).map_err(|_| BadImport::at("the session", "it is not JSON"))?;
    Ok(Sha256::digest(json).into())
}

/// A time as the database keeps it.
fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.round_subsecs(6)
}

pub fn plan(import: &ImportSession, now: DateTime<Utc>) -> Result<Plan, BadImport> {
    let (session, now) = (&import.session, micros(now));
    check_form(import, now)?;
    let owner =
        PrincipalId::parse(&session.owner_principal_id).map_err(|bad| BadImport::at("session.owner_principal_id", bad.to_string()))?;
    let branch: Branch = session.branch.parse().map_err(|bad: alpine_api::BranchError| BadImport::at("session.branch", bad.to_string()))?;
    let (repo_url, url_cleaned) =
        repo_url_without_credentials(&session.repo_url).map_err(|bad| BadImport::at("session.repo_url", bad.to_string()))?;
    let mut warnings = Vec::new();
    if url_cleaned {
        warnings.push("session.repo_url: credentials, query or fragment removed".to_owned());
    }
    let record = kept_record(import, &repo_url, now, &mut warnings)?;
    let mut texts = Texts::default();
    let given_error = session.last_error.as_ref().map(|error| operations::failure_of(error, &mut texts));
    let given = history::Given {
        state: session.state,
        has_record: record.is_some(),
        owner: owner.as_str(),
        transitions: &import.transitions,
        created_at: micros(session.created_at),
        updated_at: micros(session.updated_at.unwrap_or(session.created_at)).min(now),
        now,
    };
    let mut history = History::of(&given, &mut texts);
    warnings.append(&mut history.warnings);
    settle_times(&mut history, &given, session, record.as_ref(), &mut warnings);
    let of = operations::Given { operations: &import.operations, owner: owner.as_str(), last_error: given_error.as_ref() };
    let assigned = operations::assign(&of, &history, &mut texts, &mut warnings);
    let (keys, expired_keys) = keys(import, &assigned.operations, now, &mut warnings)?;
    if texts.cleaned > 0 {
        warnings.push(format!("credentials removed from {} texts", texts.cleaned));
    }
    let last = history.steps.last();
    let rests_at = last.map_or(now, |step| step.at);
    let first_of = |states: &[SessionState]| history.steps.iter().find(|step| states.contains(&step.to)).map(|step| step.at);
    Ok(Plan {
        bundle: bundle(import, record.is_some()),
        last_error: last_error(&history, &assigned, given_error),
        ready_at: history.steps.iter().rfind(|step| step.to == SessionState::Ready).map(|step| step.at),
        stopped_at: first_of(&[SessionState::Persisting, SessionState::StoppedUnpersisted]),
        updated_at: if last.is_some_and(|step| step.filled_in) { rests_at } else { given.updated_at.max(rests_at) },
        original_id: session.session_id.clone(),
        owner,
        repo_url,
        branch,
        public: session.public,
        target_commit_sha: session.target_commit_sha.clone(),
        durable_object_id: session.durable_object_id.clone(),
        persists: history.persists,
        steps: history.steps,
        of_step: assigned.of_step,
        operations: assigned.operations,
        record,
        keys,
        expired_keys,
        warnings,
    })
}

/// The id that the session had, if it is fit to be looked for.
pub fn original_id(import: &ImportSession) -> Result<&str, BadImport> {
    let given = &import.session.session_id;
    check_id("session.session_id", given).map(|()| given.as_str())
}

fn check_id(place: &str, id: &str) -> Result<(), BadImport> {
    let good = (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) && without_credentials(id).is_none();
    if good { Ok(()) } else { Err(BadImport::at(place, "an id is 1 to 200 visible ASCII characters, and no URL with credentials")) }
}

/// What is wrong whatever the values mean.
fn check_form(import: &ImportSession, now: DateTime<Utc>) -> Result<(), BadImport> {
    let session = &import.session;
    original_id(import)?;
    session.durable_object_id.as_deref().map_or(Ok(()), |text| check_id("session.durable_object_id", text))?;
    if session.target_commit_sha.as_deref().is_some_and(|sha| !is_commit(sha)) {
        return Err(BadImport::at("session.target_commit_sha", "a commit is 40 or 64 hexadecimal digits"));
    }
    for (place, count, most) in [
        ("transitions", import.transitions.len(), IMPORT_MAX_TRANSITIONS),
        ("operations", import.operations.len(), IMPORT_MAX_OPERATIONS),
        ("keys", import.keys.len(), IMPORT_MAX_KEYS),
    ] {
        if count > most {
            return Err(BadImport::at(place, format!("{count}; at most {most} are taken")));
        }
    }
    for (index, operation) in import.operations.iter().enumerate() {
        let place = format!("operations[{index}].operation_id");
        check_id(&place, &operation.operation_id)?;
        if import.operations[..index].iter().any(|earlier| earlier.operation_id == operation.operation_id) {
            return Err(BadImport::at(&place, "it is there twice"));
        }
    }
    for (index, transition) in import.transitions.iter().enumerate() {
        let known = |id: &String| import.operations.iter().any(|operation| operation.operation_id == *id);
        if transition.operation_id.as_ref().is_some_and(|id| !known(id)) {
            return Err(BadImport::at(&format!("transitions[{index}].operation_id"), "there is no such operation of this session"));
        }
    }
    check_times(import, now)
}

/// The database's years have four digits here, and nothing has happened yet that is to come.
fn check_times(import: &ImportSession, now: DateTime<Utc>) -> Result<(), BadImport> {
    let session = &import.session;
    let of_session = [
        ("session.created_at", Some(session.created_at)),
        ("session.updated_at", session.updated_at),
        ("session.ready_at", session.ready_at),
        ("session.stopped_at", session.stopped_at),
        ("session.persisted_at", session.persisted_at),
    ];
    let of_session = of_session.into_iter().filter_map(|(place, at)| Some((place.to_owned(), at?)));
    let of_transitions =
        import.transitions.iter().enumerate().map(|(index, transition)| (format!("transitions[{index}].at"), transition.at));
    let of_operations = import.operations.iter().enumerate().flat_map(|(index, operation)| {
        let times = [("created_at", operation.created_at), ("finished_at", operation.finished_at)];
        times.into_iter().filter_map(move |(name, at)| Some((format!("operations[{index}].{name}"), at?)))
    });
    for (place, at) in of_session.chain(of_transitions).chain(of_operations) {
        if at.timestamp() < 0 || at > now + AHEAD {
            return Err(BadImport::at(&place, "it is before 1970 or in the future"));
        }
    }
    Ok(())
}

fn is_commit(sha: &str) -> bool {
    matches!(sha.len(), 40 | 64) && sha.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The record, if the session's state says that it is its last word.
fn kept_record(
    import: &ImportSession,
    repo_url: &RepoUrl,
    now: DateTime<Utc>,
    warnings: &mut Vec<String>,
) -> Result<Option<Kept>, BadImport> {
    use SessionState::{CloseFailed, Persisting, Stopped, Stopping};
    let Some(record) = &import.record else { return Ok(None) };
    let session = &import.session;
    let whose = record::Whose {
        session_id: &session.session_id,
        owner: &session.owner_principal_id,
        repo_url: repo_url.as_str(),
        branch: &session.branch,
        latest: now + AHEAD,
    };
    let kept = record::check(record.get(), &whose)?;
    if !matches!(session.state, Stopped | Stopping | CloseFailed | Persisting) {
        warnings.push(format!("record: the session is {}, so it is kept in the stored original only", session.state));
        return Ok(None);
    }
    if kept.cleaned {
        warnings.push("record: credentials removed, so its bytes and digest are not the original's".to_owned());
    }
    if session.persisted_at.is_some_and(|at| micros(at) != kept.persisted_at) {
        warnings.push("session.persisted_at: it differs from the record's, which counts".to_owned());
    }
    Ok(Some(kept))
}

fn settle_times(
    history: &mut History,
    given: &history::Given<'_>,
    session: &ImportedSession,
    record: Option<&Kept>,
    warnings: &mut Vec<String>,
) {
    let named = Named {
        ready_at: session.ready_at.map(micros),
        stopped_at: session.stopped_at.map(micros),
        persisted_at: record.map(|record| record.persisted_at),
    };
    let moved = history.settle_times(given, named);
    if moved > 0 {
        warnings.push(format!("the times of {moved} transitions were read from several clocks: the session's and its record's count"));
    }
}

/// Why it failed or is not persisted; of one that rests well nothing.
fn last_error(history: &History, assigned: &operations::Assigned, given: Option<Failure>) -> Option<Failure> {
    use SessionState::{Failed, PersistFailed, StoppedUnpersisted};
    let last = history.steps.last()?;
    let of_last = assigned.of_step.last().and_then(|at| assigned.operations.get(*at));
    match last.to {
        Failed if last.filled_in && last.reason == history::NOT_RUN_HERE => Some(operations::not_run_here()),
        Failed => {
            let of_up = assigned.operations.iter().find(|operation| operation.kind == OperationKind::Up);
            given.or_else(|| of_up.and_then(|up| up.error.clone()))
        }
        StoppedUnpersisted | PersistFailed => of_last.and_then(|operation| operation.error.clone()).or(given),
        _ => given,
    }
}

/// The keys that answer replays from now on, and those that are free by now.
fn keys(
    import: &ImportSession,
    operations: &[Planned],
    now: DateTime<Utc>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<IdempotencyKey>, Vec<String>), BadImport> {
    let up = operations.iter().find(|operation| operation.kind == OperationKind::Up);
    let over = |up: &Planned| up.status != OperationStatus::Queued && up.finished_at.is_some_and(|at| at + KEY_LIFE <= now);
    let (mut good, mut expired) = (Vec::new(), Vec::new());
    for (index, given) in import.keys.iter().enumerate() {
        let key = IdempotencyKey::parse(&given.key)
            .map_err(|_| BadImport::at(&format!("keys[{index}].key"), "a client-request-id is 1 to 255 visible ASCII characters"))?;
        let Some(up) = up.filter(|up| given.operation_id.is_none() || given.operation_id == up.given) else {
            return Err(BadImport::at(&format!("keys[{index}].operation_id"), "it is not the up that began this session"));
        };
        if over(up) {
            expired.push(given.key.clone());
        } else if good.is_empty() {
            good.push(key);
        } else {
            warnings.push(format!("keys[{index}]: an up has one client-request-id, and this is another; kept in the stored original only"));
        }
    }
    Ok((good, expired))
}

fn bundle(import: &ImportSession, record_is_kept: bool) -> String {
    let mut sent = import.clone();
    if record_is_kept {
        sent.record = None;
    }
    let mut value = serde_json::to_value(&sent).unwrap_or_default();
    json_without_credentials(&mut value);
    value.to_string()
}
