//! The corpus of bad tokens, over a real connection.

use std::sync::Arc;

use reqwest::header::{HeaderValue, WWW_AUTHENTICATE};

use super::*;
use crate::auth::tests::corpus;

/// A server that knows the issuers of the corpus and has no database; where it is.
async fn server() -> String {
    let state = AppState::new(Parts { auth: Arc::new(corpus::authenticator()), ..parts() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router(state)).await });
    base
}

#[tokio::test]
async fn every_bad_token_is_a_401_that_says_how_to_come_back() {
    let url = format!("{}/v1/sessions?limit=0", server().await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = |token: &[u8]| {
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).unwrap();
        client.get(&url).header("authorization", value).send()
    };
    for good in corpus::good() {
        // Past the question of who asks: the next one is of the limit.
        assert_eq!(ask(good.as_bytes()).await.unwrap().status(), 400, "{good}");
    }
    let all = corpus::all();
    let mut wrong = Vec::new();
    for bad in &all {
        let answer = ask(&bad.token).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let text = answer.text().await.unwrap();
        let code = serde_json::from_str::<Problem>(&text).map(|problem| problem.error_code);
        let right = status == 401
            && headers.get("content-type").is_some_and(|kind| kind == "application/problem+json")
            && challenge.starts_with("Bearer realm=\"alpine\", error=\"invalid_")
            && matches!(code, Ok(ErrorCode::CallerIdentityRequired));
        // Nothing of what was sent comes back.
        let echoed = bad.token.len() > 40 && text.as_bytes().windows(40).any(|window| bad.token.starts_with(window));
        if !right || echoed {
            wrong.push(format!("{}: {}: {status} {challenge}", bad.family, bad.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(all.len() >= 300);
}

#[tokio::test]
async fn a_token_whose_issuer_cannot_be_reached_is_asked_to_come_back_later() {
    let state = AppState::new(Parts { auth: Arc::new(corpus::unreachable()), ..parts() });
    let request = bare(Method::GET, "/v1/sessions").header(header::AUTHORIZATION, format!("Bearer {}", corpus::of_unreachable()));
    let (_, problem) = problem(send(&router(state), request.body(Body::empty()).unwrap()).await).await;
    assert_eq!((problem.status, problem.error_code, problem.retryable), (503, ErrorCode::Unavailable, true));
}
