//! A longer life for a session that is ready.

use alpine_api::{AuditOutcome, Session, SessionId, SessionState};

use super::{Error, TenantLedger, audit::Deed, scope::in_tenant, views};
use crate::domain::{
    Fault,
    lifetime::LifetimePolicy,
    principal::{Access, Caller},
};

impl TenantLedger {
    /// Keep it for `asked` seconds from now on, or for as long as it was given when it began. Never for less than it has.
    #[tracing::instrument(level = "debug", name = "ledger.extend", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "extend"))]
    pub async fn extend(&self, by: &Caller, id: SessionId, asked: Option<i32>, policy: LifetimePolicy) -> Result<Session, Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let row = in_tenant!(
            query(
                "SELECT principal_id, state, max_lifetime_seconds FROM sessions WHERE tenant_id = tenant.id AND session_id = $2 FOR UPDATE"
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(Fault::SessionNotFound)?;
        let access = by.access(&row.principal_id);
        let state: SessionState = views::read(&row.state)?;
        let verdict = match (access, state) {
            (Access::Denied, _) => Err(Fault::NotOwner),
            (_, SessionState::Ready) => policy.of_extended(asked, row.max_lifetime_seconds).map_err(Fault::from),
            (_, state) => Err(Fault::NotReady { state }),
        };
        if access != Access::Own {
            let outcome = if verdict.is_ok() { AuditOutcome::Done } else { AuditOutcome::Denied };
            let target = id.to_string();
            let deed = Deed { session: Some(id), ..Deed::on("session.extend", outcome, &target).of(Some(&row.principal_id)) };
            self.record_deed(&mut *tx, by, &deed).await?;
        }
        if let Ok(Some(seconds)) = verdict {
            sqlx::query!(
                "UPDATE sessions SET expires_at = greatest(expires_at, now() + make_interval(secs => $3)) WHERE tenant_id = $1 AND session_id = $2",
                self.tenant.as_str(),
                id.uuid(),
                f64::from(seconds)
            )
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        verdict?;
        self.view_session(id).await
    }
}
