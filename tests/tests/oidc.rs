//! The OpenID provider of the tests: what the other tests believe of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{
    api::{self, Reply},
    base,
    oidc::{AUDIENCE, Oidc, SCOPE},
    pki::Pki,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn post(pki: &Pki, url: String, form: &[(&str, &str)]) -> Reply {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    api::send(pki.client().post(url).header("content-type", "application/x-www-form-urlencoded").body(body)).await
}

async fn device(pki: &Pki, oidc: &Oidc) -> Value {
    let form = [("client_id", oidc.client_id.as_str()), ("scope", SCOPE), ("resource", &oidc.resource)];
    post(pki, format!("{}/device/auth", oidc.issuer), &form).await.expect(200).clone()
}

async fn token(pki: &Pki, oidc: &Oidc, device: &Value) -> Reply {
    let code = device["device_code"].as_str().unwrap();
    let form = [("client_id", oidc.client_id.as_str()), ("grant_type", DEVICE), ("device_code", code), ("resource", &oidc.resource)];
    post(pki, format!("{}/token", oidc.issuer), &form).await
}

async fn refresh(pki: &Pki, oidc: &Oidc, refresh_token: &Value) -> Reply {
    let token = refresh_token.as_str().unwrap();
    let form =
        [("client_id", oidc.client_id.as_str()), ("grant_type", "refresh_token"), ("refresh_token", token), ("resource", &oidc.resource)];
    post(pki, format!("{}/token", oidc.issuer), &form).await
}

/// The claims, if a key of the provider's key set signed them for Alpine and they are in time.
async fn claims(pki: &Pki, oidc: &Oidc, token: &str, algorithm: Algorithm) -> Option<Value> {
    let set: JwkSet = serde_json::from_value(oidc.jwks(pki).await).unwrap();
    let key = set.find(&decode_header(token).unwrap().kid.unwrap())?;
    let mut rules = Validation::new(algorithm);
    rules.leeway = 0;
    rules.set_audience(&[AUDIENCE]);
    rules.set_issuer(&[&oidc.issuer]);
    decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &rules).ok().map(|data| data.claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_given_tokens_when_its_person_agrees_and_refreshes_them_until_they_are_revoked() {
    let dir = base::fresh("oidc");
    let pki = Pki::create(&dir);
    let oidc = Oidc::start(&pki).await;
    let asked = device(&pki, &oidc).await;
    assert_eq!(token(&pki, &oidc, &asked).await.expect(400)["error"], "authorization_pending");
    oidc.set(json!({ "slowDowns": 1 })).await;
    assert_eq!(token(&pki, &oidc, &asked).await.expect(400)["error"], "slow_down");
    oidc.approve(asked["user_code"].as_str().unwrap(), "ann", "acme", &["alpine.admin"]).await;
    let given = token(&pki, &oidc, &asked).await.expect(200).clone();
    let claims_of = claims(&pki, &oidc, given["access_token"].as_str().unwrap(), Algorithm::ES256).await.unwrap();
    assert_eq!((&claims_of["sub"], &claims_of["tenant"], &claims_of["roles"][0]), (&json!("ann"), &json!("acme"), &json!("alpine.admin")));

    let second = refresh(&pki, &oidc, &given["refresh_token"]).await.expect(200).clone();
    assert_ne!(second["refresh_token"], given["refresh_token"], "they rotate");
    assert_eq!(oidc.revoke(Some("bob")).await, 0);
    assert_eq!(oidc.revoke(Some("ann")).await, 1);
    assert_eq!(refresh(&pki, &oidc, &second["refresh_token"]).await.expect(400)["error"], "invalid_grant");

    let denied = device(&pki, &oidc).await;
    oidc.deny(denied["user_code"].as_str().unwrap()).await;
    assert_eq!(token(&pki, &oidc, &denied).await.expect(400)["error"], "access_denied");
    assert_eq!(oidc.requests("/device/auth").await.len(), 2);
    base::remove(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_used_twice_ends_the_whole_grant() {
    let dir = base::fresh("oidc");
    let pki = Pki::create(&dir);
    let oidc = Oidc::start(&pki).await;
    let asked = device(&pki, &oidc).await;
    oidc.approve(asked["user_code"].as_str().unwrap(), "ann", "acme", &[]).await;
    let given = token(&pki, &oidc, &asked).await.expect(200).clone();
    let second = refresh(&pki, &oidc, &given["refresh_token"]).await.expect(200).clone();
    refresh(&pki, &oidc, &given["refresh_token"]).await.expect(400);
    refresh(&pki, &oidc, &second["refresh_token"]).await.expect(400);
    base::remove(&dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_minted_as_asked_and_keys_rotate() {
    let dir = base::fresh("oidc");
    let pki = Pki::create(&dir);
    let mut oidc = Oidc::start(&pki).await;
    let good = oidc.mint("ann", "acme", &[], json!({})).await;
    assert_eq!(claims(&pki, &oidc, &good, Algorithm::ES256).await.unwrap()["tenant"], "acme");
    for bad in [json!({ "ttl": -1 }), json!({ "audience": "other" }), json!({ "claims": { "exp": null } })] {
        let token = oidc.mint("ann", "acme", &[], bad.clone()).await;
        assert_eq!(claims(&pki, &oidc, &token, Algorithm::ES256).await, None, "{bad}");
    }

    let first = oidc.jwks(&pki).await["keys"][0]["kid"].as_str().unwrap().to_owned();
    let second = oidc.rotate(true).await;
    assert!(claims(&pki, &oidc, &good, Algorithm::ES256).await.is_some(), "the old key is still published");
    assert_eq!(decode_header(&oidc.mint("ann", "acme", &[], json!({})).await).unwrap().kid, Some(second));
    let third = oidc.rotate_with(json!({ "algorithm": "RS256", "keep": false })).await;
    assert_eq!(claims(&pki, &oidc, &good, Algorithm::ES256).await, None, "it is not published any more");
    let by_third = oidc.mint("ann", "acme", &[], json!({})).await;
    assert_eq!(decode_header(&by_third).unwrap().kid, Some(third));
    assert!(claims(&pki, &oidc, &by_third, Algorithm::RS256).await.is_some());
    let by_first = oidc.mint("ann", "acme", &[], json!({ "kid": first })).await;
    assert_eq!(decode_header(&by_first).unwrap().alg, Algorithm::ES256);
    assert!(oidc.requests("/jwks").await.len() >= 6);

    oidc.set(json!({ "jwksStatus": 503 })).await;
    assert_eq!(pki.client().get(oidc.jwks_uri()).send().await.unwrap().status(), 503);
    oidc.stop();
    assert!(pki.client().get(oidc.jwks_uri()).send().await.is_err());
    base::remove(&dir);
}
