//! The durable record that a stopped session leaves.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{Failure, OperationId, OperationKind, OperationStatus, SessionId, SessionState, Transition};

/// The version of the record's form.
pub const RECORD_SCHEMA_VERSION: &str = "v1";
/// The largest record that is stored, in bytes: 512 KiB.
pub const RECORD_MAX_BYTES: usize = 524_288;

/// An operation in a session's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OperationSummary {
    pub operation_id: OperationId,
    pub kind: OperationKind,
    pub status: OperationStatus,
    pub actor: String,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// What is kept of a session for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionRecord {
    pub schema_version: String,
    pub session_id: SessionId,
    pub principal_id: String,
    pub repo_url: String,
    pub branch: String,
    /// The terminal state.
    pub state: SessionState,
    pub state_transitions: Vec<Transition>,
    pub started_at: DateTime<Utc>,
    pub stopped_at: DateTime<Utc>,
    pub persisted_at: DateTime<Utc>,
    pub operation_history: Vec<OperationSummary>,
    pub last_error: Option<Failure>,
    /// The oldest entries were cut to fit 512 KiB.
    pub history_truncated: bool,
}

/// A stored record with the proof that it is the one that was written.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StoredRecord {
    pub session_id: SessionId,
    pub durable_object_id: String,
    /// SHA-256 of the bytes of `record` exactly as they stand in this answer, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    #[schema(maximum = 524_288)]
    pub size_bytes: i64,
    pub persisted_at: DateTime<Utc>,
    pub verified_at: DateTime<Utc>,
    #[schema(value_type = SessionRecord)]
    pub record: Box<RawValue>,
}
