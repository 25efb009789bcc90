//! Keys behind a URL: a real server beside the test, and a clock in its hand.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

use super::{fixtures::*, *};

/// A clock that is moved by hand.
#[derive(Debug)]
struct Hand(Mutex<DateTime<Utc>>);

impl Clock for Hand {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

impl Hand {
    fn advance(&self, seconds: i64) {
        *self.0.lock().unwrap() += TimeDelta::seconds(seconds);
    }
}

/// What the issuer's URL answers.
struct Site {
    answer: Mutex<(StatusCode, Vec<u8>)>,
    asked: AtomicUsize,
    /// A permit an answer.
    gate: Semaphore,
}

struct Issuing {
    site: Arc<Site>,
    clock: Arc<Hand>,
    authenticator: Arc<Authenticator>,
}

impl Issuing {
    /// The issuer `url`, answering at once.
    async fn start() -> Self {
        let answer = Mutex::new((StatusCode::OK, b"{\"keys\":[]}".to_vec()));
        let site = Arc::new(Site { answer, asked: AtomicUsize::new(0), gate: Semaphore::new(1_000_000) });
        let handler = {
            let site = Arc::clone(&site);
            move || async move {
                site.asked.fetch_add(1, SeqCst);
                site.gate.acquire().await.unwrap().forget();
                let (status, body) = site.answer.lock().unwrap().clone();
                (status, [("location", "/elsewhere")], body).into_response()
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/jwks", get(handler))).await });
        let clock = Arc::new(Hand(Mutex::new(DateTime::from_timestamp(NOW, 0).unwrap())));
        let issuers = vec![issuer("url", Algorithm::Es256, KeySource::JwksUrl(url_of(&url)))];
        let authenticator = Arc::new(super::fixtures::authenticator(issuers, Arc::clone(&clock) as Arc<dyn Clock>).unwrap());
        Self { site, clock, authenticator }
    }

    fn publish(&self, ids: &[&str]) {
        let keys: Vec<Jwk> = ids.iter().map(|id| jwk(id)).collect();
        self.answer(StatusCode::OK, json!({ "keys": keys }).to_string());
    }

    fn answer(&self, status: StatusCode, body: impl Into<Vec<u8>>) {
        *self.site.answer.lock().unwrap() = (status, body.into());
    }

    async fn ask(&self, kid: &str) -> Result<(), AuthError> {
        self.ask_for(kid, json!({"exp": NOW + 100_000})).await
    }

    async fn ask_for(&self, kid: &str, changes: Value) -> Result<(), AuthError> {
        let token = signed("ec", Some(kid), &with("url", changes));
        self.authenticator.authenticate(&headers(&token)).await.map(|_| ())
    }

    fn asked(&self) -> usize {
        self.site.asked.load(SeqCst)
    }
}

fn jwk(id: &str) -> Jwk {
    let mut jwk = Jwk::from_encoding_key(&KEYS.signer("ec"), jsonwebtoken::Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    jwk
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_once_and_a_known_one_never() {
    let issuing = Issuing::start().await;
    issuing.publish(&["a"]);
    assert_eq!(issuing.ask("a").await, Ok(()));
    assert_eq!((issuing.ask("a").await, issuing.asked()), (Ok(()), 1));
    issuing.publish(&["a", "b"]);
    issuing.clock.advance(10);
    assert_eq!((issuing.ask("b").await, issuing.ask("a").await, issuing.asked()), (Ok(()), Ok(()), 2));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_one_fetch_in_ten_seconds_and_all_who_wait_share_it() {
    let issuing = Arc::new(Issuing::start().await);
    issuing.publish(&["a"]);
    issuing.site.gate.forget_permits(1_000_000);
    let flood: Vec<_> = (0..200)
        .map(|number| {
            let issuing = Arc::clone(&issuing);
            tokio::spawn(async move { issuing.ask(&if number % 2 == 0 { "a".to_owned() } else { format!("x{number}") }).await })
        })
        .collect();
    while issuing.asked() == 0 {
        tokio::task::yield_now().await;
    }
    issuing.site.gate.add_permits(1000);
    let mut answers = Vec::new();
    for one in flood {
        answers.push(one.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(())).count(), 100);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(AuthError::Key)).count(), 100);
    assert_eq!(issuing.asked(), 1);
    for number in 0..100 {
        assert_eq!(issuing.ask(&format!("y{number}")).await, Err(AuthError::Key));
    }
    assert_eq!(issuing.asked(), 1, "within ten seconds");
    issuing.clock.advance(9);
    assert_eq!((issuing.ask("z").await, issuing.asked()), (Err(AuthError::Key), 1));
    issuing.clock.advance(1);
    assert_eq!((issuing.ask("z").await, issuing.asked()), (Err(AuthError::Key), 2));
}

#[tokio::test]
async fn a_token_that_is_no_good_with_any_key_causes_no_fetch() {
    let issuing = Issuing::start().await;
    issuing.publish(&["a"]);
    for changes in [json!({"exp": NOW - 60}), json!({"aud": "other"}), json!({"sub": 5}), json!({"tenant": null})] {
        assert!(issuing.ask_for("a", changes).await.is_err());
    }
    assert_eq!(issuing.asked(), 0);
}

#[tokio::test]
async fn a_key_that_was_never_had_is_another_matter_than_one_that_is_not_there() {
    let issuing = Issuing::start().await;
    issuing.answer(StatusCode::INTERNAL_SERVER_ERROR, "");
    assert_eq!(issuing.ask("a").await, Err(AuthError::Unavailable));
    assert_eq!((issuing.ask("a").await, issuing.asked()), (Err(AuthError::Unavailable), 1), "no faster for that");
    issuing.publish(&["a"]);
    issuing.clock.advance(10);
    assert_eq!(issuing.ask("a").await, Ok(()));
}

#[tokio::test]
async fn what_is_no_set_of_keys_changes_nothing() {
    let issuing = Issuing::start().await;
    issuing.publish(&["a"]);
    assert_eq!(issuing.ask("a").await, Ok(()));
    let twice = json!({"keys": [jwk("b"), jwk("b")]}).to_string();
    let good = json!({"keys": [jwk("b")]}).to_string();
    let many: Vec<Jwk> = (0..101).map(|number| jwk(&number.to_string())).chain([jwk("b")]).collect();
    for (what, status, body) in [
        ("an error", StatusCode::INTERNAL_SERVER_ERROR, good.clone()),
        ("a redirect", StatusCode::FOUND, good.clone()),
        ("no content", StatusCode::NO_CONTENT, String::new()),
        ("nothing", StatusCode::OK, String::new()),
        ("a page", StatusCode::OK, "<html>".to_owned()),
        ("no keys", StatusCode::OK, "{}".to_owned()),
        ("a list", StatusCode::OK, "[]".to_owned()),
        ("more behind it", StatusCode::OK, format!("{good}x")),
        ("one id twice", StatusCode::OK, twice),
        ("too large", StatusCode::OK, format!("{good}{}", " ".repeat(512 * 1024))),
        ("too many", StatusCode::OK, json!({ "keys": many }).to_string()),
        ("deep", StatusCode::OK, "[".repeat(100_000)),
    ] {
        issuing.answer(status, body);
        issuing.clock.advance(10);
        let before = issuing.asked();
        assert_eq!(issuing.ask("b").await, Err(AuthError::Key), "{what}");
        assert_eq!((issuing.ask("a").await, issuing.asked() - before), (Ok(()), 1), "{what}");
    }
    issuing.answer(StatusCode::OK, good);
    issuing.clock.advance(10);
    assert_eq!(issuing.ask("b").await, Ok(()));
}

#[tokio::test]
async fn a_removed_key_works_through_its_grace_and_an_unreachable_issuer_ends_none() {
    let issuing = Issuing::start().await;
    issuing.publish(&["a", "b"]);
    assert_eq!(issuing.ask("a").await, Ok(()));
    issuing.answer(StatusCode::SERVICE_UNAVAILABLE, "");
    issuing.clock.advance(50_000);
    assert_eq!(issuing.ask("x").await, Err(AuthError::Key));
    assert_eq!((issuing.ask("a").await, issuing.ask("b").await), (Ok(()), Ok(())), "long past every refresh");
    issuing.publish(&["b"]);
    issuing.clock.advance(10);
    assert_eq!(issuing.ask("x").await, Err(AuthError::Key));
    issuing.clock.advance(599);
    assert_eq!(issuing.ask("a").await, Ok(()));
    issuing.answer(StatusCode::SERVICE_UNAVAILABLE, "");
    issuing.clock.advance(1);
    assert_eq!((issuing.ask("a").await, issuing.ask("b").await), (Err(AuthError::Key), Ok(())), "gone, though the issuer is too");
}

#[tokio::test]
async fn a_token_that_was_verified_before_is_judged_anew_by_its_time_and_its_key() {
    let issuing = Issuing::start().await;
    let token = signed("ec", Some("a"), &with("url", json!({"exp": NOW + 2000})));
    let ask = async || issuing.authenticator.authenticate(&headers(&token)).await.map(|_| ());
    issuing.publish(&["a"]);
    assert_eq!((ask().await, ask().await), (Ok(()), Ok(())));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut another = Jwk::from_encoding_key(
        &jsonwebtoken::EncodingKey::from_ec_pem(other.serialize_pem().as_bytes()).unwrap(),
        jsonwebtoken::Algorithm::ES256,
    )
    .unwrap();
    another.common.key_id = Some("a".to_owned());
    issuing.answer(StatusCode::OK, json!({ "keys": [another] }).to_string());
    issuing.clock.advance(10);
    assert_eq!((issuing.ask("x").await, ask().await), (Err(AuthError::Key), Err(AuthError::Signature)), "of that name there is another");
    issuing.publish(&["a"]);
    issuing.clock.advance(10);
    assert_eq!((issuing.ask("x").await, ask().await), (Err(AuthError::Key), Ok(())));
    issuing.clock.advance(2010);
    assert_eq!(ask().await, Err(AuthError::Expired));
}

#[tokio::test]
async fn whoever_goes_away_does_not_end_the_fetch_that_others_wait_for() {
    let issuing = Arc::new(Issuing::start().await);
    issuing.publish(&["a"]);
    issuing.site.gate.forget_permits(1_000_000);
    let ask = || {
        let issuing = Arc::clone(&issuing);
        tokio::spawn(async move { issuing.ask("a").await })
    };
    let first = ask();
    while issuing.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let second = ask();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    issuing.site.gate.add_permits(10);
    assert_eq!((second.await.unwrap(), issuing.asked()), (Ok(()), 1));
}

#[tokio::test]
async fn keys_are_fetched_without_a_token_too_until_the_server_goes() {
    let issuing = Issuing::start().await;
    issuing.publish(&["a"]);
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (authenticator, stop) = (Arc::clone(&issuing.authenticator), stop.clone());
        async move { authenticator.keep_fresh(stop).await }
    });
    while issuing.asked() == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
    assert_eq!(issuing.ask("a").await, Ok(()));
}
