//! A session's events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{OperationId, SessionState};

/// One change of a session's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// Counts up from 1 within the session, without gaps.
    #[schema(minimum = 1)]
    pub seq: i64,
    /// Absent on the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_state: Option<SessionState>,
    pub to_state: SessionState,
    pub at: DateTime<Utc>,
    /// The principal, or `system` for the control plane itself.
    pub actor: String,
    pub reason: String,
    pub operation_id: OperationId,
    /// The fence of the lease under which it was written.
    pub fence: i64,
}

/// A page of a session's events, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub events: Vec<Transition>,
    /// Give it back as `after` to go on where this page ends.
    pub next_after: i64,
}
