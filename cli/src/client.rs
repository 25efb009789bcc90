//! The HTTP API, spoken: one method a call, and what may be tried again.

mod credentials;
mod imports;
mod tenants;
mod tokens;

use std::time::Duration;

use alpine_api::{DownSession, ErrorCode, IDEMPOTENCY_KEY, OperationId, ProtectedResource, SessionId, UpSession};
use backon::{ExponentialBuilder, Retryable};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;
use uuid::Uuid;

use crate::{
    config::Settings,
    error::Report,
    http::{self, HttpError},
    token::{Identity, TokenError},
    ui::Ui,
    wire::{EventPage, Operation, Problem, Session, SessionPage, WhoAmI, Word},
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

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the server at {server}")]
    Unreachable { server: Url, source: reqwest::Error },
    #[error("the certificate of the server at {server} is not trusted")]
    Untrusted { server: Url, source: reqwest::Error },
    #[error("the answer of the server at {server} could not be read")]
    Unreadable { server: Url, source: serde_json::Error },
    #[error("{}", .0.cause)]
    Refused(Box<Refusal>),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The server's (or a proxy's) word that it will not.
#[derive(Debug)]
pub struct Refusal {
    cause: String,
    status: StatusCode,
    problem: Problem,
    retry_after: Option<Duration>,
}

impl ClientError {
    /// Whether the same call may be answered in a moment: the connection, a proxy or a server that starts.
    fn is_transient(&self, patience: Patience) -> bool {
        match self {
            _ if matches!(patience, Patience::Once) => false,
            Self::Unreachable { .. } => true,
            Self::Token(error) => error.is_transient(),
            // What is only being waited for is not given up because too many ask.
            Self::Refused(refusal) => {
                let lasting = matches!(patience, Patience::Wait | Patience::Import);
                refusal.is_transient() || lasting && refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Whether the server knows no such caller.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::UNAUTHORIZED)
    }

    /// Whether the server has nothing at that path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::NOT_FOUND)
    }

    /// Whether it is what was sent that the server does not take, and not who sends it or when.
    pub fn is_of_content(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.status.as_u16(), 400 | 409 | 413 | 422))
    }

    pub fn report(&self) -> Report {
        match self {
            Self::Unreachable { server, .. } => Report::new(
                ErrorCode::Unavailable,
                self,
                format!("check that a server runs at {server} (--server, ALPINE_SERVER); alpine-server dev starts one on this machine"),
            ),
            Self::Untrusted { .. } => Report {
                retryable: false,
                ..Report::new(
                    ErrorCode::Unavailable,
                    self,
                    "name the certificate authority's PEM file with ALPINE_CA_FILE, or as ca_file in the profile",
                )
            },
            Self::Unreadable { source, .. } => {
                let at = format!("{self}: not of the expected form (column {})", source.column());
                Report::new(ErrorCode::Internal, at, "check that the address is an Alpine server's and that alpine is as new as it")
            }
            Self::Refused(refusal) => refusal.report(),
            Self::Http(error) => error.report(),
            Self::Token(error) => error.report(),
        }
    }
}

impl Refusal {
    fn new(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> Self {
        // Whatever stood in the way may have answered in its own words.
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let said = [&problem.cause, &problem.detail, &problem.title].into_iter().flatten().find(|text| !text.is_empty());
        let cause = said.cloned().unwrap_or_else(|| format!("the server answered {status}"));
        Self { cause, status, problem, retry_after }
    }

    fn code(&self) -> Word<ErrorCode> {
        self.problem.error_code.clone().unwrap_or(Word::Known(match self.status.as_u16() {
            429 => ErrorCode::RateLimited,
            502..=504 => ErrorCode::Unavailable,
            500..=599 => ErrorCode::Internal,
            _ => ErrorCode::InvalidRequest,
        }))
    }

    fn is_transient(&self) -> bool {
        matches!(self.status.as_u16(), 502..=504)
            && self.problem.operation_id.is_none()
            && matches!(self.problem.error_code, None | Some(Word::Known(ErrorCode::Unavailable)))
    }

    fn report(&self) -> Report {
        let code = self.code();
        let by_status = if self.status.is_server_error() { 2 } else { 1 };
        let next_step = self.problem.next_step.clone().filter(|text| !text.is_empty());
        Report {
            cause: self.cause.clone(),
            next_step: next_step.unwrap_or_else(|| match by_status {
                2 => "try again in a moment".to_owned(),
                _ => "check the request and the server's address".to_owned(),
            }),
            retryable: self.problem.retryable.unwrap_or_else(|| code.known().map_or(by_status == 2, |code| code.retryable())),
            exit_code: code.known().map_or(by_status, |code| code.exit_code()),
            operation_id: self.problem.operation_id,
            error_code: code,
        }
    }
}

/// A connection to one server in one caller's name.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    identity: Identity,
    /// All requests of one command are one trace.
    trace_id: Uuid,
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
        Ok(Self { http, server: settings.server.clone(), identity, trace_id: Uuid::new_v4() })
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

