//! A longer life for a session that is ready.

use alpine_api::{AuditOutcome, Session, SessionId, SessionState};

use super::{Error, TenantLedger, audit::Deed};
use crate::domain::{
    Fault,
    class::Classes,
    principal::{Access, Caller},
};

impl TenantLedger {
    /// Keep it for `asked` seconds from now on, or for as long as it was given when it began. Never for less than it has; one without
    /// an end stays so. It is a use, too.
    #[tracing::instrument(level = "debug", name = "ledger.extend", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "extend"))]
    pub async fn extend(&self, by: &Caller, id: SessionId, asked: Option<i32>, classes: &Classes) -> Result<Session, Error> {
        let (tenant, session) = (self.tenant.as_str(), id.uuid());
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = self.lock_session(&mut tx, id).await?;
        let access = by.access(&found.owner);
        let verdict: Result<Option<i32>, Fault> = match (access, found.state) {
            (Access::Denied, _) => Err(Fault::NotOwner),
            (_, SessionState::Ready) => {
                let most = found.most_lifetime.into_iter().chain(found.tenant_lifetime).min();
                let extended = found.max_lifetime.map(|own| classes.extended(asked, own, most));
                extended.transpose().map_err(Fault::from)
            }
            (_, state) => Err(Fault::NotReady { state }),
        };
        if access != Access::Own {
            let outcome = if verdict.is_ok() { AuditOutcome::Done } else { AuditOutcome::Denied };
            let (target, reason) = (id.to_string(), verdict.as_ref().ok().copied().flatten().map(|seconds| format!("for {seconds} s")));
            let deed = Deed { session: Some(id), at: Some(found.at), ..Deed::on("session.extend", outcome, &target) };
            let deed = Deed { reason: reason.as_deref(), ..deed.of(Some(&found.owner)) };
            self.record_deed(&mut *tx, by, &deed).await?;
        }
        if let Ok(seconds) = verdict {
            // Whoever keeps it uses it. Without an end, or without an idle timeout, that of it stays as it is.
            sqlx::query!(
                "UPDATE sessions SET expires_at = greatest(expires_at, $4::timestamptz + make_interval(secs => $3)),
                     used_at = CASE WHEN idle_timeout_seconds IS NOT NULL THEN greatest(used_at, $4) END
                 WHERE tenant_id = $1 AND session_id = $2",
                tenant,
                session,
                seconds.map(f64::from),
                found.at
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        verdict?;
        self.view_session(id).await
    }
}
