use alpine_api::{Failure, Operation, OperationId, OperationKind, OperationStatus, SessionId, SessionState};
use axum::response::IntoResponse;

use super::*;
use crate::{
    domain::{Fault, access_token::AccessToken, failure},
    http::{ApiError, document, extract::Wait, limits::Ticket, problem::Unsent, wait},
};

#[tokio::test]
async fn every_route_of_the_document_under_v1_refuses_a_caller_without_a_token() {
    let app = app();
    let document = serde_json::to_value(document()).unwrap();
    let mut v1 = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let concrete = path.replace("{session_id}", "ses_x").replace("{operation_id}", "op_x").replace("{credential_id}", "cred_x");
            let answer = send(&app, bare(method, &concrete).body(Body::empty()).unwrap()).await;
            if !path.starts_with("/v1/") {
                assert_ne!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
                continue;
            }
            v1 += 1;
            let (headers, problem) = problem(answer).await;
            assert_eq!((problem.error_code, problem.cause.as_str()), (ErrorCode::CallerIdentityRequired, "caller identity is required"));
            assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer realm=\"alpine\"");
            assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        }
    }
    assert_eq!(v1, 27);
}

#[tokio::test]
async fn a_bad_token_is_told_in_general_terms_and_never_repeated() {
    let request = bare(Method::GET, "/v1/sessions").header(header::AUTHORIZATION, "Bearer s3cr3t").body(Body::empty()).unwrap();
    let (headers, problem) = problem(send(&app(), request).await).await;
    assert_eq!(headers[header::WWW_AUTHENTICATE], "Bearer realm=\"alpine\", error=\"invalid_token\"");
    assert!(!format!("{problem:?}{headers:?}").contains("s3cr3t"));
}

#[tokio::test]
async fn identity_comes_before_everything_else_in_the_request() {
    let request = bare(Method::POST, "/v1/sessions").body(Body::from("not json")).unwrap();
    assert_eq!(refusal(&app(), request).await.1, ErrorCode::CallerIdentityRequired);
}

