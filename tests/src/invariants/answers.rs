//! What callers were told, against the ledger and against each other.

use std::collections::{BTreeMap, BTreeSet};

use alpine_api::{OperationId, SessionId};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Violation;

/// The answer to one `up` (with its key) or `down` (without). Of requests that got none there is nothing to record.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    pub tenant: String,
    pub principal: String,
    pub key: Option<String>,
    pub session_id: Option<String>,
    pub operation_id: Option<String>,
    pub status: u16,
    pub body: Value,
    /// Seconds since the journal began.
    pub asked_at: f64,
    pub answered_at: f64,
}

pub const CHECKS: &[&str] = &[SUCCESS, FAILURE, EQUAL, ONE_OPERATION, NOT_LOST, KEY_ONCE];
const SUCCESS: &str = "success_is_told_of_successes_only";
const FAILURE: &str = "failure_is_the_operations_own";
const EQUAL: &str = "replays_are_equal";
const ONE_OPERATION: &str = "one_key_is_told_one_operation";
const NOT_LOST: &str = "told_operations_exist";
const KEY_ONCE: &str = "acknowledged_keys_exist_once";

/// What a request alone decides, whatever its operation came to: its id and its path. Everything else of two
/// answers must be the same. (Bodies are compared as values: the order of members is the encoder's, not ours.)
const OF_THE_REQUEST: [&str; 2] = ["request_id", "instance"];

#[derive(Debug)]
struct Known {
    session: SessionId,
    status: String,
    error: Value,
}

struct Ledger {
    operations: BTreeMap<String, Known>,
    /// The operations of (tenant, principal, key): more than one where the constraint is gone.
    keys: BTreeMap<(String, String, String), Vec<String>>,
}

pub(super) async fn run(connection: &mut PgConnection, answers: &[Answer]) -> sqlx::Result<Vec<Violation>> {
    let ledger = load(connection).await?;
    let mut found = Vec::new();
    for answer in answers {
        found.extend(alone(&ledger, answer));
    }
    found.extend(by_operation(&ledger, answers));
    found.extend(by_key(&ledger, answers));
    Ok(found)
}

#[expect(clippy::disallowed_methods, reason = "the checks look at the ledger from outside, whatever the schema of the day")]
async fn load(connection: &mut PgConnection) -> sqlx::Result<Ledger> {
    let operations: Vec<(Uuid, Uuid, String, Option<Value>)> =
        sqlx::query_as("SELECT operation_id, session_id, status, error FROM operations").fetch_all(&mut *connection).await?;
    let rows: Vec<(String, String, String, Uuid)> =
        sqlx::query_as("SELECT tenant_id, principal_id, key, operation_id FROM idempotency_keys").fetch_all(connection).await?;
    let operations = operations.into_iter().map(|(id, session, status, error)| {
        let known = Known { session: SessionId::from_uuid(session), status, error: error.unwrap_or_default() };
        (OperationId::from_uuid(id).to_string(), known)
    });
    let mut keys = BTreeMap::<_, Vec<String>>::new();
    for (tenant, principal, key, operation) in rows {
        keys.entry((tenant, principal, key)).or_default().push(OperationId::from_uuid(operation).to_string());
    }
    Ok(Ledger { operations: operations.collect(), keys })
}

/// What one answer says of the ledger.
fn alone(ledger: &Ledger, answer: &Answer) -> Option<Violation> {
    let id = answer.operation_id.as_ref()?;
    let violation = |check, what| Some(Violation { check, what: format!("{} was answered for {id}; {what}", answer.status) });
    let Some(operation) = ledger.operations.get(id) else {
        return violation(NOT_LOST, "it is not in the ledger".to_owned());
    };
    if answer.session_id.as_ref().is_some_and(|session| *session != operation.session.to_string()) {
        return violation(NOT_LOST, format!("{:?} was named, it is of {}", answer.session_id, operation.session));
    }
    if answer.status != 202 && (200..300).contains(&answer.status) && operation.status != "succeeded" {
        return violation(SUCCESS, format!("it is {}", operation.status));
    }
    // A refusal of a `down` may name an operation, too, and speaks for itself.
    let own = ["error_code", "cause", "next_step", "retryable"].iter().all(|member| answer.body[member] == operation.error[member]);
    if answer.key.is_some() && is_failure(answer) && !own {
        return violation(FAILURE, format!("its own error is {}, told was {}", operation.error, answer.body));
    }
    None
}

/// An `up` that failed. A conflict is the request's failure: the key means something else, or its session is over.
fn is_failure(answer: &Answer) -> bool {
    answer.status >= 400 && answer.operation_id.is_some() && answer.body["error_code"] != "ERR_OPERATION_CONFLICT"
}

/// Whether it tells how the operation ended.
fn is_outcome(ledger: &Ledger, answer: &Answer) -> bool {
    let told_its_error = || {
        let operation = answer.operation_id.as_ref().and_then(|id| ledger.operations.get(id));
        operation.is_some_and(|operation| ["error_code", "cause"].iter().all(|member| answer.body[member] == operation.error[member]))
    };
    answer.status == 200 || is_failure(answer) && (answer.key.is_some() || told_its_error())
}

fn by_operation(ledger: &Ledger, answers: &[Answer]) -> Vec<Violation> {
    let mut told = BTreeMap::<&String, BTreeMap<String, usize>>::new();
    for answer in answers.iter().filter(|answer| is_outcome(ledger, answer)) {
        let Some(id) = &answer.operation_id else { continue };
        *told.entry(id).or_default().entry(lasting(answer)).or_default() += 1;
    }
    let differ = told.into_iter().filter(|(_, bodies)| bodies.len() > 1);
    differ.map(|(id, bodies)| Violation { check: EQUAL, what: format!("{id} was told {} ways: {bodies:?}", bodies.len()) }).collect()
}

fn lasting(answer: &Answer) -> String {
    let mut body = answer.body.clone();
    if let Some(members) = body.as_object_mut() {
        members.retain(|name, _| !OF_THE_REQUEST.contains(&name.as_str()));
    }
    format!("{} {body}", answer.status)
}

fn by_key(ledger: &Ledger, answers: &[Answer]) -> Vec<Violation> {
    let mut told = BTreeMap::<_, (BTreeSet<&String>, BTreeSet<&String>, bool)>::new();
    for answer in answers {
        let Some(key) = &answer.key else { continue };
        let (operations, sessions, acknowledged) = told.entry((&answer.tenant, &answer.principal, key)).or_default();
        operations.extend(&answer.operation_id);
        sessions.extend(&answer.session_id);
        *acknowledged |= (200..300).contains(&answer.status);
    }
    let mut found = Vec::new();
    for ((tenant, principal, key), (operations, sessions, acknowledged)) in told {
        if operations.len() > 1 || sessions.len() > 1 {
            let what = format!("{key} of {principal} was told {operations:?} and {sessions:?}");
            found.push(Violation { check: ONE_OPERATION, what });
        }
        let stored = ledger.keys.get(&(tenant.clone(), principal.clone(), key.clone()));
        let once = stored.is_some_and(|stored| stored.len() == 1 && operations.iter().all(|told| stored.contains(told)));
        if acknowledged && !once {
            let what = format!("{key} of {principal} was acknowledged as {operations:?}; the ledger has {stored:?}");
            found.push(Violation { check: KEY_ONCE, what });
        }
    }
    found
}
