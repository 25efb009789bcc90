//! Secrets where callers put them: headers, queries, bodies, URLs, tokens good and bad.

use alpine_tests::{api::Reply, cli::text};
use base64::Engine as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{needles::random, stage::Stage};

/// Headers that a proxy, a browser or a mistaken script sends; with a good token and with none.
pub async fn headers(stage: &mut Stage) {
    let basic = stage.secret("the password of Authorization: Basic");
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("ann:{basic}"));
    let request = stage.world.pki.client().get(format!("{}/v1/sessions", stage.world.server.base()));
    stage.ask(request.header("Authorization", format!("Basic {basic}"))).await.expect(401);
    for (name, before) in [
        ("Cookie", "session="),
        ("Cf-Access-Jwt-Assertion", ""),
        ("X-Api-Key", ""),
        ("Proxy-Authorization", "Bearer "),
        ("Baggage", "token="),
        ("Tracestate", "token="),
        ("Forwarded", "for="),
    ] {
        let secret = stage.secret(&format!("the header {name}"));
        let value = format!("{before}{secret}");
        stage.ask(stage.ann().request(Method::GET, "/v1/sessions").header(name, &value)).await;
        let request = stage.world.pki.client().get(format!("{}/v1/sessions", stage.world.server.base()));
        stage.ask(request.header(name, &value)).await.expect(401);
    }
    let secret = stage.secret("a parameter of the query");
    stage.get(&format!("/v1/sessions?access_token={secret}")).await;
    stage.get(&format!("/v1/sessions?limit={secret}")).await.expect(400);
}

/// Bodies that are wrong, with a secret in what is wrong.
pub async fn bodies(stage: &mut Stage) {
    let unknown = stage.secret("an unknown field");
    assert_refused(&stage.up(alpine_tests::REPO, json!({ "github_token": unknown })).await);
    let named = stage.secret("the name of an unknown field");
    let mut body = json!({});
    body[&named] = json!(true);
    assert_refused(&stage.up(alpine_tests::REPO, body).await);
    let typed = stage.secret("a field of the wrong type");
    for wrong in [json!({ "public": typed }), json!({ "repo_token": [typed] }), json!({ "repo_token": { "value": typed } })] {
        assert_refused(&stage.up(alpine_tests::REPO, wrong).await);
    }
    let lines = stage.secret("repo_token of two lines");
    let two = format!("{lines}\n{lines}");
    assert_refused(&stage.up(alpine_tests::REPO, json!({ "repo_token": two })).await);
    let broken = stage.secret("a body that is not JSON");
    for text in
        [format!("{{\"repo_token\":\"{broken}\""), format!("repo_token={broken}"), format!("\"{broken}\""), format!("{{\"a\":{broken}}}")]
    {
        for kind in ["application/json", "application/x-www-form-urlencoded"] {
            let request = stage.ann().request(Method::POST, "/v1/sessions").header("Idempotency-Key", random());
            let reply = stage.ask(request.header("Content-Type", kind).body(text.clone())).await;
            assert_refused(&reply);
        }
    }
    for (name, url) in [
        ("the user's name in a URL", "https://SECRET@github.com/org/repo.git"),
        ("the password in a URL", "https://ann:SECRET@github.com/org/repo.git"),
        ("the query of a URL", "https://github.com/org/repo.git?token=SECRET"),
        ("the fragment of a URL", "https://github.com/org/repo.git#SECRET"),
        ("the password of an ssh URL", "ssh://git:SECRET@github.com/org/repo.git"),
    ] {
        let secret = stage.secret(name);
        let reply = stage.up(&url.replace("SECRET", &secret), json!({ "public": true })).await;
        assert_eq!(reply.body["error_code"], "ERR_INVALID_REPO_URL");
    }
}

/// Tokens that prove nobody: expired, signed by another, of another audience, unsigned.
pub async fn bad_tokens(stage: &mut Stage) {
    let secret = std::fs::read(stage.world.signing_key()).unwrap();
    let other = random().into_bytes();
    let now = issued(&stage.jwt);
    for (name, key, claims) in [
        ("an expired token", &secret, json!({ "iat": now - 900, "nbf": now - 900, "exp": now - 600 })),
        ("a token of another key", &other, json!({})),
        ("a token of another audience", &secret, json!({ "aud": "another" })),
    ] {
        let inside = stage.secret(&format!("{name}: a claim"));
        let mut all =
            json!({ "iss": "alpine-dev", "aud": "alpine", "sub": "ann", "tenant": "dev", "iat": now, "nbf": now - 5, "exp": now + 600 });
        all["jti"] = json!(inside);
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let jwt = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &all, &EncodingKey::from_secret(key)).unwrap();
        stage.know_jwt(name, &jwt);
        refused(stage, &jwt).await;
    }
    let inside = stage.secret("an unsigned token: a claim");
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let (head, claims) = (url.encode(r#"{"alg":"none"}"#), url.encode(json!({ "sub": "ann", "jti": inside }).to_string()));
    refused(stage, &format!("{head}.{claims}.")).await;
    let opaque = stage.secret("a bearer token that is none of ours");
    refused(stage, &opaque).await;
}

async fn refused(stage: &Stage, token: &str) {
    stage.ask(stage.with_token(token).request(Method::GET, "/v1/sessions")).await.expect(401);
    let list = stage.run(stage.alpine(token).args(&["list", "--json"])).await;
    list.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
}

/// When a token was issued, in seconds since 1970.
fn issued(jwt: &str) -> i64 {
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["iat"].as_i64().unwrap()
}

/// Personal access tokens: made, used, used in the wrong place, revoked, used once more.
pub async fn access_tokens(stage: &mut Stage) {
    let (token, id) = new_token(stage, "a personal access token").await;
    stage.ask(stage.with_token(&token).request(Method::GET, "/v1/sessions")).await.expect(200);
    stage.run(stage.alpine(&token).args(&["list", "--json"])).await.ok();
    for method in [Method::GET, Method::DELETE] {
        stage.ask(stage.ann().request(method, &format!("/v1/tokens/{token}"))).await;
    }
    stage.get(&format!("/v1/sessions/{token}")).await;
    let (revoked, other) = new_token(stage, "a revoked personal access token").await;
    stage.ask(stage.ann().request(Method::DELETE, &format!("/v1/tokens/{other}"))).await.expect(204);
    refused(stage, &revoked).await;
    let changed = format!("{}{}", &revoked[..revoked.len() - 1], if revoked.ends_with('a') { 'b' } else { 'a' });
    refused(stage, &changed).await;
    stage.get("/v1/tokens").await.expect(200);
    stage.ask(stage.ann().request(Method::DELETE, &format!("/v1/tokens/{id}"))).await.expect(204);
}

/// A new token and its id. The one answer that shows it is not kept.
async fn new_token(stage: &mut Stage, name: &str) -> (String, String) {
    let body = json!({ "name": "canary", "scopes": ["sessions:read", "sessions:write"] });
    let reply: Reply = alpine_tests::api::send(stage.ann().request(Method::POST, "/v1/tokens").json(&body)).await;
    let (token, id) = (text(reply.expect(201), "token"), text(&reply.body, "token_id"));
    stage.kinds.add(name, token.strip_prefix("alpine_pat_").unwrap().as_bytes());
    stage.keep("an answer of the server", &format!("{:?} {}", reply.headers, reply.text.replace(&token, "")));
    (token, id)
}

/// It is the request's fault.
pub fn assert_refused(reply: &Reply) {
    assert!(reply.status.is_client_error() && reply.status != 401, "{} {}", reply.status, reply.text);
}
