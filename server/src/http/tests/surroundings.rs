use axum::routing::get as on_get;

use super::*;
use crate::http::surround;

#[tokio::test]
async fn a_panic_is_one_callers_internal_error() {
    let state = state();
    let panics = Router::new().route("/v1/sessions", on_get(|| async { panic!("s3cr3t") as () }));
    let app = surround(panics, state.clone());
    for _ in 0..2 {
        let (_, problem) = problem(get(&app, "/v1/sessions").await).await;
        assert_eq!((problem.status, problem.error_code, problem.cause.as_str()), (500, ErrorCode::Internal, "internal error"));
        assert!(!format!("{problem:?}").contains("s3cr3t"));
    }
    assert!(state.metrics.encode().contains("alpine_errors_total{error_code=\"ERR_INTERNAL\",action=\"list\"} 2\n"));
}

#[tokio::test]
async fn a_request_is_bounded_by_the_timeout_and_the_wait_it_asked_for() {
    let slow = Router::new().route("/slow", on_get(|| tokio::time::sleep(Duration::from_millis(200))));
    let settings = Settings { request_timeout: Duration::from_millis(20), ..Settings::default() };
    let app = surround(slow, state_with(settings));
    let (_, problem) = problem(get(&app, "/slow").await).await;
    assert_eq!((problem.status, problem.error_code), (503, ErrorCode::Unavailable));
    let patient = signed(Method::GET, "/slow").header("prefer", "wait=30").body(Body::empty()).unwrap();
    assert_eq!(send(&app, patient).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_librarys_bare_error_text_becomes_a_problem() {
    let teapot = Router::new().route("/tea", on_get(|| async { (StatusCode::IM_A_TEAPOT, "bare text") }));
    let (_, problem) = problem(get(&surround(teapot, state()), "/tea").await).await;
    assert_eq!((problem.status, problem.error_code), (418, ErrorCode::InvalidRequest));
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_replaced() {
    let app = app();
    let id = async |given: &str| {
        let request = bare(Method::GET, "/livez").header("x-request-id", given).body(Body::empty()).unwrap();
        send(&app, request).await.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    let longest = "x".repeat(64);
    for sane in ["a", "A.b_c-9", &longest] {
        assert_eq!(id(sane).await, sane);
    }
    for bad in ["", "a b", "a\"b", "a/b", "a;b", &"x".repeat(65)] {
        let made = id(bad).await;
        assert!(made != bad && made.len() == 32, "{bad:?}: {made}");
    }
    assert_ne!(id("").await, id("").await);
}

#[tokio::test]
async fn every_error_answer_counts_under_its_code_and_action() {
    let state = state();
    let app = router(state.clone());
    let session = "/v1/sessions/ses_019ab1c24d3e7f508192a3b4c5d6e7f8";
    for (method, path) in [
        (Method::POST, "/v1/sessions".to_owned()),
        (Method::GET, "/v1/sessions".to_owned()),
        (Method::GET, session.to_owned()),
        (Method::POST, format!("{session}/down")),
        (Method::GET, format!("{session}/events")),
        (Method::GET, format!("{session}/record")),
        (Method::GET, "/v1/operations/op_x".to_owned()),
    ] {
        send(&app, bare(method, &path).body(Body::empty()).unwrap()).await;
    }
    get(&app, "/nowhere").await;
    let text = state.metrics.encode();
    let counted = |code: &str, action: &str, times: u32| {
        let line = format!("alpine_errors_total{{error_code=\"{code}\",action=\"{action}\"}} {times}\n");
        assert!(text.contains(&line), "{line}");
    };
    for action in ["up", "list", "status", "down", "events", "record", "operation"] {
        counted("ERR_CALLER_IDENTITY_REQUIRED", action, 1);
    }
    counted("ERR_CALLER_IDENTITY_REQUIRED", "other", 0);
    counted("ERR_INVALID_REQUEST", "other", 1);
    // The route's template and never the id.
    assert!(text.contains(r#"alpine_http_requests_total{method="GET",route="/v1/sessions/{session_id}",status="4xx"} 1"#), "{text}");
    assert!(!text.contains("ses_0"));
}

#[tokio::test]
async fn probes_say_what_they_know() {
    let state = state();
    let app = router(state.clone());
    assert_eq!(text(get(&app, "/livez").await).await, "ok\n");
    let cause = async || problem(get(&app, "/readyz").await).await.1.cause;
    assert_eq!(cause().await, "the database is away");
    state.leaving.cancel();
    assert_eq!(cause().await, "the server is shutting down");
    assert_eq!(get(&app, "/livez").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_unreachable_database_is_a_503_that_says_when_to_come_back() {
    let (headers, problem) = problem(get(&app(), "/v1/sessions").await).await;
    assert_eq!((problem.error_code, problem.retryable), (ErrorCode::Unavailable, true));
    assert_eq!(headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn pages_and_documents_are_served() {
    let app = app();
    let metrics = get(&app, "/metrics").await;
    assert_eq!(metrics.headers()[header::CONTENT_TYPE], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text(metrics).await.ends_with("# EOF\n"));
    let document = get(&app, "/openapi.json").await;
    assert_eq!(document.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(text(document).await, crate::http::document_json());
    assert!(get(&app, "/docs").await.status().is_redirection());
    assert!(text(get(&app, "/docs/").await).await.contains("swagger-ui"));
    assert!(text(get(&app, "/docs/page.js").await).await.contains("/openapi.json"));
    let errors = text(get(&app, "/docs/errors").await).await;
    for code in ErrorCode::ALL {
        assert!(errors.contains(&format!("id=\"{code}\"")), "{code}");
    }
}
