//! The audit log: an entry stands in the transaction of the deed, or by itself where nothing was done.

use alpine_api::{AuditOutcome, SessionId};
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, TenantLedger};
use crate::domain::{
    Fault,
    principal::{Access, Caller},
};

/// What an entry says besides who and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deed<'a> {
    /// As in `session.down`.
    pub action: &'static str,
    pub outcome: AuditOutcome,
    pub target: &'a str,
    pub session: Option<SessionId>,
    pub owner: Option<&'a str>,
    pub reason: Option<&'a str>,
    /// `None`: the transaction's time.
    pub at: Option<DateTime<Utc>>,
}

impl TenantLedger {
    /// May `by` do this to a session of `owner`? What an admin does to another's, and what is refused, is on record
    /// before there is an answer.
    pub(super) async fn judge(&self, by: &Caller, action: &'static str, session: SessionId, owner: &str) -> Result<(), Error> {
        let outcome = match by.access(owner) {
            Access::Own => return Ok(()),
            Access::AsAdmin => AuditOutcome::Done,
            Access::Denied => AuditOutcome::Denied,
        };
        let target = session.to_string();
        let deed = Deed { action, outcome, target: &target, session: Some(session), owner: Some(owner), reason: None, at: None };
        self.record_deed(self.statements(), by, &deed).await?;
        match outcome {
            AuditOutcome::Done => Ok(()),
            AuditOutcome::Denied => Err(Fault::NotOwner.into()),
        }
    }

    /// Write an entry into the log of this handle's tenant.
    pub(super) async fn record_deed(&self, on: impl PgExecutor<'_>, by: &Caller, deed: &Deed<'_>) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO audit_log (tenant_id, at, actor, actor_tenant, action, outcome, target, session_id, owner, reason, request_id)
             SELECT tenant.id, coalesce($2, now()), $3, $4, $5, $6, $7, $8, $9, $10, $11
             FROM set_config('alpine.tenant', $1, true) AS tenant (id)",
            self.tenant.as_str(),
            deed.at,
            by.id.as_str(),
            by.tenant.as_str(),
            deed.action,
            deed.outcome.as_str(),
            deed.target,
            deed.session.map(SessionId::uuid),
            deed.owner,
            deed.reason,
            by.request_id
        )
        .execute(on)
        .await?;
        Ok(())
    }
}
