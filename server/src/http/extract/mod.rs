//! What handlers take from a request. Each refusal is a problem; none repeats what was sent.

mod after;
mod caller;
mod idempotency_key;
mod json;
mod lent;
mod path;
mod query;
mod stream;
mod wait;

pub use after::After;
pub use caller::Caller;
pub use idempotency_key::Key;
pub use json::{ApiJson, ApiJsonOrDefault};
pub use path::{CredentialPath, OperationPath, SessionPath, SharePath, TenantPath, TokenPath};
pub use query::ApiQuery;
pub use stream::{LastEventId, Resume, WantsStream};
pub use wait::{Prefer, Wait};
