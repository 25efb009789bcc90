//! Every refusal, and how it looks on the wire (RFC 9457).

use std::time::Duration;

use alpine_api::{ErrorCode, Failure, OperationId, Problem, SessionId};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{auth::AuthError, domain::Fault, ledger};

/// Why a request is not answered as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The operation that was asked for has ended badly.
    #[error("operation {operation} failed: {}", failure.cause)]
    Operation { operation: OperationId, session: SessionId, failure: Failure },
    /// The request is not of its form. The cause is shown, so it never holds what was sent.
    #[error("{cause}")]
    Malformed { status: StatusCode, cause: String },
    #[error("the ledger cannot be used")]
    NotReady(#[source] ledger::Error),
    #[error("the server is shutting down")]
    Draining,
    #[error("the request was not answered in time")]
    TimedOut,
    #[error("the body did not come in time")]
    SlowBody,
    /// The caller or its tenant asks for too much.
    #[error("{what}")]
    Limited { what: &'static str, retry_after: Duration },
    /// There is no place for one more request of its class.
    #[error("the server is busy")]
    Busy,
    #[error("a handler panicked")]
    Panicked,
    /// A browser without a cookie that lets it into a session's host, or with one that does so no more.
    #[error("no cookie lets this browser in")]
    NotLetIn,
    /// What a session serves cannot be had here now.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// An answer that has no words of its own: an unknown path, a method that is not there.
    #[error("{0}")]
    Bare(StatusCode),
}

/// Why what a session serves cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreached {
    #[error("this server does not reach the session's machine")]
    Elsewhere,
    #[error("the session's server does not listen")]
    Silent,
    /// At a port of the session's own choice.
    #[error("no program of the session listens on this port where it is reached from here: in a container that is 0.0.0.0, else 127.0.0.1")]
    Unheard,
    #[error("the session's sandbox cannot be looked at")]
    Unseen,
    #[error("the session's server does not answer")]
    NoAnswer,
}

impl Unreached {
    const fn next_step(self) -> &'static str {
        match self {
            Self::Elsewhere => {
                "try again in a moment; if it stays so, see alpine status <session-id>, and whether the proxy leads this host to the session's machine"
            }
            Self::Unheard => "start a program in the session that listens there, then try again",
            Self::Silent | Self::Unseen | Self::NoAnswer => RETRY,
        }
    }
}

impl ApiError {
    pub fn malformed(cause: impl Into<String>) -> Self {
        Self::Malformed { status: StatusCode::BAD_REQUEST, cause: cause.into() }
    }

    /// Where a token alone lets in.
    pub fn no_token() -> Self {
        AuthError::Missing.into()
    }

    /// Of its form, with a value that cannot be taken.
    pub fn value(cause: impl Into<String>) -> Self {
        Self::Malformed { status: StatusCode::UNPROCESSABLE_ENTITY, cause: cause.into() }
    }
}

/// A problem that lacks what only the request knows; the `problems` layer completes and sends it.
#[derive(Debug, Clone)]
pub(super) struct Unsent {
    pub(super) problem: Problem,
    /// An operation's failure was counted when it happened; telling it again is no second one.
    pub(super) counts: bool,
}

/// Stands in the extensions of an answer that is a session's own: it stays as it is, whatever its status.
#[derive(Debug, Clone, Copy)]
pub struct Foreign;

struct Refusal {
    code: ErrorCode,
    status: u16,
    cause: String,
    next_step: String,
    retryable: bool,
    operation: Option<OperationId>,
    session: Option<SessionId>,
    /// In seconds.
    retry_after: u64,
}

impl Refusal {
    fn new(code: ErrorCode, cause: impl Into<String>, next_step: impl Into<String>) -> Self {
        let (cause, next_step) = (cause.into(), next_step.into());
        Self {
            code,
            status: code.http_status(),
            cause,
            next_step,
            retryable: code.retryable(),
            operation: None,
            session: None,
            retry_after: 1,
        }
    }

    fn status(self, status: StatusCode) -> Self {
        Self { status: status.as_u16(), ..self }
    }
}

const RETRY: &str = "try again in a moment";
const REPORT: &str = "try again; if it happens again, report it with its request id";

/// Understood, and not to be had as it is asked for: another status than the code's own.
const fn is_unprocessable(fault: &Fault) -> bool {
    use Fault as F;
    matches!(fault, F::KeyReused { .. } | F::NotImportable(_) | F::TooLong(_) | F::IdleTooLong { .. } | F::NoSuchClass { .. })
}

