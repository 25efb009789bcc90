//! Rows as the contract's types.

use alpine_api::{Failure, Operation, OperationId, OperationKind, Session, SessionId, SessionState, Transition};
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IntoDeserializer};
use serde_json::Value;
use uuid::Uuid;

use super::{Error, TenantLedger, scope::in_tenant};
use crate::domain::{
    Fault,
    principal::Caller,
    session::{expiring, idling, next_step},
};

/// A name in a text column as its enum.
pub(super) fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, Error> {
    let reader: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
    T::deserialize(reader).map_err(|error| Error::Corrupt(error.to_string()))
}

pub(super) fn read_failure(json: Option<Value>) -> Result<Option<Failure>, Error> {
    json.map(serde_json::from_value).transpose().map_err(|error| Error::Corrupt(error.to_string()))
}

pub(super) fn write_failure(failure: Option<&Failure>) -> Result<Option<Value>, Error> {
    failure.map(serde_json::to_value).transpose().map_err(|error| Error::Corrupt(error.to_string()))
}

/// A transition as it is stored.
#[derive(Debug)]
pub(super) struct TransitionRow {
    pub seq: i64,
    pub from_state: Option<String>,
    pub to_state: String,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub reason: String,
    pub operation_id: Uuid,
    pub fence: i64,
}

impl TryFrom<TransitionRow> for Transition {
    type Error = Error;

    fn try_from(row: TransitionRow) -> Result<Self, Error> {
        Ok(Self {
            seq: row.seq,
            from_state: row.from_state.as_deref().map(read).transpose()?,
            to_state: read(&row.to_state)?,
            at: row.at,
            actor: row.actor,
            reason: row.reason,
            operation_id: OperationId::from_uuid(row.operation_id),
            fence: row.fence,
        })
    }
}

/// An operation as it is stored, with what its session shows.
pub(super) struct OperationRow {
    pub(super) operation_id: Uuid,
    pub(super) session_id: Uuid,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) phase: String,
    pub(super) error: Option<Value>,
    pub(super) created_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) principal_id: String,
    pub(super) state: String,
    pub(super) target_commit_sha: Option<String>,
    pub(super) opencode_url: Option<String>,
    pub(super) ready_at: Option<DateTime<Utc>>,
    pub(super) durable_object_id: Option<String>,
    pub(super) persisted_at: Option<DateTime<Utc>>,
}

impl TryFrom<OperationRow> for Operation {
    type Error = Error;

    fn try_from(row: OperationRow) -> Result<Self, Error> {
        let kind: OperationKind = read(&row.kind)?;
        let state: SessionState = read(&row.state)?;
        let session_id = SessionId::from_uuid(row.session_id);
        // What the session shows now is this operation's outcome only if it is of its kind.
        let (up, down) = (kind == OperationKind::Up, kind == OperationKind::Down);
        Ok(Self {
            operation_id: OperationId::from_uuid(row.operation_id),
            session_id,
            kind,
            status: read(&row.status)?,
            state,
            phase: row.phase,
            created_at: row.created_at,
            finished_at: row.finished_at,
            target_commit_sha: row.target_commit_sha.filter(|_| up),
            opencode_url: row.opencode_url.filter(|_| up),
            ready_at: row.ready_at.filter(|_| up),
            durable_object_id: row.durable_object_id.filter(|_| down),
            persisted_at: row.persisted_at.filter(|_| down),
            persistence_verified: down && state == SessionState::Stopped,
            error: read_failure(row.error)?,
            next_step: Some(next_step(session_id, state)),
        })
    }
}

/// The next step of whoever looks at a session. `expires`, `idles`: its ends, if they are near.
fn step(
    id: SessionId,
    state: SessionState,
    error: Option<&Failure>,
    expires: Option<DateTime<Utc>>,
    idles: Option<DateTime<Utc>>,
) -> String {
    match (error, expires, idles) {
        (Some(error), ..) if state == SessionState::Failed => error.next_step.clone(),
        // What ends it first, and a use moves only one of them.
        (_, Some(at), idles) if idles.is_none_or(|idles| at <= idles) => expiring(id, at),
        (.., Some(at)) => idling(id, at),
        _ => next_step(id, state),
    }
}

impl TenantLedger {
    /// An operation on a session that the principal may see.
    #[tracing::instrument(level = "debug", name = "ledger.operation", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "operation"))]
    pub async fn operation(&self, by: &Caller, id: OperationId) -> Result<Operation, Error> {
        let row = self.operation_row(id).await?.ok_or(Fault::OperationNotFound)?;
        self.judge(by, "operation.read", SessionId::from_uuid(row.session_id), &row.principal_id).await?;
        row.try_into()
    }

