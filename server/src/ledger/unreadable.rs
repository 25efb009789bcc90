//! A claimed operation that this version cannot read. A newer version may be able to, so it is left alone until
//! its deadline; then it is ended, because nothing may be stuck.

use std::time::Duration;

use alpine_api::{OperationId, SessionId, SessionState};
use uuid::Uuid;

use super::{Error, Lease, Ledger, leases::Row, views};
use crate::domain::{failure, operation::Phase, principal::TenantId};

/// For another worker to find it; this one would only fail again.
const PAUSE: Duration = Duration::from_secs(5);

/// What is known of it all the same.
pub(super) struct Unreadable {
    tenant: String,
    session: Uuid,
    operation: OperationId,
    fence: i64,
    owner: String,
    state: String,
    overdue: bool,
}

impl Unreadable {
    pub(super) fn of(row: &Row, owner: &str) -> Self {
        Self {
            tenant: row.tenant_id.clone(),
            session: row.session_id,
            operation: OperationId::from_uuid(row.operation_id),
            fence: row.fence,
            owner: owner.to_owned(),
            state: row.state.clone(),
            overdue: row.remaining <= 0.0,
        }
    }
}

impl Ledger {
    pub(super) async fn set_aside(&self, claimed: &Unreadable, why: &Error) -> Result<(), Error> {
        tracing::error!(operation = %claimed.operation, error = why as &dyn std::error::Error, "a claimed operation cannot be read");
        let lease = Lease {
            tenant: TenantId::parse(&claimed.tenant).map_err(|error| Error::Corrupt(error.to_string()))?,
            session: SessionId::from_uuid(claimed.session),
            fence: claimed.fence,
            owner: claimed.owner.clone(),
        };
        let state: SessionState = views::read(&claimed.state)?;
        if let Some(phase) = Phase::that_ends(state).filter(|_| claimed.overdue) {
            self.end_by(&lease, claimed.operation, phase).await?;
        }
        self.release(&lease, claimed.operation, PAUSE, 0).await
    }

    /// Have the operation go on with a phase that ends it.
    async fn end_by(&self, lease: &Lease, operation: OperationId, phase: Phase) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE operations SET phase = $6, phase_schema = $8, phase_started_at = NULL, error = coalesce(error, $7)
             WHERE tenant_id = $1 AND operation_id = $5 AND hold_lease($1, $2, $3, $4)",
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            operation.uuid(),
            phase.as_str(),
            views::write_failure(Some(&failure::unreadable()))?,
            self.phases.of(phase),
        )
        .execute(self.statements())
        .await?;
        Ok(())
    }
}