/// The one place where a refusal gets its status, its code and its words.
fn refusal(error: &ApiError) -> Refusal {
    use ErrorCode as C;
    match error {
        ApiError::Auth(error @ AuthError::Unavailable) => Refusal::new(C::Unavailable, error.to_string(), error.next_step()),
        ApiError::Auth(error) => Refusal::new(C::CallerIdentityRequired, "caller identity is required", error.next_step()),
        ApiError::Fault(fault) | ApiError::Ledger(ledger::Error::Fault(fault)) => {
            let refusal = Refusal { operation: fault.operation(), ..Refusal::new(fault.code(), fault.to_string(), fault.next_step()) };
            if is_unprocessable(fault) { refusal.status(StatusCode::UNPROCESSABLE_ENTITY) } else { refusal }
        }
        ApiError::Operation { operation, session, failure } => Refusal {
            retryable: failure.retryable,
            operation: Some(*operation),
            session: Some(*session),
            ..Refusal::new(failure.error_code, failure.cause.as_str(), failure.next_step.as_str())
        },
        ApiError::Malformed { status, cause } => {
            Refusal::new(C::InvalidRequest, cause.as_str(), "correct the request; its form is in /openapi.json").status(*status)
        }
        ApiError::Ledger(ledger::Error::SchemaBehind) => Refusal::new(C::Unavailable, "the database's schema is not current", RETRY),
        ApiError::Ledger(ledger::Error::Unavailable(_)) => Refusal::new(C::Unavailable, "the database is not available", RETRY),
        ApiError::NotReady(ledger::Error::SchemaBehind) => {
            Refusal::new(C::Unavailable, "the database's schema is not current", "run alpine-server migrate of this version")
        }
        ApiError::NotReady(_) => Refusal::new(C::Unavailable, "the database is away", RETRY),
        ApiError::Draining => Refusal::new(C::Unavailable, "the server is shutting down", RETRY),
        ApiError::TimedOut => Refusal::new(C::Unavailable, "the request was not answered in time", RETRY),
        ApiError::SlowBody => Refusal {
            retryable: true,
            ..Refusal::new(C::InvalidRequest, "the body did not come in time", "send the whole body at once")
                .status(StatusCode::REQUEST_TIMEOUT)
        },
        ApiError::Limited { what, retry_after } => {
            let retry_after = whole_seconds(*retry_after).max(1);
            Refusal { retry_after, ..Refusal::new(C::RateLimited, *what, format!("send less; try again in {retry_after} s")) }
        }
        ApiError::NotLetIn => {
            Refusal::new(C::CallerIdentityRequired, "caller identity is required", "open it with alpine open <session-id>")
        }
        ApiError::Unreached(why) => Refusal::new(C::Unavailable, why.to_string(), why.next_step()),
        ApiError::Busy => Refusal::new(C::Unavailable, "the server is busy", RETRY),
        ApiError::Ledger(_) | ApiError::Panicked => Refusal::new(C::Internal, "internal error", REPORT),
        ApiError::Bare(status) if status.is_server_error() => Refusal::new(C::Internal, "internal error", REPORT).status(*status),
        ApiError::Bare(status) => {
            let cause = match *status {
                StatusCode::NOT_FOUND => "there is nothing at this path",
                StatusCode::METHOD_NOT_ALLOWED => "this path does not take that method",
                _ => "the request is not of its form",
            };
            Refusal::new(C::InvalidRequest, cause, "see /openapi.json for what there is").status(*status)
        }
    }
}

/// Rounded up: who comes back then does not come too early.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Refusal { code, status, cause, next_step, retryable, operation, session, retry_after } = refusal(&self);
        // A flood is counted; a line for each would be a flood of its own. A load balancer that asks one that goes is none.
        let told = !matches!(self, Self::Busy | Self::Draining | Self::Unreached(_));
        if told && (code == ErrorCode::Internal || code == ErrorCode::Unavailable) {
            // The caller is told none of this.
            tracing::error!(error = &self as &dyn std::error::Error, "refused");
        } else {
            tracing::debug!(%code, reason = %self, "refused");
        }
        let counts = !matches!(self, Self::Operation { .. } | Self::Draining);
        let mut response = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        if response.status() == StatusCode::UNAUTHORIZED {
            let challenge = if let Self::Auth(error) = &self { error.challenge() } else { AuthError::Missing.challenge() };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if matches!(status, 429 | 503) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        let problem = Problem {
            kind: format!("/docs/errors#{code}"),
            title: code.title().to_owned(),
            status,
            detail: cause.clone(),
            instance: String::new(),
            error_code: code,
            cause,
            next_step,
            retryable,
            operation_id: operation,
            session_id: session,
            request_id: String::new(),
        };
        response.extensions_mut().insert(Unsent { problem, counts });
        response
    }
}