#[tokio::test]
async fn bodies_that_are_not_of_their_form_are_problems() {
    let app = app();
    for (body, status, cause) in [
        ("", 400, "the body is not JSON"),
        ("{", 400, "the body is not JSON"),
        ("nul", 400, "the body is not JSON"),
        ("{}", 422, "missing field `repo_url`"),
        ("[]", 422, "the body must be a JSON object"),
        ("null", 422, "the body must be a JSON object"),
        (r#" ["https://h/r", "main", true, null] "#, 422, "the body must be a JSON object"),
        (r#"{"repo_url":1}"#, 422, "wrong type or value: expected a string"),
        (r#"{"repo_url":"x","public":"yes"}"#, 422, "wrong type or value: expected a boolean"),
        (r#"{"repo_url":"x","extra":1}"#, 422, "unknown field `extra`"),
    ] {
        let (got, code, said) = refusal(&app, up(body)).await;
        assert_eq!((got, code, said.split(" (").next().unwrap()), (status, ErrorCode::InvalidRequest, cause), "{body}");
    }
    let (status, _, cause) = refusal(&app, up(b"\xff\xfe".to_vec())).await;
    assert_eq!((status, cause.split(" (").next().unwrap()), (400, "the body is not JSON"));
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let mut request = up(r#"{"repo_url":"x"}"#);
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        assert_eq!(refusal(&app, request).await.0, 415, "{content_type}");
    }
    let large = format!(r#"{{"repo_url":"{}"}}"#, "x".repeat(64 * 1024));
    assert_eq!(refusal(&app, up(large)).await, (413, ErrorCode::InvalidRequest, "the body is too large".into()));
}

#[tokio::test]
async fn a_down_takes_no_body_but_not_a_bad_one() {
    let app = app();
    let path = format!("/v1/sessions/{}/down", SessionId::generate());
    let down = |content_type: &str, body: String| {
        signed(Method::POST, &path).header(header::CONTENT_TYPE, content_type).body(Body::from(body)).unwrap()
    };
    // Past every check; the database is not there.
    assert_eq!(refusal(&app, signed(Method::POST, &path).body(Body::empty()).unwrap()).await.0, 503);
    for none in ["{}", "null", " null\n"] {
        assert_eq!(refusal(&app, down("application/json", none.into())).await.0, 503, "{none}");
    }
    assert_eq!(refusal(&app, down("application/json", "[]".into())).await.0, 422);
    assert_eq!(refusal(&app, down("application/json", json!({"reason": "x".repeat(500)}).to_string())).await.0, 503);
    assert_eq!(refusal(&app, down("text/plain", "{}".into())).await.0, 415);
    assert_eq!(refusal(&app, down("application/json", r#"{"force":1}"#.into())).await.0, 422);
    for reason in ["x".repeat(501), "a\nb".into(), "a\0b".into()] {
        let (status, code, _) = refusal(&app, down("application/json", json!({"reason": reason}).to_string())).await;
        assert_eq!((status, code), (400, ErrorCode::InvalidRequest));
    }
}

#[tokio::test]
async fn an_up_is_checked_in_the_order_of_the_contract() {
    let app = app();
    let with_key = |key: Option<&str>, body: serde_json::Value| {
        let mut request = up(body.to_string());
        request.headers_mut().remove("idempotency-key");
        if let Some(key) = key {
            request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        }
        request
    };
    use ErrorCode as C;
    for (key, body, expected) in [
        (None, json!({"repo_url": "x"}), (400, C::InvalidRequest, "exactly one Idempotency-Key header is required")),
        (Some("a b"), json!({"repo_url": "x"}), (400, C::InvalidRequest, "Idempotency-Key must be 1 to 255 visible ASCII characters")),
        (Some(""), json!({"repo_url": "x"}), (400, C::InvalidRequest, "Idempotency-Key must be 1 to 255 visible ASCII characters")),
        (Some("k"), json!({"repo_url": "http://x"}), (400, C::BranchRequired, "branch is required")),
        (Some("k"), json!({"repo_url": "http://x", "branch": ""}), (400, C::BranchRequired, "branch is required")),
        (Some("k"), json!({"repo_url": "http://x", "branch": "a..b"}), (422, C::InvalidBranch, "invalid branch name")),
        (Some("k"), json!({"repo_url": "http://x", "branch": "main"}), (422, C::InvalidRepoUrl, "invalid repository URL")),
        (Some("k"), json!({"repo_url": "", "branch": "main"}), (422, C::InvalidRepoUrl, "invalid repository URL")),
        // Whether any credentials are stored is the database's to say.
        (Some("k"), json!({"repo_url": "https://h/r", "branch": "main"}), (503, C::Unavailable, "the database is not available")),
        (
            Some("k"),
            json!({"repo_url": "git@h:r", "branch": "main", "public": true}),
            (503, C::Unavailable, "the database is not available"),
        ),
        (
            Some("k"),
            json!({"repo_url": "https://h/r", "branch": "main", "public": true}),
            (503, C::Unavailable, "the database is not available"),
        ),
    ] {
        let (status, code, cause) = refusal(&app, with_key(key, body.clone())).await;
        assert_eq!((status, code, cause.as_str()), expected, "{key:?} {body}");
    }
    let mut twice = up(r#"{"repo_url":"x"}"#);
    twice.headers_mut().append("idempotency-key", "other".parse().unwrap());
    assert_eq!(refusal(&app, twice).await.0, 400);
}

#[tokio::test]
async fn a_repository_url_is_never_echoed() {
    let body = json!({"repo_url": "https://user:s3cr3t@host/x", "branch": "main", "repo_token": "t0k3n"}).to_string();
    let answer = text(send(&app(), up(body)).await).await;
    assert!(answer.contains("ERR_INVALID_REPO_URL") && !answer.contains("s3cr3t") && !answer.contains("t0k3n"), "{answer}");
}

#[tokio::test]
async fn a_malformed_id_is_answered_like_an_absent_one() {
    let app = app();
    let upper = SessionId::generate().to_string().to_uppercase();
    for id in ["x", "ses_", "ses_00", &upper, "op_019ab1c24d3e7f508192a3b4c5d6e7f8", "%00", "%ff", "ses_%20"] {
        for (method, rest) in [(Method::GET, ""), (Method::GET, "/events"), (Method::GET, "/record"), (Method::POST, "/down")] {
            let request = signed(method, &format!("/v1/sessions/{id}{rest}")).body(Body::empty()).unwrap();
            assert_eq!(refusal(&app, request).await, (404, ErrorCode::SessionNotFound, "session not found".into()), "{id}{rest}");
        }
        let (_, problem) = problem(get(&app, &format!("/v1/operations/{}", id.replace("op_", "ses_"))).await).await;
        assert_eq!((problem.error_code, problem.cause), (ErrorCode::SessionNotFound, Fault::OperationNotFound.to_string()));
    }
}

#[tokio::test]
async fn query_parameters_are_checked_and_unknown_ones_refused() {
    let app = app();
    let session = format!("/v1/sessions/{}/events", SessionId::generate());
    for (path, status, code) in [
        ("/v1/sessions?limit=0", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?limit=201", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?limit=-1", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?limit=x", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?limit=99999999999999999999", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?limit=1&limit=2", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?state=sleeping", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?cursor=x", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?owner=bob", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?unknown=1", 400, ErrorCode::InvalidRequest),
        ("/v1/sessions?branch=%00", 422, ErrorCode::InvalidBranch),
        ("/v1/sessions?repo_url=nowhere", 422, ErrorCode::InvalidRepoUrl),
        ("/v1/sessions?limit=200&state=ready&branch=main&owner=me", 503, ErrorCode::Unavailable),
        (&format!("{session}?after=-1"), 400, ErrorCode::InvalidRequest),
        (&format!("{session}?limit=0"), 400, ErrorCode::InvalidRequest),
        (&format!("{session}?limit=501"), 400, ErrorCode::InvalidRequest),
        (&format!("{session}?since=1"), 400, ErrorCode::InvalidRequest),
        (&format!("{session}?after=3&limit=500"), 503, ErrorCode::Unavailable),
    ] {
        let (_, problem) = problem(get(&app, path).await).await;
        assert_eq!((problem.status, problem.error_code), (status, code), "{path}");
        assert!(!problem.instance.contains('?'));
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = app();
    for path in ["/", "/v1", "/v1/", "/v2/sessions", "/v1/sessions/", "/docs/absent.js", "/v1/sessions/ses_x/logs"] {
        let (_, problem) = problem(get(&app, path).await).await;
        assert_eq!((problem.status, problem.error_code), (404, ErrorCode::InvalidRequest), "{path}");
    }
    for (method, path, allow) in [
        (Method::PUT, "/v1/sessions", "GET,HEAD,POST"),
        (Method::DELETE, "/v1/sessions/ses_x", "GET,HEAD"),
        (Method::GET, "/v1/sessions/ses_x/down", "POST"),
        (Method::POST, "/livez", "GET,HEAD"),
    ] {
        let (headers, problem) = problem(send(&app, signed(method, path).body(Body::empty()).unwrap()).await).await;
        let mut allowed: Vec<_> = headers[header::ALLOW].to_str().unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!((problem.status, allowed.join(",").as_str()), (405, allow), "{path}");
    }
}

fn operation(status: OperationStatus, error: Option<Failure>) -> Operation {
    Operation {
        operation_id: OperationId::generate(),
        session_id: SessionId::generate(),
        kind: OperationKind::Up,
        status,
        state: SessionState::Ready,
        phase: "start".into(),
        created_at: Fixed.now(),
        finished_at: None,
        target_commit_sha: None,
        opencode_url: None,
        ready_at: None,
        durable_object_id: None,
        persisted_at: None,
        persistence_verified: false,
        error,
        next_step: None,
    }
}

fn wait_of(preference: &'static str) -> Wait {
    let headers = HeaderMap::from_iter([(header::HeaderName::from_static("prefer"), preference.parse().unwrap())]);
    Wait::of(&headers, Duration::from_secs(60))
}

#[tokio::test]
async fn an_operation_is_answered_by_what_came_of_it() {
    let (waited, at_once) = (wait_of("wait=600"), wait_of("none"));
    for (status, expected) in [(OperationStatus::Queued, 202), (OperationStatus::Running, 202), (OperationStatus::Succeeded, 200)] {
        let operation = operation(status, None);
        let location = format!("/v1/operations/{}", operation.operation_id);
        let answer = wait::answer(operation.clone(), waited);
        assert_eq!(answer.status().as_u16(), expected);
        assert_eq!(answer.headers()["location"], location);
        assert_eq!(answer.headers()["preference-applied"], "wait=60");
        assert!(!wait::answer(operation, at_once).headers().contains_key("preference-applied"));
    }
    for (failure, status) in [
        (failure::step("install", "exit 1"), 502),
        (failure::deadline("sync", 300), 504),
        (failure::cancelled(), 409),
        (failure::not_persisted(ErrorCode::PersistPayloadTooLarge, "persist", "too large"), 409),
    ] {
        let failed = operation(OperationStatus::Failed, Some(failure.clone()));
        let mut answer = wait::answer(failed.clone(), at_once);
        let Unsent { problem, .. } = answer.extensions_mut().remove().unwrap();
        assert_eq!((problem.status, problem.operation_id), (status, Some(failed.operation_id)));
        assert_eq!((problem.error_code, problem.cause, problem.retryable), (failure.error_code, failure.cause, failure.retryable));
    }
}

#[tokio::test]
async fn faults_have_the_status_of_their_case() {
    let id = OperationId::generate();
    for (fault, status, operation) in [
        (Fault::KeyReused { first: id }, 422, Some(id)),
        (Fault::SessionOver { operation: id }, 409, Some(id)),
        (Fault::AlreadyFailed { operation: id }, 409, Some(id)),
        (Fault::NotPersisted { operation: Some(id) }, 409, Some(id)),
        (Fault::NotOwner, 403, None),
        (Fault::SessionNotFound, 404, None),
    ] {
        let mut answer = ApiError::from(fault.clone()).into_response();
        let Unsent { problem, .. } = answer.extensions_mut().remove().unwrap();
        assert_eq!((problem.status, problem.operation_id, problem.cause), (status, operation, fault.to_string()));
    }
}

#[tokio::test]
async fn whoever_waits_is_released_when_the_server_goes() {
    let state = state();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {}", token()).parse().unwrap())]);
    let caller = state.auth.authenticate(&headers).await;
    state.shutdown.cancel();
    // The database is not there: an answer without an error is one that did not ask it.
    let running = operation(OperationStatus::Running, None);
    let settled = wait::settle(&state, &caller.unwrap().tenant, running, wait_of("wait=60"), &Ticket::default()).await;
    assert_eq!(settled.status, OperationStatus::Running);
}

#[tokio::test]
async fn an_access_token_is_looked_for_only_if_it_can_be_one() {
    let app = app();
    let token = AccessToken::generate(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    let ask = |scheme: &str, token: &str| {
        let request = bare(Method::GET, "/v1/sessions").header(header::AUTHORIZATION, format!("{scheme} {token}"));
        request.body(Body::empty()).unwrap()
    };
    // The database is not there.
    assert_eq!(refusal(&app, ask("Bearer", token.expose())).await.0, 503);
    assert_eq!(refusal(&app, ask("bearer", token.expose())).await.0, 503);
    let wrong = format!("{}{}", &token.expose()[..59], if token.expose().ends_with('0') { '1' } else { '0' });
    let lower = token.expose().replace("alpine", "Alpine");
    for bad in [wrong.as_str(), &lower, "alpine_pat_", &token.expose()[..59], &"alpine_pat_".repeat(4000)] {
        assert_eq!(refusal(&app, ask("Bearer", bad)).await.0, 401, "{bad}");
    }
    assert_eq!(refusal(&app, ask("Basic", token.expose())).await.0, 401);
    let mut twice = ask("Bearer", token.expose());
    twice.headers_mut().append(header::AUTHORIZATION, format!("Bearer {}", super::token()).parse().unwrap());
    assert_eq!(refusal(&app, twice).await.0, 401);
    let elsewhere = bare(Method::GET, "/v1/sessions").header("cf-access-jwt-assertion", token.expose()).body(Body::empty()).unwrap();
    assert_eq!(refusal(&app, elsewhere).await.0, 401);
}

#[tokio::test]
async fn a_body_that_is_packed_is_not_unpacked() {
    let app = app();
    for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"] {
        let mut request = up("\u{1f}");
        request.headers_mut().insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        let (status, code, cause) = refusal(&app, request).await;
        assert_eq!(
            (status, code, cause.as_str()),
            (415, ErrorCode::InvalidRequest, "the body must come as it is, without a Content-Encoding")
        );
    }
    let mut plain = up("{}");
    plain.headers_mut().insert(header::CONTENT_ENCODING, "Identity".parse().unwrap());
    assert_eq!(refusal(&app, plain).await.0, 422);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let app = router(state_with(Settings { body_timeout: Duration::from_millis(50), ..Settings::default() }));
    let (_open, never) = tokio::io::duplex(1);
    let body = Body::from_stream(tokio_util::io::ReaderStream::new(never));
    let (_, problem) = problem(send(&app, up(body)).await).await;
    assert_eq!((problem.status, problem.error_code, problem.retryable), (408, ErrorCode::InvalidRequest, true));
}
