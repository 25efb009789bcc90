//! All that needs no database, through the whole router.

mod apart;
mod bad_tokens;
mod credentials;
mod identity;
mod refusals;
mod serving;
mod streams;
mod surroundings;

use std::{sync::Arc, time::Duration};

use alpine_api::{ErrorCode, Problem};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::Response,
};
use chrono::{DateTime, Utc};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{SecretSlice, SecretString};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{AppState, LimitSettings, Parts, Settings, router};
use crate::{
    auth::{Algorithm, Authenticator, Issuer, KeySource},
    clock::Clock,
    domain::{operation::Deadlines, tenant::TenantPolicy},
    ledger::{Ledger, PoolSettings, Pools, Sealer},
    metrics::Metrics,
};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }
}

/// A state whose database is not there.
fn state() -> AppState {
    state_with(Settings::default())
}

fn state_with(settings: Settings) -> AppState {
    AppState::new(Parts { settings, ..parts() })
}

fn parts() -> Parts {
    let secret = KeySource::Secret(SecretSlice::from(SECRET.to_vec()));
    let mut issuer = Issuer::new("https://issuer.test", "alpine", Algorithm::Hs256, secret);
    issuer.login.device_client_id = Some("alpine-cli".into());
    let metrics = Arc::new(Metrics::new());
    let pools = PoolSettings {
        database_url: SecretString::from("postgres://nobody@127.0.0.1:1/none"),
        statements: 1,
        transactions: 1,
        acquire_timeout: Duration::from_millis(100),
        serves: true,
        works: false,
    };
    Parts {
        ledger: Ledger::new(
            Pools::connect(&pools, &metrics).unwrap(),
            Sealer::new(&[0; 32]).unwrap(),
            Deadlines::default(),
            TenantPolicy::default(),
        ),
        auth: Arc::new(Authenticator::new(vec![issuer], Arc::new(Fixed), Arc::clone(&metrics)).unwrap()),
        clock: Arc::new(Fixed),
        metrics,
        settings: Settings::default(),
        limits: LimitSettings::default(),
        hosts: Arc::default(),
        classes: Arc::default(),
        apps: None,
        leaving: CancellationToken::new(),
        shutdown: CancellationToken::new(),
    }
}

fn app() -> Router {
    router(state())
}

fn token() -> String {
    let claims = json!({"iss": "https://issuer.test", "aud": "alpine", "sub": "ann", "tenant": "acme", "exp": NOW + 60});
    jsonwebtoken::encode(&Header::new(jsonwebtoken::Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

fn bare(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

fn signed(method: Method, path: &str) -> axum::http::request::Builder {
    bare(method, path).header(header::AUTHORIZATION, format!("Bearer {}", token()))
}

fn up(body: impl Into<Body>) -> Request<Body> {
    signed(Method::POST, "/v1/sessions")
        .header(header::CONTENT_TYPE, "application/json")
        .header("idempotency-key", "k-1")
        .body(body.into())
        .unwrap()
}

async fn send(app: &Router, request: Request<Body>) -> Response {
    app.clone().oneshot(request).await.unwrap()
}

async fn get(app: &Router, path: &str) -> Response {
    send(app, signed(Method::GET, path).body(Body::empty()).unwrap()).await
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

/// The answer as a problem that is whole and consistent with itself.
async fn problem(response: Response) -> (HeaderMap, Problem) {
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes()), Some(b"application/problem+json".as_slice()), "{status}");
    let problem: Problem = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem.status, status.as_u16());
    assert_eq!(problem.kind, format!("/docs/errors#{}", problem.error_code));
    assert_eq!(headers["x-request-id"].to_str().unwrap(), problem.request_id);
    assert!(!problem.cause.is_empty() && !problem.next_step.is_empty() && !problem.title.is_empty() && problem.instance.starts_with('/'));
    assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == StatusCode::UNAUTHORIZED);
    assert_eq!(headers.contains_key(header::RETRY_AFTER), matches!(status.as_u16(), 429 | 503));
    (headers, problem)
}

async fn refusal(app: &Router, request: Request<Body>) -> (u16, ErrorCode, String) {
    let (_, problem) = problem(send(app, request).await).await;
    (problem.status, problem.error_code, problem.cause)
}
