//! Whole files, in every form that is read.

use alpine_api::SessionState;
use serde_json::{Value, json};

use super::*;

fn ledger(file: &Value) -> Ledger {
    of_json(&RawValue::from_string(file.to_string()).unwrap()).unwrap()
}

fn refused(file: &Value) -> String {
    of_json(&RawValue::from_string(file.to_string()).unwrap()).unwrap_err()
}

const AT: &str = "2026-11-20T10:00:00Z";

fn session(id: &str, more: &[(&str, Value)]) -> Value {
    let mut session = json!({"session_id": id, "owner_principal_id": "ann", "repo_url": "https://h/r", "branch": "main", "state": "ready", "created_at": AT});
    for (name, value) in more {
        session[name] = value.clone();
    }
    session
}

fn causes(ledger: &Ledger) -> Vec<String> {
    ledger.malformed.iter().map(|one| format!("{}: {}", one.entry, one.cause)).collect()
}

#[test]
fn the_example_of_the_documentation_is_read_whole() {
    let text = include_str!("../../../tests/import/sessions.json");
    let ledger = of_json(&RawValue::from_string(text.trim().to_owned()).unwrap()).unwrap();
    assert_eq!((causes(&ledger), ledger.unknown_fields, ledger.bundles.len()), (Vec::<String>::new(), 0, 3));
    let [stopped, failed, ready] = &ledger.bundles[..] else { panic!() };
    assert_eq!(stopped.import.session.state, SessionState::Stopped);
    assert_eq!((stopped.import.transitions.len(), stopped.import.operations.len()), (8, 2));
    let record = stopped.import.record.as_ref().unwrap().get();
    assert!(record.contains("\n") && text.contains(record), "byte for byte");
    assert_eq!(failed.import.keys[0].key, "second");
    assert_eq!(failed.import.operations[0].error.as_ref().unwrap().cause, "install: npm ci exited with 1");
    assert!(ready.import.record.is_none());
}

#[test]
fn lists_and_objects_within_the_session_or_beside_it_are_the_same() {
    let up = json!({"operation_id": "o", "session_id": "s", "kind": "up", "status": "succeeded", "created_at": AT});
    let step = json!({"session_id": "s", "to_state": "requested", "at": AT, "seq": 1});
    let (steps, ups) = (json!([step]), json!([up]));
    let beside = json!({"version": 1, "sessions": [session("s", &[])], "operations": [up], "transitions": [step],
        "idempotency_keys": [{"key": "up:ann:k", "session_id": "s"}]});
    let by_session = json!({"schema_version": "v1", "sessions": {"s": session("s", &[])}, "operations": {"o": up}, "transitions": {"s": [step]},
        "idempotency_keys": {"up:ann:k": {"session_id": "s"}}});
    let within = json!({"schema_version": "1", "sessions": [session("s", &[("transitions", steps), ("operations", ups), ("client_request_id", json!("k"))])]});
    let read = |file| {
        let ledger = ledger(file);
        assert_eq!(causes(&ledger), Vec::<String>::new());
        serde_json::to_value(&ledger.bundles[0].import).unwrap()
    };
    let expected = read(&beside);
    assert_eq!(expected["keys"][0]["key"], "k");
    assert_eq!(read(&by_session), expected);
    assert_eq!(read(&within), expected);
}

#[test]
fn transitions_are_in_the_order_of_their_numbers_and_without_all_of_them_of_their_times() {
    let step = |to: &str, second: u8, seq: Option<u8>| json!({"session_id": "s", "to_state": to, "at": format!("2026-11-20T10:00:{second:02}Z"), "seq": seq});
    let states = |steps: Value| -> Vec<SessionState> {
        let file = json!({"version": "v1", "sessions": [session("s", &[])], "transitions": steps});
        ledger(&file).bundles[0].import.transitions.iter().map(|step| step.to_state).collect()
    };
    use SessionState::{Provisioning, Requested};
    assert_eq!(states(json!([step("provisioning", 1, Some(2)), step("requested", 2, Some(1))])), [Requested, Provisioning]);
    assert_eq!(states(json!([step("provisioning", 1, None), step("requested", 2, Some(1))])), [Provisioning, Requested]);
}

#[test]
fn a_file_of_another_kind_is_refused_whole() {
    assert!(refused(&json!([])).contains("not an object"));
    assert!(refused(&json!({"sessions": {}})).contains("no schema_version"));
    assert!(refused(&json!({"schema_version": "v2", "sessions": {}})).contains("not v1"));
    assert!(refused(&json!({"schema_version": "v1"})).contains("no sessions"));
    assert!(refused(&json!({"schema_version": "v1", "sessions": 5})).contains("neither an object nor a list"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sessions.json");
    assert!(matches!(read(&file), Err(FileError::Missing(_))));
    fs::write(&file, "{\"schema_version\":").unwrap();
    assert!(matches!(read(&file), Err(FileError::NotJson { line: 1, .. })));
    fs::File::create(&file).unwrap().set_len(MOST + 1).unwrap();
    assert!(matches!(read(&file), Err(FileError::TooLarge { .. })));
}

#[test]
fn each_malformed_entry_is_told_by_itself_and_the_others_go_on() {
    let up = |id: &str, of: &str| json!({"operation_id": id, "session_id": of, "kind": "up", "status": "succeeded"});
    let file = json!({
        "schema_version": "v1",
        "sessions": [
            session("good", &[("unheard_of", json!(1))]),
            session("url", &[("repo_url", json!("https://user:s3/cret@h/r"))]),
            session("state", &[("state", json!("s3cret"))]),
            session("twice", &[]), session("twice", &[]),
            session("time", &[("created_at", json!("s3cret"))]),
            session("part", &[]),
            "s3cret",
        ],
        "operations": [up("o-1", "good"), up("o-2", "nobody"), up("o-3", "url"), {"operation_id": "o-4", "session_id": "part", "kind": "s3cret"}],
        "records": {"good": {"schema_version": "v1", "session_id": "good"}, "lost": {"schema_version": "v1", "session_id": "lost"}},
        "idempotency_keys": {"up:ann:k": "o-1", "up:bob:s3cret": "o-1", "up:ann:s3cret": {"created_at": AT}, "down:ann:x": "o-1"},
    });
    let ledger = ledger(&file);
    assert_eq!(ledger.bundles.iter().map(|bundle| bundle.import.session.session_id.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(ledger.bundles[0].import.keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), ["k"]);
    let told = causes(&ledger);
    assert!(!told.join("\n").contains("cret"), "{told:#?}");
    insta::assert_snapshot!("malformed", told.join("\n"));
    assert_eq!((ledger.sessions, ledger.unknown_fields, ledger.other_keys), (8, 1, 1));
}

#[test]
fn no_credential_leaves_this_machine() {
    let dirty = "https://u:s3cret@h/r";
    let file = json!({
        "schema_version": "v1",
        "sessions": [session("s", &[("repo_url", json!(dirty)), ("last_error", json!({"cause": format!("clone of {dirty} failed")}))])],
        "transitions": [{"session_id": "s", "to_state": "requested", "at": AT, "reason": dirty}],
        "records": {"s": {"session_id": "s", "repo_url": dirty}},
    });
    let ledger = ledger(&file);
    let sent = serde_json::to_string(&ledger.bundles[0].import).unwrap();
    assert!(!sent.contains("s3cret") && sent.contains("https://h/r"), "{sent}");
    assert_eq!(ledger.bundles[0].warnings.len(), 2, "{:?}", ledger.bundles[0].warnings);
}
