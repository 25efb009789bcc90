//! Why a call was not answered well, and what is said of it.

use std::time::Duration;

use alpine_api::ErrorCode;
use chrono::{DateTime, Utc};
use reqwest::{Response, StatusCode};
use url::Url;

use super::Patience;
use crate::{
    error::{Report, with_where_to_look},
    http::HttpError,
    token::TokenError,
    ui::time,
    wire::{Problem, Word},
};

/// The header in which the server says its version.
const VERSION: &str = "x-alpine-version";

/// Why a call has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach the server at {server}")]
    Unreachable { server: Url, source: reqwest::Error },
    #[error("the certificate of the server at {server} is not trusted")]
    Untrusted { server: Url, source: reqwest::Error },
    #[error("the server at {server} does not speak TLS")]
    NotTls { server: Url, source: reqwest::Error },
    /// It took the connection, and said something else.
    #[error("the server at {server} did not answer in plain HTTP")]
    NotHttp { server: Url, source: reqwest::Error },
    /// It took the connection and says nothing.
    #[error("the server at {server} does not answer")]
    Silent { server: Url },
    #[error("the answer of the server at {server} could not be read")]
    Unreadable { server: Url, source: serde_json::Error, version: Option<String> },
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
    pub status: StatusCode,
    problem: Problem,
    retry_after: Option<Duration>,
    /// The server's version, where it is not this program's.
    version: Option<String>,
    /// When the token that it refused had ended, where the token says so.
    pub token_ended: Option<DateTime<Utc>>,
    /// Where that token was found, if it was given as it is.
    pub token_from: Option<&'static str>,
}

/// The server's version, if it is another than this program's.
pub fn other_version(response: &Response) -> Option<String> {
    let version = response.headers().get(VERSION)?.to_str().ok()?;
    (version != env!("CARGO_PKG_VERSION")).then(|| version.to_owned())
}

fn versions(server: Option<&str>) -> String {
    server.map_or_else(String::new, |server| format!(" (the server is version {server}, this is alpine {})", env!("CARGO_PKG_VERSION")))
}

impl ClientError {
    /// Whether the same call may be answered in a moment: the connection, a proxy or a server that starts.
    pub fn is_transient(&self, patience: Patience) -> bool {
        match self {
            _ if matches!(patience, Patience::Once) => false,
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Token(error) => error.is_transient(),
            // What is only being waited for is not given up because too many ask.
            Self::Refused(refusal) => {
                let lasting = matches!(patience, Patience::Wait | Patience::Import);
                refusal.is_transient() || lasting && refusal.status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }

    /// Whether the server, or a proxy before it, is there and asks for a later try.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.status.as_u16(), 429 | 503))
    }

    /// Whether it is what was sent that the server does not take, and not who sends it or when.
    pub fn is_of_content(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.status.as_u16(), 400 | 409 | 413 | 422))
    }

    pub fn retry_after(&self) -> Option<Duration> {
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

    /// It is there, and not as it would have to be.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::CONFLICT)
    }

    /// It is there, and another's, who has not shared it.
    pub fn is_anothers(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code().known() == Some(ErrorCode::SessionForbidden))
    }

    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status == StatusCode::FORBIDDEN)
    }

    pub fn report(&self) -> Report {
        match self {
            Self::Unreachable { server, .. } | Self::Silent { server } => Report::new(
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
            Self::NotTls { .. } => Report {
                retryable: false,
                ..Report::new(ErrorCode::Unavailable, self, "check the port; an address of this machine may begin with http://")
            },
            Self::NotHttp { server, .. } => {
                let rest = server.as_str().trim_start_matches("http").trim_end_matches('/');
                let report = Report::new(ErrorCode::Unavailable, self, format!("give its address as https{rest}, or check the port"));
                Report { retryable: false, ..report }
            }
            Self::Unreadable { source, version, .. } => {
                let at = format!("{self}: not of the expected form (column {})", source.column());
                let next = "check that the address is an Alpine server's and that alpine is as new as it";
                Report::new(ErrorCode::Internal, at, format!("{next}{}", versions(version.as_deref())))
            }
            Self::Refused(refusal) => refusal.report(),
            Self::Http(error) => error.report(),
            Self::Token(error) => error.report(),
        }
    }
}

impl Refusal {
    pub fn new(status: StatusCode, retry_after: Option<Duration>, version: Option<String>, body: &[u8]) -> Self {
        // Whatever stood in the way may have answered in its own words.
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        let said = [&problem.cause, &problem.detail, &problem.title].into_iter().flatten().find(|text| !text.is_empty());
        let cause = said.cloned().unwrap_or_else(|| format!("the server answered {status}"));
        Self { cause, status, problem, retry_after, version, token_ended: None, token_from: None }
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
        let next_step = next_step.unwrap_or_else(|| match by_status {
            2 => "try again in a moment".to_owned(),
            _ => "check the request and the server's address".to_owned(),
        });
        // A path that one of the two does not know.
        let stranger =
            self.status == StatusCode::NOT_FOUND && matches!(code.known(), Some(ErrorCode::NotFound | ErrorCode::InvalidRequest));
        Report {
            cause: self.cause.clone(),
            next_step: match self.token_ended {
                Some(end) => {
                    let from = self.token_from.unwrap_or("the token");
                    format!("{from} ended at {}: put a new one there, or take it away and run alpine login", time(end))
                }
                None if let Some(from) = self.token_from => format!("{from} was not accepted: {next_step}"),
                None if stranger => format!("{next_step}{}", versions(self.version.as_deref())),
                None => match self.problem.session_id {
                    Some(session) => with_where_to_look(&self.cause, &next_step, session),
                    None => next_step,
                },
            },
            retryable: self.problem.retryable.unwrap_or_else(|| code.known().map_or(by_status == 2, |code| code.retryable())),
            exit_code: code.known().map_or(by_status, |code| code.exit_code()),
            operation_id: self.problem.operation_id,
            session_id: self.problem.session_id,
            error_code: code,
        }
    }
}
