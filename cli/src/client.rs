//! The HTTP API, spoken: one method a call, and what may be tried again.

mod credentials;
mod error;
mod feed;
mod imports;
mod shares;
mod sse;
mod tenants;
mod tokens;
mod trace;

use std::{num::NonZeroU16, time::Duration};

use alpine_api::{
    App, ClassList, DownSession, ExtendSession, IDEMPOTENCY_KEY, OpenSession, OpenedSession, OperationId, ProtectedResource, SessionId,
    UpSession,
};
use backon::{ExponentialBuilder, Retryable};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

pub use self::{
    error::ClientError,
    feed::{Contact, Feed, Numbered},
};
use self::{
    error::{Refusal, other_version},
    trace::Trace,
};
use crate::{
    config::Settings,
    http::{self, Tls},
    token::Identity,
    ui::Ui,
    wire::{EventPage, Operation, Session, SessionPage, WhoAmI},
};

/// How long one request waits for an operation to end.
const WAIT: Duration = Duration::from_secs(30);
/// What an answer may take beyond the time it was asked to wait.
const READ_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a call that cannot be answered is tried again.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// What would be done twice.
    Once,
    /// A question: a moment.
    Ask,
    /// A request to begin something: through a short interruption.
    Begin,
    /// One of many requests that mean the same however often they come: through an interruption, and as fast as they are
    /// taken.
    Import,
    /// Waiting for an operation: through a restart of the server, up to the longest deadline of an operation.
    Wait,
}

impl Patience {
    fn backoff(self) -> ExponentialBuilder {
        let total = match self {
            Self::Once => Duration::ZERO,
            Self::Ask => Duration::from_secs(3),
            Self::Begin => Duration::from_secs(10),
            Self::Import => Duration::from_secs(120),
            Self::Wait => Duration::from_secs(12 * 60),
        };
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .without_max_times()
            .with_total_delay(Some(total))
    }
}

/// A connection to one server in one caller's name.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    identity: Identity,
    trace: Trace,
}

/// What narrows a list.
#[derive(Debug, Default, Serialize)]
pub struct ListQuery {
    pub limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Client {
    pub fn new(settings: &Settings, identity: Identity) -> Result<Self, ClientError> {
        let http = http::client(settings.ca_file.as_deref(), &settings.server)?;
        Ok(Self { http, server: settings.server.clone(), identity, trace: Trace::of(settings.traceparent.as_deref()) })
    }

    /// Begins an `up`; every try carries the same key, so that it begins once. The answer comes at once,
    /// so that an interrupted wait can say which operation goes on.
    pub async fn up(&self, ui: &Ui, body: &UpSession, key: &str) -> Result<Operation, ClientError> {
        let request = || self.request(Method::POST, "v1/sessions", None).header(IDEMPOTENCY_KEY, key).json(body);
        self.call(ui, Patience::Begin, request).await
    }

    /// Begins a `down`, which is the same one however often it is asked for.
    pub async fn down(&self, ui: &Ui, id: SessionId, body: &DownSession) -> Result<Operation, ClientError> {
        let path = format!("v1/sessions/{id}/down");
        self.call(ui, Patience::Begin, || self.request(Method::POST, &path, None).json(body)).await
    }

    /// Never moves the end of a lifetime back, so that it may be asked twice.
    pub async fn extend(&self, ui: &Ui, id: SessionId, body: &ExtendSession) -> Result<Session, ClientError> {
        let path = format!("v1/sessions/{id}/extend");
        self.call(ui, Patience::Begin, || self.request(Method::POST, &path, None).json(body)).await
    }

    /// An address that lets a browser in. One whose answer is lost is nobody's, and ends by itself.
    pub async fn open_session(&self, ui: &Ui, app: App) -> Result<OpenedSession, ClientError> {
        let (path, body) = (format!("v1/sessions/{}/open", app.session), OpenSession { port: app.port.map(NonZeroU16::get) });
        self.call(ui, Patience::Ask, || self.request(Method::POST, &path, None).json(&body)).await
    }

    /// Waits a while for the operation to end.
    pub async fn operation(&self, ui: &Ui, id: OperationId) -> Result<Operation, ClientError> {
        let path = format!("v1/operations/{id}");
        self.call(ui, Patience::Wait, || self.request(Method::GET, &path, Some(WAIT))).await
    }

    pub async fn session(&self, ui: &Ui, id: SessionId, patience: Patience) -> Result<Session, ClientError> {
        let path = format!("v1/sessions/{id}");
        self.call(ui, patience, || self.request(Method::GET, &path, None)).await
    }

    pub async fn sessions(&self, ui: &Ui, query: &ListQuery, patience: Patience) -> Result<SessionPage, ClientError> {
        self.call(ui, patience, || self.request(Method::GET, "v1/sessions", None).query(query)).await
    }

    pub async fn events(&self, ui: &Ui, id: SessionId, after: i64, patience: Patience) -> Result<EventPage, ClientError> {
        let path = format!("v1/sessions/{id}/events");
        self.call(ui, patience, || self.request(Method::GET, &path, None).query(&[("after", after)])).await
    }

    pub async fn classes(&self, ui: &Ui) -> Result<ClassList, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/classes", None)).await
    }