    /// An operation, for one whose right to it is established.
    #[tracing::instrument(level = "debug", name = "ledger.view_operation", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "view_operation"))]
    pub async fn view_operation(&self, id: OperationId) -> Result<Operation, Error> {
        self.operation_row(id).await?.ok_or(Fault::OperationNotFound)?.try_into()
    }

    async fn operation_row(&self, id: OperationId) -> Result<Option<OperationRow>, Error> {
        let row = in_tenant!(
            query_as(
                OperationRow,
                "SELECT o.operation_id, o.session_id, o.kind, o.status, o.phase, o.error, o.created_at, o.finished_at,
                     s.principal_id, s.state, s.target_commit_sha, s.opencode_url, s.ready_at, s.durable_object_id, s.persisted_at
                 FROM operations o JOIN sessions s USING (tenant_id, session_id)
                 WHERE o.tenant_id = tenant.id AND o.operation_id = $2"
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(row)
    }

    #[tracing::instrument(level = "debug", name = "ledger.session", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "session"))]
    pub async fn session(&self, by: &Caller, id: SessionId) -> Result<Session, Error> {
        let session = self.view_session(id).await?;
        self.judge(by, "session.read", id, &session.owner_principal_id).await?;
        Ok(session)
    }

    /// A session, for one whose right to it is established.
    pub(super) async fn view_session(&self, id: SessionId) -> Result<Session, Error> {
        let row = in_tenant!(
            query(
                // Columns by name: one that a newer version adds must not change what this statement gives.
                "SELECT s.principal_id, s.state, s.repo_url, s.branch, s.public, s.target_commit_sha, s.opencode_url, s.created_at,
                     s.updated_at, s.ready_at, s.stopped_at, s.persisted_at, s.durable_object_id, s.operation_id, s.last_error, s.class,
                     CASE WHEN s.state = 'ready' THEN s.expires_at END AS expires_at, s.expires_at - now() < least(interval '15 minutes', make_interval(secs => s.max_lifetime_seconds / 4.0)) AS expires_soon,
                     CASE WHEN s.state = 'ready' THEN s.used_at END AS used_at, CASE WHEN s.state = 'ready' THEN idle_end(s.used_at, s.idle_timeout_seconds) END AS idle_at,
                     lifetime_warning(idle_end(s.used_at, s.idle_timeout_seconds), s.idle_timeout_seconds) <= now() AS idle_soon,
                     t.seq, t.from_state, t.to_state, t.at, t.actor, t.reason, t.operation_id AS transition_operation_id, t.fence
                 FROM sessions s JOIN transitions t
                   ON t.tenant_id = s.tenant_id AND t.session_id = s.session_id AND t.seq = s.transition_seq
                 WHERE s.tenant_id = tenant.id AND s.session_id = $2"
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Fault::SessionNotFound)?;
        let (state, last_error) = (read(&row.state)?, read_failure(row.last_error)?);
        let last_transition = TransitionRow {
            seq: row.seq,
            from_state: row.from_state,
            to_state: row.to_state,
            at: row.at,
            actor: row.actor,
            reason: row.reason,
            operation_id: row.transition_operation_id,
            fence: row.fence,
        };
        let expires_soon = row.expires_at.filter(|_| row.expires_soon == Some(true));
        let idle_soon = row.idle_at.filter(|_| row.idle_soon == Some(true));
        Ok(Session {
            session_id: id,
            state,
            owner_principal_id: row.principal_id,
            repo_url: row.repo_url,
            branch: row.branch,
            public: row.public,
            target_commit_sha: row.target_commit_sha,
            opencode_url: row.opencode_url,
            created_at: row.created_at,
            updated_at: row.updated_at,
            ready_at: row.ready_at,
            class: row.class,
            expires_at: row.expires_at,
            used_at: row.used_at,
            idle_at: row.idle_at,
            stopped_at: row.stopped_at,
            persisted_at: row.persisted_at,
            durable_object_id: row.durable_object_id,
            operation_id: OperationId::from_uuid(row.operation_id),
            last_transition: last_transition.try_into()?,
            next_step: step(id, state, last_error.as_ref(), expires_soon, idle_soon),
            last_error,
        })
    }

    /// Refuse what the caller may not see, as the other reads do.
    pub(super) async fn authorize(&self, by: &Caller, action: &'static str, id: SessionId) -> Result<(), Error> {
        let owner = in_tenant!(
            query_scalar("SELECT principal_id FROM sessions WHERE tenant_id = tenant.id AND session_id = $2"),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Fault::SessionNotFound)?;
        self.judge(by, action, id, &owner).await
    }
}
