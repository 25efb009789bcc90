//! Sessions on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Branch, Failure, OperationId, RepoUrl, SessionId, SessionState, Transition};

/// A request for a ready session.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpSession {
    /// What to clone.
    #[schema(value_type = RepoUrl)]
    pub repo_url: String,
    /// The branch, as in `refs/heads/<branch>`. Without one the answer is `400 ERR_BRANCH_REQUIRED`.
    #[serde(default)]
    #[schema(value_type = Branch, required = true)]
    pub branch: String,
    /// The repository is read without credentials.
    #[serde(default)]
    pub public: bool,
    /// A token for the repository's host. Sealed on arrival, opened for git only, erased when the
    /// operation ends; not part of what makes two requests the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only, format = Password, max_length = 4096, pattern = "^\\s*[^\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    pub repo_token: Option<String>,
    /// How long the session may be ready, in seconds; then it is stopped as by `down`. Without it, and where the server sets no
    /// bound, for as long as somebody wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 31_536_000)]
    pub max_lifetime_seconds: Option<i32>,
    /// How long the session may be ready without being used, in seconds; then it is stopped as by `down`. Only where sessions have hosts
    /// of their own, which is where uses are seen: elsewhere it is `409 ERR_OPERATION_CONFLICT`. Without it, and where the server sets
    /// no bound, for as long as somebody wants it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 31_536_000)]
    pub idle_timeout_seconds: Option<i32>,
    /// What the session is made in, of `GET /v1/classes`. Without it: the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 32, pattern = "^[a-z][a-z0-9-]*$", examples("standard"))]
    pub class: Option<String>,
}

impl std::fmt::Debug for UpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpSession")
            .field("branch", &self.branch)
            .field("public", &self.public)
            .field("has_token", &self.repo_token.is_some())
            .finish_non_exhaustive()
    }
}

/// A request to stop a session and keep its record.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DownSession {
    /// Try again to store the record of a session that stopped without it.
    #[serde(default)]
    pub retry_persist: bool,
    /// Kill at once in place of the graceful stop.
    #[serde(default)]
    pub force: bool,
    /// Kept with the transition, and in the audit log when the session is another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500, pattern = "^\\s*[^\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    pub reason: Option<String>,
}

/// A request to keep a session for longer.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendSession {
    /// For how long from now on, in seconds; without it, for as long as it was given when it began, as far as the server allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 31_536_000)]
    pub lifetime_seconds: Option<i32>,
}

/// Which of the things that a session serves a browser is let into.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenSession {
    /// A port on which a program of the session listens; without it, the session's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65_535)]
    pub port: Option<u16>,
}

/// The way into a session for a browser.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenedSession {
    pub session_id: SessionId,
    /// Where the browser goes. Good once, for whoever goes there first.
    pub url: String,
    /// The same page for whoever is let in already. By itself it lets nobody in.
    pub app_url: String,
    pub expires_at: DateTime<Utc>,
}

impl std::fmt::Debug for OpenedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedSession").field("session_id", &self.session_id).field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A session, whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub session_id: SessionId,
    pub state: SessionState,
    pub owner_principal_id: String,
    pub repo_url: String,
    pub branch: String,
    pub public: bool,
    /// The commit that the branch pointed to when the session began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$")]
    pub target_commit_sha: Option<String>,
    /// Where the session answers, once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode_url: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<DateTime<Utc>>,
    /// What it was made in; absent where the server has no classes, or had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// When it is stopped, if nobody extends it: of a ready session whose lifetime is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Its last use that is known: of a ready session with an idle timeout. One is seen up to half a minute late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<DateTime<Utc>>,
    /// When it is stopped, if nobody uses it: of a ready session with an idle timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persisted_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_object_id: Option<String>,
    /// The latest operation.
    pub operation_id: OperationId,
    pub last_transition: Transition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<Failure>,
    /// What to do next, for people.
    pub next_step: String,
}

/// A session in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionSummary {
    pub session_id: SessionId,
    pub state: SessionState,
    pub repo_url: String,
    pub branch: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub owner_principal_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opencode_url: Option<String>,
}

/// A page of sessions, newest `updated_at` first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionPage {
    pub sessions: Vec<SessionSummary>,
    /// Give it back as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