    pub async fn whoami(&self, ui: &Ui) -> Result<WhoAmI, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/whoami", None)).await
    }

    /// Where a token for this server is to be had; anybody may ask.
    pub async fn protected_resource(&self, ui: &Ui) -> Result<ProtectedResource, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, ".well-known/oauth-protected-resource", None)).await
    }

    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path()));
        self.http.request(method, url).header("traceparent", self.trace.header())
    }

    /// Events as they happen: an answer without an end.
    fn stream(&self, path: &str) -> RequestBuilder {
        self.bare(Method::GET, path).header(header::ACCEPT, "text/event-stream")
    }

    fn request(&self, method: Method, path: &str, wait: Option<Duration>) -> RequestBuilder {
        let timeout = wait.unwrap_or_default() + READ_TIMEOUT;
        let request = self.bare(method, path).header(header::ACCEPT, "application/json").timeout(timeout);
        match wait {
            Some(wait) => request.header("prefer", format!("wait={}", wait.as_secs())),
            None => request,
        }
    }

    async fn call<T, F>(&self, ui: &Ui, patience: Patience, request: F) -> Result<T, ClientError>
    where
        T: DeserializeOwned,
        F: Fn() -> RequestBuilder,
    {
        let once = async || self.read(self.opened(ui, request()).await?).await;
        once.retry(patience.backoff())
            .when(|error: &ClientError| error.is_transient(patience))
            // The server knows better when it will be back, within reason.
            .adjust(|error, delay| {
                delay.map(|delay| error.retry_after().map_or(delay, |after| after.min(Duration::from_secs(10)).max(delay)))
            })
            .notify(|error, delay| ui.note(&format!("{error}; trying again in {} ms", delay.as_millis())))
            .await
    }

    /// The token is asked for with each try: a long wait outlives one. A login that is refused is renewed once.
    async fn opened(&self, ui: &Ui, request: RequestBuilder) -> Result<Response, ClientError> {
        let Some(bearer) = self.identity.bearer().await? else { return self.sent(ui, request).await };
        let again = request.try_clone();
        let mut refused = match self.sent(ui, request.bearer_auth(&bearer)).await {
            Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::UNAUTHORIZED => refusal,
            answer => return answer,
        };
        match (again, self.identity.renew(&bearer).await?) {
            (Some(request), Some(fresh)) => self.sent(ui, request.bearer_auth(fresh)).await,
            _ => {
                (refused.token_ended, refused.token_from) = (self.identity.ended(), self.identity.given_by());
                Err(ClientError::Refused(refused))
            }
        }
    }

    /// An answer that is not an error; its body is yet to come.
    async fn sent(&self, ui: &Ui, request: RequestBuilder) -> Result<Response, ClientError> {
        let silent = || ClientError::Silent { server: self.server.clone() };
        let (http, request) = request.build_split();
        let request = request.map_err(|source| self.lost(source))?;
        // A stream is not bounded as a whole; its beginning is.
        let patience = request.timeout().copied().unwrap_or(READ_TIMEOUT);
        let sent = tokio::time::timeout(patience, http.execute(request)).await.map_err(|_| silent())?;
        let response = sent.map_err(|source| self.lost(source))?;
        let (status, headers) = (response.status(), response.headers());
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
        ui.note(&format!("{status} from {} (request {request_id}, trace {})", response.url().path(), self.trace.id()));
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let version = other_version(&response);
        let body = response.bytes().await.map_err(|source| self.lost(source))?;
        Err(ClientError::Refused(Box::new(Refusal::new(status, retry_after, version, &body))))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let version = other_version(&response);
        let body = response.bytes().await.map_err(|source| self.lost(source))?;
        // An answer without a body says all by its status.
        let body = if body.is_empty() { b"null" } else { body.as_ref() };
        serde_json::from_slice(body).map_err(|source| ClientError::Unreadable { server: self.server.clone(), source, version })
    }

    fn lost(&self, source: reqwest::Error) -> ClientError {
        let server = self.server.clone();
        match http::tls_fault(&source) {
            Some(Tls::Distrust) => ClientError::Untrusted { server, source },
            Some(Tls::NotSpoken) => ClientError::NotTls { server, source },
            None if server.scheme() == "http" && http::is_unreadable(&source) => ClientError::NotHttp { server, source },
            None => ClientError::Unreachable { server, source },
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
