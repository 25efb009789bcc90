//! What is said when a call does not go well.

use std::process::ExitCode;

use alpine_api::OperationStatus;
use serde_json::{Value, json};

use super::{Fake, UP, done, fake, fake_version, nothing, problem, running, up_operation};
use crate::{
    config::Environment,
    testing::{alpine, session_id},
};

#[tokio::test]
async fn what_the_server_has_decided_is_not_asked_again() {
    for answer in [
        problem(500, "ERR_INTERNAL"),
        problem(429, "ERR_QUOTA_EXCEEDED"),
        problem(422, "ERR_OPERATION_CONFLICT"),
        problem(503, "ERR_SANDBOX_PROVISION_FAILED"),
        nothing(500),
    ] {
        let server = fake(vec![answer.clone(), done()]).await;
        let run = server.alpine(UP).await;
        assert_ne!(run.code, ExitCode::SUCCESS, "{answer:?}");
        assert_eq!(server.seen().len(), 1, "{answer:?}");
    }
    // What may have been lost on the way is, with the same key.
    for answer in [(0, String::new()), nothing(502), nothing(503), nothing(504), problem(503, "ERR_UNAVAILABLE")] {
        let server = fake(vec![answer.clone(), done()]).await;
        assert_eq!(server.alpine(UP).await.code, ExitCode::SUCCESS, "{answer:?}");
        let keys = server.headers("idempotency-key");
        assert!(keys.len() >= 2 && keys[0].1 == keys[1].1, "{answer:?}: {keys:?}");
    }
}

#[tokio::test]
async fn a_failed_up_names_its_session_and_where_to_look() {
    let failed = |cause: &str| {
        let mut failed: Value = serde_json::from_str(&up_operation(OperationStatus::Failed)).unwrap();
        failed["error"] =
            json!({"error_code": "ERR_SANDBOX_PROVISION_FAILED", "cause": cause, "next_step": "use a NEW id", "retryable": true});
        (200, failed.to_string())
    };
    for (cause, look) in
        [("install: exited 1", "alpine logs"), ("sync: cut off", "alpine logs"), ("resolve: no such branch", "alpine events")]
    {
        let json = fake(vec![running(), failed(cause)]).await.alpine(UP).await;
        let error: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(error["session_id"], json!(session_id(1)));
        let next = format!("use a NEW id; see {look} {}", session_id(1));
        assert_eq!(error["next_step"], next.as_str());
        let people = fake(vec![running(), failed(cause)]).await.alpine(&UP[..4]).await;
        assert!(people.err.contains(&next) && people.err.contains(&format!("session {}", session_id(1))), "{people:?}");
        assert_eq!(people.code, json.code);
    }
}

fn jwt(exp: i64) -> String {
    let claims = json!({"sub": "ann", "exp": exp});
    let key = jsonwebtoken::EncodingKey::from_secret(b"whatever");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

#[tokio::test]
async fn a_token_that_has_ended_is_said_to_have_and_one_that_is_none_is_not_sent() {
    let refused = || {
        vec![(
            401,
            json!({"error_code": "ERR_CALLER_IDENTITY_REQUIRED", "cause": "caller identity is required", "next_step": "sign in"})
                .to_string(),
        )]
    };
    let with = |token: &str, server: &Fake| {
        let address = server.env.get("ALPINE_SERVER").unwrap().to_owned();
        Environment::of(&[("ALPINE_CONFIG_DIR", "/nonexistent"), ("ALPINE_SERVER", &address), ("ALPINE_TOKEN", token)])
    };
    for (token, next) in [
        (jwt(1_764_000_000), "ALPINE_TOKEN ended at 2025-11-24 16:00:00 UTC: put a new one there"),
        (jwt(i64::MAX / 4), "ALPINE_TOKEN was not accepted: sign in"),
        ("opaque".into(), "ALPINE_TOKEN was not accepted: sign in"),
    ] {
        let server = fake(refused()).await;
        let run = alpine(&["list", "--json"], &with(&token, &server)).await;
        assert_eq!(run.json_error(), ("ERR_CALLER_IDENTITY_REQUIRED".to_owned(), "caller identity is required".to_owned(), 1));
        assert!(run.out.contains(next), "{run:?}");
    }
    for token in ["two words", "line\nbreak", "ümlaut", "bell\u{7}"] {
        let server = fake(refused()).await;
        let run = alpine(&["list", "--json"], &with(token, &server)).await;
        assert_eq!((run.json_error().0.as_str(), run.json_error().2), ("ERR_CALLER_IDENTITY_REQUIRED", 1));
        assert!(run.out.contains("is no token") && !run.out.contains(token), "{run:?}");
        assert!(server.seen().is_empty());
    }
}

#[tokio::test]
async fn another_version_of_the_server_is_named_where_the_two_do_not_understand_each_other() {
    let hint = concat!("the server is version 9.9.9, this is alpine ", env!("CARGO_PKG_VERSION"));
    for (answer, hinted) in [
        ((200, "[]".to_owned()), true),
        (problem(404, "ERR_NOT_FOUND"), true),
        (nothing(404), true),
        (problem(404, "ERR_SESSION_NOT_FOUND"), false),
    ] {
        let server = fake_version("9.9.9", vec![answer.clone()]).await;
        let run = server.alpine(&["list", "--json"]).await;
        assert_eq!(run.out.contains(hint), hinted, "{answer:?}: {run:?}");
        let same = fake_version(env!("CARGO_PKG_VERSION"), vec![answer]).await.alpine(&["list", "--json"]).await;
        assert!(!same.out.contains("this is alpine"), "{same:?}");
    }
}