    /// Waits a while for the operation to end.
    pub async fn operation(&self, ui: &Ui, id: OperationId) -> Result<Operation, ClientError> {
        let path = format!("v1/operations/{id}");
        self.call(ui, Patience::Wait, || self.request(Method::GET, &path, Some(WAIT))).await
    }

    pub async fn session(&self, ui: &Ui, id: SessionId, patience: Patience) -> Result<Session, ClientError> {
        let path = format!("v1/sessions/{id}");
        self.call(ui, patience, || self.request(Method::GET, &path, None)).await
    }

    pub async fn sessions(&self, ui: &Ui, query: &ListQuery) -> Result<SessionPage, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/sessions", None).query(query)).await
    }

    pub async fn events(&self, ui: &Ui, id: SessionId, after: i64, patience: Patience) -> Result<EventPage, ClientError> {
        let path = format!("v1/sessions/{id}/events");
        self.call(ui, patience, || self.request(Method::GET, &path, None).query(&[("after", after)])).await
    }

    pub async fn whoami(&self, ui: &Ui) -> Result<WhoAmI, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, "v1/whoami", None)).await
    }

    /// Where a token for this server is to be had; anybody may ask.
    pub async fn protected_resource(&self, ui: &Ui) -> Result<ProtectedResource, ClientError> {
        self.call(ui, Patience::Ask, || self.request(Method::GET, ".well-known/oauth-protected-resource", None)).await
    }

    fn request(&self, method: Method, path: &str, wait: Option<Duration>) -> RequestBuilder {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path()));
        let span_id = Uuid::new_v4().simple().to_string();
        let request = self
            .http
            .request(method, url)
            .header(header::ACCEPT, "application/json")
            .header("traceparent", format!("00-{}-{}-01", self.trace_id.simple(), &span_id[..16]))
            .timeout(wait.unwrap_or_default() + READ_TIMEOUT);
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
        let once = || self.authorized(ui, request());
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
    async fn authorized<T: DeserializeOwned>(&self, ui: &Ui, request: RequestBuilder) -> Result<T, ClientError> {
        let Some(bearer) = self.identity.bearer().await? else { return self.answer(ui, request).await };
        let again = request.try_clone();
        let refused = match self.answer(ui, request.bearer_auth(&bearer)).await {
            Err(ClientError::Refused(refusal)) if refusal.status == StatusCode::UNAUTHORIZED => ClientError::Refused(refusal),
            answer => return answer,
        };
        match (again, self.identity.renew(&bearer).await?) {
            (Some(request), Some(fresh)) => self.answer(ui, request.bearer_auth(fresh)).await,
            _ => Err(refused),
        }
    }

    async fn answer<T: DeserializeOwned>(&self, ui: &Ui, request: RequestBuilder) -> Result<T, ClientError> {
        let response = request.send().await.map_err(|source| self.lost(source))?;
        let (status, headers) = (response.status(), response.headers());
        let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-");
        ui.note(&format!("{status} from {} (request {request_id}, trace {})", response.url().path(), self.trace_id.simple()));
        let retry_after = headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let body = response.bytes().await.map_err(|source| self.lost(source))?;
        if !status.is_success() {
            return Err(ClientError::Refused(Box::new(Refusal::new(status, retry_after, &body))));
        }
        // An answer without a body says all by its status.
        let body = if body.is_empty() { b"null" } else { body.as_ref() };
        serde_json::from_slice(body).map_err(|source| ClientError::Unreadable { server: self.server.clone(), source })
    }

    fn lost(&self, source: reqwest::Error) -> ClientError {
        let server = self.server.clone();
        if http::is_distrust(&source) { ClientError::Untrusted { server, source } } else { ClientError::Unreachable { server, source } }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
