//! A session's events and its log.

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

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The session's state has changed.
    Transition,
    /// A phase has come further; the state is what it was.
    Progress,
}

impl EventKind {
    pub const ALL: &'static [Self] = &[Self::Transition, Self::Progress];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transition => "transition",
            Self::Progress => "progress",
        }
    }
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that has happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Counts up from 1 within the session, without gaps, transitions and progress together.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub kind: EventKind,
    /// Absent on the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_state: Option<SessionState>,
    /// The state after it: of progress, the state in which it was made.
    pub to_state: SessionState,
    pub at: DateTime<Utc>,
    /// The principal, or `system` for the control plane itself.
    pub actor: String,
    /// Why the state changed, or how far the phase is: a line for people.
    pub reason: String,
    pub operation_id: OperationId,
    /// The fence of the lease under which it was written.
    pub fence: i64,
    /// Of progress: the phase that has come further. There may be others tomorrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("sync"))]
    pub phase: Option<String>,
    /// Of progress, where it is known: how much of this step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub percent: Option<i16>,
}

/// A page of a session's events, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// Give it back as `after` to go on where this page ends.
    #[schema(minimum = 0)]
    pub next_after: i64,
}

/// Who wrote a piece of a session's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    Git,
    Install,
    /// The program that serves the workspace.
    Server,
}

impl LogSource {
    pub const ALL: &'static [Self] = &[Self::Git, Self::Install, Self::Server];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Install => "install",
            Self::Server => "server",
        }
    }
}

impl std::fmt::Display for LogSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A piece of a session's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogChunk {
    /// Counts up from 1 within the session, without gaps.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub source: LogSource,
    /// Whole lines, unless one is longer than a piece may be; without control characters but newline and tab.
    pub text: String,
}

/// A page of a session's log, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LogPage {
    pub chunks: Vec<LogChunk>,
    /// Give it back as `after` to go on where this page ends.
    #[schema(minimum = 0)]
    pub next_after: i64,
    /// The number of the oldest piece that is kept; absent where there is none. Above 1: older ones are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub first_seq: Option<i64>,
}
