//! A session that nobody else decides about until the transaction ends.

use alpine_api::{OperationId, SessionId, SessionState};
use chrono::{DateTime, Utc};
use sqlx::PgTransaction;

use super::{Error, TenantLedger, scope::in_tenant, views};
use crate::domain::Fault;

/// As it stands under the lock.
#[derive(Debug)]
pub(super) struct Locked {
    pub owner: String,
    pub state: SessionState,
    pub persist_attempt: i32,
    /// The latest.
    pub operation: OperationId,
    /// The longest that it may be extended by.
    pub most_lifetime: Option<i32>,
    /// That of its tenant, which counts now.
    pub tenant_lifetime: Option<i32>,
    /// In seconds; `None`: without an end.
    pub max_lifetime: Option<i32>,
    /// The database's time once it was locked: the transaction's own is older if it had to wait, and what it waited for would seem to
    /// come after it.
    pub at: DateTime<Utc>,
}

impl TenantLedger {
    /// The lease before the session, as everybody does: a claim passes a locked lease by, and would wait for a session. To be the
    /// transaction's first statement, which says for whom it is.
    pub(super) async fn lock_session(&self, tx: &mut PgTransaction<'_>, session: SessionId) -> Result<Locked, Error> {
        let (tenant, id) = (self.tenant.as_str(), session.uuid());
        in_tenant!(query_scalar("SELECT fence FROM leases WHERE tenant_id = tenant.id AND session_id = $2 FOR UPDATE"), tenant, id)
            .fetch_optional(&mut **tx)
            .await?
            .ok_or(Fault::SessionNotFound)?;
        let row = sqlx::query!(
            r#"SELECT principal_id, state, persist_attempt, operation_id, max_lifetime_seconds, most_lifetime_seconds, clock_timestamp() AS "at!",
                   (SELECT t.max_lifetime_seconds FROM tenants t WHERE t.tenant_id = $1) AS tenant_lifetime
               FROM sessions WHERE tenant_id = $1 AND session_id = $2 FOR UPDATE"#,
            tenant,
            id
        )
        .fetch_one(&mut **tx)
        .await?;
        Ok(Locked {
            owner: row.principal_id,
            state: views::read(&row.state)?,
            persist_attempt: row.persist_attempt,
            operation: OperationId::from_uuid(row.operation_id),
            most_lifetime: row.most_lifetime_seconds,
            tenant_lifetime: row.tenant_lifetime,
            max_lifetime: row.max_lifetime_seconds,
            at: row.at,
        })
    }
}
