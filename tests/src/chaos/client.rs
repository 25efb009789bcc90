//! A careful client of the API: any replica will do, and what was not answered is asked again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use super::journal::{Journal, Of};
use crate::ground::Ground;

const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// An `up` as it is asked for: the same for every retry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Up {
    pub tenant: String,
    pub principal: String,
    pub key: String,
    pub repo_url: String,
    pub branch: &'static str,
}

/// An answer; `None` in its place when there was none.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: u16,
    pub body: Value,
}

impl Told {
    /// What this request is answered.
    pub async fn of(request: reqwest::RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok(Self { status, body: serde_json::from_str(&response.text().await?).unwrap_or_default() })
    }

    /// Whether asking again may get another answer.
    fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.body[name].as_str().map(str::to_owned)
    }
}

#[derive(Debug, Clone)]
pub struct Client {
    pub ground: Arc<Ground>,
    pub journal: Arc<Journal>,
    http: reqwest::Client,
    bases: Arc<Vec<String>>,
    /// Nothing is asked again after this.
    until: Instant,
}

impl Client {
    pub fn new(ground: Arc<Ground>, journal: Arc<Journal>, bases: Vec<String>, until: Instant) -> Self {
        Self { http: ground.pki.client(), ground, journal, bases: Arc::new(bases), until }
    }

    /// One who asks until then.
    pub fn until(&self, until: Instant) -> Self {
        Self { until, ..self.clone() }
    }

    /// One with a connection of its own, which ends when it is dropped.
    pub fn alone(&self) -> Self {
        Self { http: self.ground.pki.client(), ..self.clone() }
    }

    /// One who knows one replica.
    pub fn only(&self, base: &str) -> Self {
        Self { bases: Arc::new(vec![base.to_owned()]), ..self.clone() }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    pub async fn up(&self, up: &Up) -> Option<Told> {
        self.journal.asks(up);
        let body = json!({ "repo_url": up.repo_url, "branch": up.branch, "public": true });
        let of = Of { tenant: &up.tenant, principal: &up.principal, key: Some(&up.key), session_id: None };
        self.insist("up", of, || (Method::POST, "/v1/sessions".to_owned(), Some(body.clone()))).await
    }

    pub async fn down(&self, up: &Up, session: &str, body: Value) -> Option<Told> {
        let of = Of { tenant: &up.tenant, principal: &up.principal, key: None, session_id: Some(session) };
        self.insist("down", of, || (Method::POST, format!("/v1/sessions/{session}/down"), Some(body.clone()))).await
    }

    pub async fn get(&self, action: &'static str, up: &Up, path: &str) -> Option<Told> {
        let of = Of { tenant: &up.tenant, principal: &up.principal, key: None, session_id: None };
        self.insist(action, of, || (Method::GET, path.to_owned(), None)).await
    }

    /// One `list`, whatever comes of it.
    pub async fn list(&self, action: &'static str, tenant: &str, principal: &str) -> Option<Told> {
        let of = Of { tenant, principal, key: None, session_id: None };
        self.once(action, of, (Method::GET, "/v1/sessions?limit=50".to_owned(), None)).await
    }

    /// Until the operation has ended or the time is over.
    pub async fn settle(&self, up: &Up, operation: &str) -> Option<Value> {
        while !self.is_over() {
            let told = self.get("operation", up, &format!("/v1/operations/{operation}")).await?;
            let status = told.body["status"].as_str().unwrap_or_default();
            if told.status != 200 || !matches!(status, "queued" | "running") {
                return Some(told.body);
            }
        }
        None
    }

    async fn insist(&self, action: &'static str, of: Of<'_>, request: impl Fn() -> (Method, String, Option<Value>)) -> Option<Told> {
        let mut refusals = 0;
        loop {
            let told = self.once(action, of, request()).await;
            // A quota may stay used up for the whole run.
            refusals += u32::from(told.as_ref().is_some_and(|told| told.status == 429));
            if told.as_ref().is_some_and(|told| !told.is_passing()) || refusals > 3 || self.is_over() {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(50..600))).await;
        }
    }

    async fn once(&self, action: &'static str, of: Of<'_>, (method, path, body): (Method, String, Option<Value>)) -> Option<Told> {
        let base = &self.bases[fastrand::usize(..self.bases.len())];
        let token = self.ground.token(of.tenant, of.principal, &[]);
        let mut request = self.http.request(method, format!("{base}{path}")).bearer_auth(token).timeout(ANSWERED_WITHIN);
        request = request.header("Prefer", "wait=4");
        if let Some(key) = of.key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let asked = Instant::now();
        match Told::of(request).await {
            Ok(told) => {
                self.journal.counts(action, told.status);
                if matches!(action, "up" | "down") {
                    self.journal.answered(of, asked, told.status, &told.body);
                }
                Some(told)
            }
            Err(_) => {
                self.journal.counts(action, "no answer");
                None
            }
        }
    }
}
