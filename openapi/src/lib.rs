//! Alpine's contract: everything a client and the server must agree on, and nothing else.
//!
//! Wire types (serde + utoipa), identifiers, the error catalogue and the grammar of the two inputs
//! that both sides check (repository URL, branch). The OpenAPI document is generated from these types
//! and the server's handlers and committed beside this crate as `alpine.v1.json`.

mod access_token;
mod app;
mod audit;
mod branch;
mod class;
mod credential;
mod error_code;
mod event;
mod ids;
mod import;
mod lifetime;
mod loopback;
mod operation;
mod problem;
mod protected_resource;
mod record;
mod repo;
mod scope;
mod session;
mod share;
mod state;
mod tenant;
mod uncredential;
mod whoami;

pub use access_token::{CreateToken, CreatedToken, Token, TokenPage};
pub use app::{App, AppError};
pub use audit::{AuditEntry, AuditOutcome, AuditPage};
pub use branch::{Branch, BranchError};
pub use class::{Class, ClassList};
pub use credential::{Credential, CredentialKind, CredentialList, CredentialOwner, SetCredential};
pub use error_code::ErrorCode;
pub use event::{Event, EventKind, EventPage, LogChunk, LogPage, LogSource, Transition};
pub use ids::{CredentialId, IdError, OperationId, SessionId, ShareId, TokenId};
pub use import::{
    IMPORT_MAX_BYTES, IMPORT_MAX_KEYS, IMPORT_MAX_OPERATIONS, IMPORT_MAX_TRANSITIONS, ImportOutcome, ImportSession, Imported,
    ImportedFailure, ImportedKey, ImportedOperation, ImportedSession, ImportedTransition,
};
pub use lifetime::{LIFETIME_SECONDS, lifetime_shown};
pub use loopback::is_loopback;
pub use operation::{Operation, OperationKind, OperationStatus};
pub use problem::{Failure, Problem};
pub use protected_resource::{LoginHint, ProtectedResource};
pub use record::{OperationSummary, RECORD_MAX_BYTES, RECORD_SCHEMA_VERSION, SessionRecord, StoredRecord};
pub use repo::{RepoUrl, RepoUrlError, Scheme};
pub use scope::Scope;
pub use session::{DownSession, ExtendSession, OpenSession, OpenedSession, Session, SessionPage, SessionSummary, UpSession};
pub use share::{CreateShare, CreatedShare, Share, ShareList};
pub use state::SessionState;
pub use tenant::{CreateTenant, CreateTenantQuotas, Tenant, TenantPage, TenantQuotas, TenantUsage, UpdateTenant};
pub use uncredential::{UncleanUrl, json_without_credentials, repo_url_without_credentials, without_credentials};
pub use whoami::WhoAmI;

/// The header that names an `up`; required by `POST /v1/sessions`.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest `Prefer: wait=N` that is honoured, in seconds; a longer one is cut to it.
pub const MAX_WAIT_SECONDS: u64 = 60;
/// Media type of every error body (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
