//! Histories of every kind.

use alpine_api::SessionState::{self, *};
use serde_json::{Value, json};

use super::*;
use crate::domain::lifecycle::{allowed, is_final};

fn now() -> DateTime<Utc> {
    "2026-11-25T12:00:00Z".parse().unwrap()
}

fn at(second: i64) -> DateTime<Utc> {
    "2026-11-25T10:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(second)
}

fn import(state: SessionState, path: &[SessionState], more: Value) -> ImportSession {
    let transitions: Vec<_> =
        path.iter().zip(0..).map(|(to, second)| json!({"to_state": to, "at": at(second), "reason": "as it was"})).collect();
    let mut whole = json!({
        "session": {"session_id": "s-1", "owner_principal_id": "ann", "repo_url": "https://h/r", "branch": "main", "state": state,
            "created_at": at(0), "updated_at": at(60)},
        "transitions": transitions,
        "operations": [{"operation_id": "o-1", "kind": "up", "status": "succeeded", "created_at": at(0)}],
    });
    merge(&mut whole, more);
    serde_json::from_str(&whole.to_string()).unwrap()
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn record() -> Value {
    json!({"record": {"schema_version": "v1", "session_id": "s-1", "principal_id": "ann", "repo_url": "https://h/r", "branch": "main",
        "state": "stopped", "persisted_at": at(50)}})
}

fn states(plan: &Plan) -> Vec<SessionState> {
    plan.steps.iter().map(|step| step.to).collect()
}

const TO_READY: &[SessionState] = &[Requested, Provisioning, RepoSyncing, Installing, Ready];
const TO_STOPPED: &[SessionState] = &[Requested, Provisioning, RepoSyncing, Installing, Ready, Stopping, Persisting, Stopped];

/// What the database's guards and the invariants ask of every plan.
fn assert_sound(plan: &Plan) {
    let mut from = None;
    for step in &plan.steps {
        assert!(allowed(from, step.to), "{from:?} to {}: {:?}", step.to, states(plan));
        from = Some(step.to);
    }
    let last = from.unwrap();
    let live = plan.operations.iter().filter(|operation| !operation.status.is_terminal()).count();
    assert_eq!((live, last == Persisting), (usize::from(plan.persists), plan.persists), "{:?}", states(plan));
    assert!(plan.persists || is_final(last) || matches!(last, StoppedUnpersisted | PersistFailed), "rests in {last}");
    assert!(plan.steps.is_sorted_by_key(|step| step.at) && plan.steps.iter().all(|step| step.at <= now()));
    assert_eq!(plan.operations.iter().filter(|operation| operation.kind == OperationKind::Up).count(), 1);
    for (index, operation) in plan.operations.iter().enumerate() {
        let own = plan.steps.iter().zip(&plan.of_step).filter(|(_, of)| **of == index).map(|(step, _)| step.at).max();
        assert!(own.is_some() && (operation.finished_at == own || !operation.status.is_terminal()), "{operation:?}");
        assert_eq!(
            operation.error.is_some(),
            matches!(operation.status, OperationStatus::Failed | OperationStatus::Cancelled),
            "{operation:?}"
        );
    }
    assert!(plan.record.as_ref().is_none_or(|record| plan.steps.iter().all(|step| step.at <= record.persisted_at)));
}

#[test]
fn a_stopped_session_waits_for_its_record_to_be_verified() {
    let plan = plan(&import(Stopped, TO_STOPPED, record()), now()).unwrap();
    assert_sound(&plan);
    assert_eq!(states(&plan), TO_STOPPED[..7]);
    assert!(plan.persists && plan.record.is_some() && plan.last_error.is_none());
    let [up, down] = &plan.operations[..] else { panic!("{:?}", plan.operations) };
    assert_eq!((up.given.as_deref(), up.status), (Some("o-1"), OperationStatus::Succeeded));
    assert_eq!((down.kind, down.status), (OperationKind::Down, OperationStatus::Queued));
}

#[test]
fn what_was_active_ends_and_says_why() {
    for (state, path) in [(Requested, &TO_READY[..1]), (Installing, &TO_READY[..4]), (Ready, TO_READY), (Failing, &[Requested, Failing])] {
        let plan = plan(&import(state, path, json!({})), now()).unwrap();
        assert_sound(&plan);
        let last = plan.steps.last().unwrap();
        assert_eq!((last.to, last.actor.as_str(), last.at), (Failed, "system", now()), "{state}");
        assert!(last.reason.contains("its sandbox is not run by this control plane"));
        assert_eq!(plan.last_error.as_ref().unwrap().cause, last.reason);
        assert_eq!(plan.updated_at, now());
        let up = &plan.operations[0];
        assert_eq!(up.status == OperationStatus::Succeeded, state == Ready, "{state}");
    }
}

#[test]
fn without_a_record_nothing_is_stopped() {
    let plan = plan(&import(Stopped, TO_STOPPED, json!({})), now()).unwrap();
    assert_sound(&plan);
    assert_eq!(states(&plan)[5..], [Stopping, Persisting, StoppedUnpersisted]);
    assert!(plan.last_error.unwrap().next_step.contains("--retry-persist"));
    assert!(plan.warnings.iter().any(|warning| warning.contains("has no record")));
}

#[test]
fn an_interrupted_down_is_carried_on() {
    for (state, length) in [(Stopping, 6), (Persisting, 7)] {
        let plan = plan(&import(state, &TO_STOPPED[..length], json!({})), now()).unwrap();
        assert_sound(&plan);
        assert!(plan.persists && plan.record.is_none(), "{state}");
    }
}

#[test]
fn what_is_missing_is_filled_in_and_what_cannot_follow_is_left_out_and_said() {
    let plan_of = |state, path: &[SessionState]| plan(&import(state, path, record()), now()).unwrap();
    let sparse = plan_of(Stopped, &[Requested, Ready, Stopped]);
    assert_sound(&sparse);
    assert_eq!(states(&sparse), TO_STOPPED[..7]);
    assert_eq!(sparse.steps.iter().filter(|step| step.filled_in).count(), 5);
    assert!(
        sparse.warnings.iter().any(|warning| warning.contains("lacks provisioning, repo_syncing, installing")),
        "{:?}",
        sparse.warnings
    );
    let backwards = plan_of(Stopped, &[Installing, Requested, Ready, Ready, Stopping, Persisting, Stopped]);
    assert_sound(&backwards);
    assert!(backwards.warnings.iter().any(|warning| warning.contains("requested cannot follow installing")), "{:?}", backwards.warnings);
    // The row says otherwise than the history.
    let torn = plan_of(Stopped, &[Requested, Failing, Failed]);
    assert_sound(&torn);
    assert!(torn.warnings.iter().any(|warning| warning.contains("the history ends in failed")), "{:?}", torn.warnings);
}

#[test]
fn a_failed_up_has_its_error_whatever_was_saved_as_its_answer() {
    let error = json!({"error_code": "ERR_SANDBOX_PROVISION_FAILED", "cause": "install: exit 1 of https://u:s3cret@h/r"});
    let more = json!({"session": {"last_error": error}, "keys": [{"key": "a:b:c"}]});
    let plan = plan(&import(Failed, &[Requested, Provisioning, Failing, Failed], more), now()).unwrap();
    assert_sound(&plan);
    let up = &plan.operations[0];
    assert_eq!(up.status, OperationStatus::Failed);
    assert_eq!(up.error.as_ref().unwrap().cause, "install: exit 1 of https://h/r");
    assert_eq!(plan.last_error, up.error);
    assert_eq!(plan.keys, [IdempotencyKey::parse("a:b:c").unwrap()]);
    assert!(!plan.bundle.contains("s3cret") && plan.warnings.iter().any(|warning| warning.contains("credentials removed")));
}

#[test]
fn keys_are_free_72_hours_after_their_operation() {
    let more = json!({"keys": [{"key": "k", "operation_id": "o-1"}]});
    let failed = import(Failed, &[Requested, Failing, Failed], more);
    let at_the_end = at(2);
    let (before, after) = (at_the_end + KEY_LIFE - TimeDelta::seconds(1), at_the_end + KEY_LIFE);
    assert_eq!(plan(&failed, before).unwrap().keys.len(), 1);
    let late = plan(&failed, after).unwrap();
    assert_eq!((late.keys.len(), late.expired_keys), (0, vec!["k".to_owned()]));
}

#[test]
fn the_record_s_time_counts_where_clocks_differ() {
    let more = json!({"session": {"persisted_at": at(55), "stopped_at": at(49), "ready_at": at(10)}});
    let mut whole = import(Stopped, TO_STOPPED, more);
    whole.record = import(Stopped, &[], record()).record;
    let plan = plan(&whole, now()).unwrap();
    assert_sound(&plan);
    assert_eq!((plan.ready_at, plan.stopped_at), (Some(at(10)), Some(at(49))));
    assert!(plan.warnings.iter().any(|warning| warning.starts_with("session.persisted_at")));
    assert!(plan.warnings.iter().any(|warning| warning.contains("several clocks")));
}

#[test]
fn what_cannot_be_taken_is_named_by_its_place() {
    for (more, place) in [
        (json!({"session": {"session_id": ""}}), "session.session_id"),
        (json!({"session": {"session_id": "https://u:s3cret@h"}}), "session.session_id"),
        (json!({"session": {"owner_principal_id": " ann"}}), "session.owner_principal_id"),
        (json!({"session": {"repo_url": "https://u:s3c/ret@h/r"}}), "session.repo_url"),
        (json!({"session": {"branch": "a..b"}}), "session.branch"),
        (json!({"session": {"created_at": "1969-01-01T00:00:00Z"}}), "session.created_at"),
        (json!({"session": {"stopped_at": "2036-01-01T00:00:00Z"}}), "session.stopped_at"),
        (json!({"session": {"target_commit_sha": "main"}}), "session.target_commit_sha"),
        (
            json!({"operations": [{"operation_id": "x", "kind": "up", "status": "failed"}, {"operation_id": "x", "kind": "down", "status": "failed"}]}),
            "operations[1].operation_id",
        ),
        (json!({"transitions": [{"to_state": "requested", "at": at(0), "operation_id": "nobody"}]}), "transitions[0].operation_id"),
        (json!({"keys": [{"key": "a b"}]}), "keys[0].key"),
        (json!({"keys": [{"key": "k", "operation_id": "o-2"}]}), "keys[0].operation_id"),
        (json!({"record": {"schema_version": "v1", "session_id": "s-2"}}), "record.session_id"),
    ] {
        let why = plan(&import(Ready, TO_READY, more), now()).unwrap_err().to_string();
        assert!(why.starts_with(&format!("{place}: ")) && !why.contains("s3c"), "{place}: {why}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_the_history_the_plan_is_sound(state in 0..SessionState::ALL.len(), path in proptest::collection::vec(0..SessionState::ALL.len(), 0..12),
        with_record: bool, shuffled: bool)
    {
        let path: Vec<_> = path.into_iter().map(|index| SessionState::ALL[index]).collect();
        let mut whole = import(SessionState::ALL[state], &path, if with_record { record() } else { json!({}) });
        if shuffled {
            let times: Vec<_> = whole.transitions.iter().rev().map(|transition| transition.at).collect();
            whole.transitions.iter_mut().zip(times).for_each(|(transition, at)| transition.at = at);
        }
        assert_sound(&plan(&whole, now()).unwrap());
    }
}
