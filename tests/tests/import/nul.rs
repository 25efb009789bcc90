//! Text that the database does not take.

use alpine_tests::{REPO, World, predecessor_file::File};
use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

/// The database takes no NUL in a text, and a caller may put one anywhere: taken or refused, never a fault of the server's.
#[tokio::test(flavor = "multi_thread")]
async fn a_nul_anywhere_is_taken_or_refused() {
    let world = World::with(&[("ALPINE_ROLE", "api")]).await;
    let admin = world.api_of("dev", "root", &["alpine.admin"]);
    let at = File::of(TimeDelta::hours(1)).at(0);
    let whole = json!({
        "session": {"session_id": "s", "owner_principal_id": "ann", "repo_url": REPO, "branch": "main", "state": "failed", "created_at": at,
            "durable_object_id": "d", "target_commit_sha": "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12", "opencode_url": "http://127.0.0.1:1/",
            "last_error": {"error_code": "ERR_X", "cause": "c", "next_step": "n", "retryable": false}},
        "transitions": [{"to_state": "requested", "at": at, "actor": "ann", "reason": "r", "operation_id": "o"}],
        "operations": [{"operation_id": "o", "kind": "up", "status": "failed", "created_at": at,
            "error": {"error_code": "ERR_X", "cause": "c", "next_step": "n", "retryable": false}}],
        "keys": [{"key": "k", "operation_id": "o"}],
    });
    let mut places = Vec::new();
    texts(&whole, String::new(), &mut places);
    assert!(places.len() > 20, "{places:?}");
    for (number, place) in places.iter().enumerate() {
        let mut body = whole.clone();
        body["session"]["session_id"] = format!("s{number}").into();
        *body.pointer_mut(place).unwrap() = "a\0b".into();
        let reply = admin.send(Method::POST, "/v1/imports/sessions", &body).await;
        assert!(matches!(reply.status.as_u16(), 200 | 400 | 422), "{place}: {}", reply.text);
    }
}

/// Where the texts are in it.
fn texts(value: &Value, place: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(place),
        Value::Array(all) => all.iter().enumerate().for_each(|(index, value)| texts(value, format!("{place}/{index}"), found)),
        Value::Object(all) => all.iter().for_each(|(name, value)| texts(value, format!("{place}/{name}"), found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
