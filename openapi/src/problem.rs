//! Errors as they travel: the problem body, and the failure that an operation keeps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ErrorCode, OperationId, SessionId};

/// Why an operation failed. Stored with it, so that every replay is the same error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    pub error_code: ErrorCode,
    /// What happened, in a phrase.
    pub cause: String,
    /// What the caller can do about it.
    pub next_step: String,
    pub retryable: bool,
}

/// An error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem.
    #[serde(rename = "type")]
    #[schema(examples("/docs/errors#ERR_SESSION_NOT_FOUND"))]
    pub kind: String,
    /// The code in words.
    pub title: String,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The same as `cause`.
    pub detail: String,
    /// The request's path.
    pub instance: String,
    pub error_code: ErrorCode,
    /// What happened, in a phrase.
    pub cause: String,
    /// What the caller can do about it.
    pub next_step: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The operation that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// The session of an operation that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The request's id, as in the `x-request-id` header and in the server's logs.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$")]
    pub request_id: String,
}
