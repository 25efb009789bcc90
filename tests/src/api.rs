//! The HTTP API, called directly.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// A caller with a token.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

/// An answer: its status, its headers and its JSON body (`Null` when it has none).
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Api {
    pub fn new(client: reqwest::Client, base: String, token: String) -> Self {
        Self { client, base, token }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    /// A request with a JSON body.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Reply {
        send(self.request(method, path).json(body)).await
    }

    pub async fn down(&self, session_id: &str, body: Value) -> Reply {
        send(self.request(Method::POST, &format!("/v1/sessions/{session_id}/down")).json(&body)).await
    }

    /// Accepts an `up` and does not wait for it.
    pub async fn up(&self, key: &str, repo_url: &str, branch: &str) -> Reply {
        self.try_up(key, repo_url, branch).await.expect("the server answers")
    }

    /// The same where the server may be gone.
    pub async fn try_up(&self, key: &str, repo_url: &str, branch: &str) -> reqwest::Result<Reply> {
        let body = json!({ "repo_url": repo_url, "branch": branch, "public": true });
        try_send(self.request(Method::POST, "/v1/sessions").header("Idempotency-Key", key).json(&body)).await
    }
}

/// The reply to a request.
pub async fn send(request: RequestBuilder) -> Reply {
    try_send(request).await.expect("the server answers")
}

/// The reply to a request, if one comes.
pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Reply { status, headers, text, body })
}

impl Reply {
    /// The request's id.
    pub fn request_id(&self) -> &str {
        self.headers["x-request-id"].to_str().unwrap()
    }

    /// The answer without what is of this very request: its id, and the path.
    pub fn general(&self) -> String {
        let path = self.body["instance"].as_str().unwrap_or_default();
        format!("{} {}", self.status, self.text.replace(self.request_id(), "").replace(path, ""))
    }

    /// The body of an answer that must have this status.
    pub fn expect(&self, status: u16) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        &self.body
    }
}

/// A token as the configured issuer signs it, for ten minutes.
#[expect(clippy::disallowed_methods, reason = "a token's expiry is real time")]
pub fn token(secret: &[u8], tenant: &str, principal: &str, roles: &[&str]) -> String {
    let now = chrono::Utc::now().timestamp();
    let claims = json!({
        "iss": "alpine-dev", "aud": "alpine", "sub": principal, "tenant": tenant, "roles": roles,
        "iat": now, "nbf": now - 5, "exp": now + 600,
    });
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret)).unwrap()
}
