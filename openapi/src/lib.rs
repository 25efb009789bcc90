//! Alpine's contract: everything a client and the server must agree on, and nothing else.
//!
//! Wire types (serde + utoipa), identifiers, the error catalogue and the grammar of the two inputs
//! that both sides check (repository URL, branch). The OpenAPI document is generated from these types
//! and the server's handlers and committed beside this crate as `alpine.v1.json`.

mod branch;
mod error_code;
mod event;
mod ids;
mod operation;
mod problem;
mod record;
mod repo;
mod session;
mod state;

pub use branch::{Branch, BranchError};
pub use error_code::ErrorCode;
pub use event::{EventPage, Transition};
pub use ids::{IdError, OperationId, SessionId};
pub use operation::{Operation, OperationKind, OperationStatus};
pub use problem::{Failure, Problem};
pub use record::{OperationSummary, RECORD_MAX_BYTES, RECORD_SCHEMA_VERSION, SessionRecord, StoredRecord};
pub use repo::{RepoUrl, RepoUrlError, Scheme};
pub use session::{DownSession, Session, SessionPage, SessionSummary, UpSession};
pub use state::SessionState;

/// The header that names an `up`; required by `POST /v1/sessions`.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest `Prefer: wait=N` that is honoured, in seconds; a longer one is cut to it.
pub const MAX_WAIT_SECONDS: u64 = 60;
/// Media type of every error body (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
