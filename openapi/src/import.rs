//! A session of another ledger, brought in.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{OperationId, OperationKind, OperationStatus, SessionId, SessionState};

/// The largest body of an import, in bytes: a record and all that is around it.
pub const IMPORT_MAX_BYTES: usize = 1_572_864;
/// The most transitions, operations and keys of one session that are taken.
pub const IMPORT_MAX_TRANSITIONS: usize = 2000;
pub const IMPORT_MAX_OPERATIONS: usize = 500;
pub const IMPORT_MAX_KEYS: usize = 100;

/// One session of a predecessor's ledger with all that belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportSession {
    /// Check everything, write nothing.
    #[serde(default)]
    pub dry_run: bool,
    pub session: ImportedSession,
    /// Oldest first.
    #[serde(default)]
    #[schema(max_items = 2000)]
    pub transitions: Vec<ImportedTransition>,
    /// Oldest first.
    #[serde(default)]
    #[schema(max_items = 500)]
    pub operations: Vec<ImportedOperation>,
    /// The client-request-ids of its `up`.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub keys: Vec<ImportedKey>,
    /// The persisted record, stored byte for byte as it stands here: at most 524288 bytes, `schema_version` "v1".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub record: Option<Box<RawValue>>,
}

/// What the other ledger says of the session itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedSession {
    /// Its id there. Another is derived from it and the tenant, the same each time.
    #[schema(min_length = 1, max_length = 200, examples("ses_019ab1c24d3e7f508192a3b4c5d6e7f8"))]
    pub session_id: String,
    #[schema(min_length = 1, max_length = 255)]
    pub owner_principal_id: String,
    /// Credentials in it are removed where it is certain what is one, and the session is refused where it is not.
    #[schema(max_length = 2048)]
    pub repo_url: String,
    #[schema(max_length = 255)]
    pub branch: String,
    #[serde(default)]
    pub public: bool,
    pub state: SessionState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[0-9a-f]{40}([0-9a-f]{24})?$")]
    pub target_commit_sha: Option<String>,
    pub created_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<DateTime<Utc>>,
    /// Where it differs from the record's, the record's counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 200)]
    pub durable_object_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ImportedFailure>,
}

/// A change of the session's state.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedTransition {
    pub to_state: SessionState,
    pub at: DateTime<Utc>,
    /// Absent: the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An id of `operations`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

/// An operation on the session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedOperation {
    #[schema(min_length = 1, max_length = 200)]
    pub operation_id: String,
    pub kind: OperationKind,
    pub status: OperationStatus,
    /// Absent: the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ImportedFailure>,
}

/// Why something failed, in another ledger's words.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedFailure {
    /// One that is not in the catalogue becomes `ERR_INTERNAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    pub cause: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

/// A client-request-id that named an `up`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedKey {
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub key: String,
    /// An id of `operations`; absent: the session's `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<String>,
}

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    Imported,
    /// It was there, from an earlier import of the very same.
    AlreadyImported,
    /// A dry run found nothing in its way.
    WouldImport,
}

impl ImportOutcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::AlreadyImported => "already_imported",
            Self::WouldImport => "would_import",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    pub outcome: ImportOutcome,
    pub session_id: SessionId,
    /// Its id in the other ledger.
    pub original_id: String,
    /// The state that it has now, or would come to; absent where it has been swept since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SessionState>,
    /// The `down` that verifies its record, while that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_id: Option<OperationId>,
    /// Client-request-ids that answer replays from now on.
    pub keys: Vec<String>,
    /// Those whose operations ended 72 hours ago or more: they are free.
    pub expired_keys: Vec<String>,
    /// What is not as it stood in the other ledger, and why.
    pub warnings: Vec<String>,
}
