//! The accept of an `up`: key, session, operation, lease and first transition in one statement.

use alpine_api::{Operation, OperationId, OperationKind, SessionId};
use secrecy::SecretString;
use uuid::Uuid;

use super::{Error, TenantLedger, scope::in_tenant};
use crate::domain::{
    idempotency::{self, Earlier, IdempotencyKey, Replay},
    operation::Phase,
    principal::Principal,
    repo::{Branch, RepoUrl},
};

#[derive(Debug)]
pub struct NewUp {
    pub principal: Principal,
    pub key: IdempotencyKey,
    pub repo_url: RepoUrl,
    pub branch: Branch,
    pub public: bool,
    pub repo_token: Option<SecretString>,
    pub traceparent: Option<String>,
}

/// What an `up` comes to. `Operation` is as it stands now.
#[derive(Debug, Clone)]
pub enum UpAnswer {
    Accepted(Operation),
    Running(Operation),
    Ready(Operation),
    Failed(Operation),
}

impl TenantLedger {
    pub async fn accept_up(&self, up: NewUp) -> Result<UpAnswer, Error> {
        let fingerprint = idempotency::fingerprint(&up.repo_url, &up.branch, up.public);
        let (session, operation) = (SessionId::generate(), OperationId::generate());
        let (id, stored) = loop {
            if self.insert_up(&up, &fingerprint, session, operation).await? {
                self.ledger.hub.work();
                return Ok(UpAnswer::Accepted(self.view_operation(operation).await?));
            }
            // The key is taken, and what it names is committed: a new statement sees it, unless the key was
            // swept just now and is free again.
            if let Some(first) = self.first(&up).await? {
                break first;
            }
        };
        // Decided by the very look that is shown: between two of them a `down` may come.
        let operation = self.view_operation(id).await?;
        let earlier = Earlier {
            operation_id: id,
            fingerprint: stored,
            status: operation.status,
            failure: operation.error.clone(),
            session_state: operation.state,
        };
        Ok(match idempotency::replay(&earlier, &fingerprint)? {
            Replay::Running => UpAnswer::Running(operation),
            Replay::Ready => UpAnswer::Ready(operation),
            Replay::Failed(_) => UpAnswer::Failed(operation),
        })
    }

    /// Whether the key was free.
    async fn insert_up(&self, up: &NewUp, fingerprint: &[u8; 32], session: SessionId, operation: OperationId) -> Result<bool, Error> {
        let (sealer, tenants) = (&self.ledger.sealer, &self.ledger.tenants);
        let sealed = up.repo_token.as_ref().map(|token| sealer.seal(&self.tenant, operation, token)).transpose()?;
        let inserted = sqlx::query_scalar!(
            r#"WITH key AS (
                INSERT INTO idempotency_keys (tenant_id, principal_id, action, key, fingerprint, operation_id)
                -- All that follows needs this row, and this row the tenant (see `scope`).
                SELECT tenant.id, $2, 'up', $3, $4, $5 FROM set_config('alpine.tenant', $1, true) AS tenant (id)
                ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
                RETURNING 1
            ), tenant AS (
                INSERT INTO tenants (tenant_id, max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal)
                SELECT $1, $17, $18, $19, $20 FROM key WHERE $16 ON CONFLICT DO NOTHING
            ), lease AS (
                INSERT INTO leases (tenant_id, session_id) SELECT $1, $6 FROM key
            ), session AS (
                INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
                SELECT $1, $6, $2, $7, $8, $9, 'requested', $5 FROM key
            ), operation AS (
                INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, traceparent, deadline_at)
                SELECT $1, $5, $6, 'up', $10, $2, $11, now() + make_interval(secs => $12) FROM key
            ), credential AS (
                INSERT INTO credentials (tenant_id, credential_id, operation_id, key_id, sealed)
                SELECT $1, $13, $5, $14, $15 FROM key WHERE $15::bytea IS NOT NULL
            ), transition AS (
                INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
                SELECT $1, $6, 1, 'requested', $2, 'up accepted', $5, 0 FROM key
            )
            SELECT count(*) AS "inserted!" FROM key"#,
            self.tenant.as_str(),
            up.principal.id.as_str(),
            up.key.as_str(),
            fingerprint.as_slice(),
            operation.uuid(),
            session.uuid(),
            up.repo_url.as_str(),
            up.branch.as_str(),
            up.public,
            Phase::Resolve.as_str(),
            up.traceparent,
            self.ledger.deadlines.of_operation(OperationKind::Up).as_secs_f64(),
            Uuid::now_v7(),
            sealer.key_id(),
            sealed,
            tenants.on_first_sight,
            tenants.quotas.max_active_sessions,
            tenants.quotas.max_active_sessions_per_principal,
            tenants.quotas.max_operations,
            tenants.quotas.max_operations_per_principal,
        )
        .fetch_one(self.statements())
        .await?;
        Ok(inserted == 1)
    }

    /// The operation that a key names, and the fingerprint of the request that it came with.
    async fn first(&self, up: &NewUp) -> Result<Option<(OperationId, Vec<u8>)>, Error> {
        let row = in_tenant!(
            query(
                "SELECT operation_id, fingerprint FROM idempotency_keys
                 WHERE tenant_id = tenant.id AND principal_id = $2 AND action = 'up' AND key = $3"
            ),
            self.tenant.as_str(),
            up.principal.id.as_str(),
            up.key.as_str(),
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(row.map(|row| (OperationId::from_uuid(row.operation_id), row.fingerprint)))
    }
}
