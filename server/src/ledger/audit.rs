//! The audit log: an entry stands in the transaction of the deed, or by itself where nothing was done.

use alpine_api::{AuditEntry, AuditOutcome, AuditPage, SessionId};
use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

use super::{Error, Ledger, TenantLedger, scope::in_tenant, views};
use crate::domain::{
    Fault,
    principal::{Access, Caller},
    tenant::may_read_log,
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

impl<'a> Deed<'a> {
    /// Of what is no session.
    pub(super) const fn on(action: &'static str, outcome: AuditOutcome, target: &'a str) -> Self {
        Self { action, outcome, target, session: None, owner: None, reason: None, at: None }
    }

    /// On what is somebody's, or the whole tenant's.
    pub(super) const fn of(self, owner: Option<&'a str>) -> Self {
        Self { owner, ..self }
    }
}

struct Row {
    seq: i64,
    at: DateTime<Utc>,
    actor: String,
    actor_tenant: String,
    action: String,
    outcome: String,
    target: Option<String>,
    owner: Option<String>,
    reason: Option<String>,
    request_id: String,
    prev_hash: String,
    hash: String,
}

impl Ledger {
    /// What a role does not allow is on record before it is refused: in the caller's own log, in which nothing shows
    /// whether what was asked for exists.
    pub(super) async fn permit(&self, by: &Caller, action: &'static str, target: &str, verdict: Result<(), Fault>) -> Result<(), Error> {
        if verdict.is_err() {
            let own = self.tenant(&by.tenant);
            own.record_deed(own.statements(), by, &Deed::on(action, AuditOutcome::Denied, target)).await?;
        }
        Ok(verdict?)
    }
}

impl TenantLedger {
    /// Up to `limit` entries of this tenant's log that come after number `after`, oldest first. That an operator of
    /// another tenant has read them is the last of them, if they go so far.
    #[tracing::instrument(level = "debug", name = "ledger.audit_log", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "audit_log"))]
    pub async fn audit_log(&self, by: &Caller, after: i64, limit: i64) -> Result<AuditPage, Error> {
        let tenant = self.tenant.as_str();
        self.ledger.permit(by, "audit.read", tenant, may_read_log(by, &self.tenant)).await?;
        if by.tenant != self.tenant && !self.is_known().await? {
            return Err(Fault::NotFound("tenant").into());
        }
        self.read_by(by, "audit.read").await?;
        let rows = in_tenant!(
            query_as(
                Row,
                r#"SELECT seq AS "seq!", at, actor, actor_tenant AS "actor_tenant!", action, outcome, target, owner, reason, request_id,
                       encode(prev_hash, 'hex') AS "prev_hash!", encode(hash, 'hex') AS "hash!"
                   FROM audit_log WHERE tenant_id = tenant.id AND seq > $2 ORDER BY seq LIMIT $3"#
            ),
            tenant,
            after,
            limit
        )
        .fetch_all(self.statements())
        .await?;
        let entries = rows.into_iter().map(|row| self.entry(row)).collect::<Result<Vec<_>, _>>()?;
        let next_after = entries.last().map_or(after, |entry| entry.seq);
        Ok(AuditPage { entries, next_after })
    }

    /// Whether there is such a tenant, or anything was ever written down for one.
    async fn is_known(&self) -> Result<bool, Error> {
        let known = in_tenant!(
            query_scalar(
                r#"SELECT EXISTS (SELECT FROM tenants WHERE tenant_id = tenant.id)
                       OR EXISTS (SELECT FROM audit_log WHERE tenant_id = tenant.id) AS "known!""#
            ),
            self.tenant.as_str()
        )
        .fetch_one(self.statements())
        .await?;
        Ok(known)
    }

    /// One's own tenant may be looked at; that of others is on record.
    pub(super) async fn read_by(&self, by: &Caller, action: &'static str) -> Result<(), Error> {
        if by.tenant == self.tenant {
            return Ok(());
        }
        self.record_deed(self.statements(), by, &Deed::on(action, AuditOutcome::Done, self.tenant.as_str())).await
    }

    fn entry(&self, row: Row) -> Result<AuditEntry, Error> {
        let outcome = views::read(&row.outcome)?;
        let Row { seq, at, actor, actor_tenant, action, target, owner, reason, request_id, prev_hash, hash, .. } = row;
        let tenant = self.tenant.as_str().to_owned();
        Ok(AuditEntry { tenant, seq, at, actor, actor_tenant, action, outcome, target, owner, reason, request_id, prev_hash, hash })
    }

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
