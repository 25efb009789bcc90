//! The accept of an `up`: key, session, operation, lease and first transition in one statement.

use alpine_api::{Operation, OperationId, OperationKind, OperationStatus, SessionId, SessionState};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use uuid::Uuid;

use super::{Error, TenantLedger, scope::in_tenant, seal::Place, views::OperationRow};
use crate::domain::{
    Fault,
    class::{ClassSize, Grant},
    idempotency::{self, Earlier, IdempotencyKey, Replay, UpOptions},
    lifetime::TooLong,
    operation::Phase,
    principal::Principal,
    repo::{Branch, RepoUrl, Scheme},
    stored_credential::{CredentialHost, kind_for},
};

#[derive(Debug)]
pub struct NewUp {
    pub principal: Principal,
    pub key: IdempotencyKey,
    pub repo_url: RepoUrl,
    pub branch: Branch,
    pub public: bool,
    pub repo_token: Option<SecretString>,
    pub options: UpOptions,
    /// What it would get. What the operator does not allow is refused unless the key has its answer already: that stays, whatever has
    /// been allowed since.
    pub admitted: Result<Grant, Fault>,
    /// Whether it is seen here that a session is used: else nobody's idle timeout counts, whatever the tenant's bound.
    pub sees_uses: bool,
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

/// What the one statement came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inserted {
    /// When: the database's time, which everything that was written with it carries.
    Up(DateTime<Utc>),
    KeyTaken,
    /// More was asked for than the tenant may have; the key may be taken all the same.
    Beyond(Bound),
    /// Nothing opens the repository; the key may be taken all the same.
    NoCredential,
}

/// Of a tenant, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Lifetime(i32),
    Idle(i32),
}

impl From<Bound> for Fault {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Lifetime(most) => TooLong(most).into(),
            Bound::Idle(most) => Self::IdleTooLong { most },
        }
    }
}

/// That there is no credential for a repository.
pub(super) const fn missing(scheme: Scheme) -> Fault {
    match scheme {
        Scheme::Https => Fault::RepoAuthMissing,
        Scheme::Ssh => Fault::DeployKeyMissing,
    }
}

impl TenantLedger {
    #[tracing::instrument(level = "debug", name = "ledger.accept_up", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "accept_up"))]
    pub async fn accept_up(&self, up: NewUp) -> Result<UpAnswer, Error> {
        let fingerprint = idempotency::fingerprint(&up.repo_url, &up.branch, up.public, &up.options);
        let known = self.ledger.seen.note(&self.tenant, &up.principal.id, &up.key);
        let earlier = if known || up.admitted.is_err() { self.first(&up).await? } else { None };
        if let Some((row, stored)) = earlier {
            return replayed(row.try_into()?, stored, &fingerprint);
        }
        let grant = up.admitted.clone()?;
        let (session, operation) = (SessionId::generate(), OperationId::generate());
        loop {
            let inserted = self.insert_up(&up, &grant, &fingerprint, session, operation).await?;
            if let Inserted::Up(at) = inserted {
                self.ledger.hub.work();
                return Ok(UpAnswer::Accepted(accepted(&up, session, operation, at).try_into()?));
            }
            // The key is taken, and what it names is committed: a new statement sees it, unless the key was
            // swept just now and is free again. Its operation answers whatever has become of credentials.
            match (self.first(&up).await?, inserted) {
                (Some((row, stored)), _) => return replayed(row.try_into()?, stored, &fingerprint),
                (None, Inserted::Beyond(bound)) => return Err(Fault::from(bound).into()),
                (None, Inserted::NoCredential) => return Err(missing(up.repo_url.scheme()).into()),
                (None, _) => {}
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one statement; in parts it would be several round trips")]
    async fn insert_up(
        &self,
        up: &NewUp,
        grant: &Grant,
        fingerprint: &[u8; 32],
        session: SessionId,
        operation: OperationId,
    ) -> Result<Inserted, Error> {
        let (sealer, tenants) = (&self.ledger.sealer, &self.ledger.tenants);
        let place = Place::Request { tenant: &self.tenant, operation };
        let sealed = up.repo_token.as_ref().map(|token| sealer.seal(place, token)).transpose()?;
        let open = up.public && up.repo_url.scheme() == Scheme::Https;
        let host = CredentialHost::of(&up.repo_url);
        let row = sqlx::query!(
            r#"WITH asked AS MATERIALIZED (
                -- Looked for in the tenant's name, so after it is set: the tenant is in the question.
                SELECT tenant.id, $21 OR $15::bytea IS NOT NULL OR EXISTS (
                    SELECT FROM stored_credentials c
                    WHERE c.tenant_id = tenant.id AND coalesce(c.principal_id, '') IN ($2, '') AND c.host = $22 AND c.kind = $23
                ) AS opens,
                bound.lifetime, bound.idle,
                CASE WHEN bound.lifetime < $33::int THEN bound.lifetime END AS beyond_lifetime,
                CASE WHEN bound.idle < $34::int THEN bound.idle END AS beyond_idle
                FROM set_config('alpine.tenant', $1, true) AS tenant (id) LEFT JOIN LATERAL (
                    SELECT t.max_lifetime_seconds AS lifetime, CASE WHEN $35 THEN t.max_idle_seconds END AS idle
                    FROM tenants t WHERE t.tenant_id = tenant.id OFFSET 0
                ) AS bound ON true
            ), key AS (
                INSERT INTO idempotency_keys (tenant_id, principal_id, action, key, fingerprint, operation_id)
                -- All that follows needs this row, and this row the tenant (see `scope`).
                SELECT asked.id, $2, 'up', $3, $4, $5 FROM asked WHERE asked.opens AND num_nonnulls(asked.beyond_lifetime, asked.beyond_idle) = 0
                ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
                RETURNING 1
            ), tenant AS (
                INSERT INTO tenants (tenant_id, max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal)
                -- Asked first: to try would have PostgreSQL check a new row's constraints each time.
                SELECT $1, $17, $18, $19, $20 FROM key WHERE $16 AND NOT EXISTS (SELECT FROM tenants t WHERE t.tenant_id = $1)
                ON CONFLICT DO NOTHING
            ), lease AS (
                INSERT INTO leases (tenant_id, session_id) SELECT $1, $6 FROM key
            ), session AS (
                INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, max_lifetime_seconds,
                    most_lifetime_seconds, class, memory_mb, cpu_millis, disk_mb, image, idle_timeout_seconds)
                -- What was not asked for is cut to what the tenant may have.
                SELECT $1, $6, $2, $7, $8, $9, 'requested', $5, least($25, asked.lifetime), $26, $27, $28, $29, $30, $31,
                    least($32, asked.idle) FROM key, asked
            ), operation AS (
                INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, phase_schema, actor, traceparent, deadline_at)
                SELECT $1, $5, $6, 'up', $10, $24, $2, $11, now() + make_interval(secs => $12) FROM key
            ), credential AS (
                INSERT INTO credentials (tenant_id, credential_id, operation_id, key_id, sealed)
                SELECT $1, $13, $5, $14, $15 FROM key WHERE $15::bytea IS NOT NULL
            ), transition AS (
                INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
                SELECT $1, $6, 1, 'requested', $2, 'up accepted', $5, 0 FROM key
            )
            SELECT opens AS "opens!", (SELECT count(*) FROM key) AS "inserted!", now() AS "at!", beyond_lifetime, beyond_idle FROM asked"#,
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
            open,
            host.as_str(),
            kind_for(&up.repo_url).as_str(),
            self.ledger.phases.of_up(grant.size != ClassSize::default()),
            grant.lifetime,
            grant.most_lifetime,
            grant.class,
            grant.size.memory_mb,
            grant.size.cpu_millis,
            grant.size.disk_mb,
            grant.size.image,
            grant.idle_timeout,
            up.options.lifetime,
            up.options.idle_timeout,
            up.sees_uses,
        )
        .fetch_one(self.statements())
        .await?;
        let beyond = row.beyond_lifetime.map(Bound::Lifetime).or(row.beyond_idle.map(Bound::Idle));
        Ok(match (row.inserted, beyond, row.opens) {
            (1, ..) => Inserted::Up(row.at),
            (_, Some(bound), _) => Inserted::Beyond(bound),
            (_, None, true) => Inserted::KeyTaken,
            (_, None, false) => Inserted::NoCredential,
        })
    }

    /// The operation that a key names, as it stands, and the fingerprint of the request that it came with. Both by one look: a `down`
    /// may come between two.
    async fn first(&self, up: &NewUp) -> Result<Option<(OperationRow, Vec<u8>)>, Error> {
        let row = in_tenant!(
            query(
                "SELECT k.fingerprint, o.operation_id, o.session_id, o.kind, o.status, o.phase, o.error, o.created_at, o.finished_at,
                     s.principal_id, s.state, s.target_commit_sha, s.opencode_url, s.ready_at, s.durable_object_id, s.persisted_at
                 FROM idempotency_keys k JOIN operations o USING (tenant_id, operation_id) JOIN sessions s USING (tenant_id, session_id)
                 WHERE k.tenant_id = tenant.id AND k.principal_id = $2 AND k.action = 'up' AND k.key = $3"
            ),
            self.tenant.as_str(),
            up.principal.id.as_str(),
            up.key.as_str(),
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(row.map(|row| {
            let operation = OperationRow {
                operation_id: row.operation_id,
                session_id: row.session_id,
                kind: row.kind,
                status: row.status,
                phase: row.phase,
                error: row.error,
                created_at: row.created_at,
                finished_at: row.finished_at,
                principal_id: row.principal_id,
                state: row.state,
                target_commit_sha: row.target_commit_sha,
                opencode_url: row.opencode_url,
                ready_at: row.ready_at,
                durable_object_id: row.durable_object_id,
                persisted_at: row.persisted_at,
            };
            (operation, row.fingerprint)
        }))
    }
}

/// What a key answers whose operation exists.
fn replayed(operation: Operation, stored: Vec<u8>, fingerprint: &[u8; 32]) -> Result<UpAnswer, Error> {
    let earlier = Earlier {
        operation_id: operation.operation_id,
        fingerprint: stored,
        status: operation.status,
        failure: operation.error.clone(),
        session_state: operation.state,
    };
    Ok(match idempotency::replay(&earlier, fingerprint)? {
        Replay::Running => UpAnswer::Running(operation),
        Replay::Ready => UpAnswer::Ready(operation),
        Replay::Failed(_) => UpAnswer::Failed(operation),
    })
}

/// The operation as the statement has just written it; to read it would be another round trip.
fn accepted(up: &NewUp, session: SessionId, operation: OperationId, at: DateTime<Utc>) -> OperationRow {
    OperationRow {
        operation_id: operation.uuid(),
        session_id: session.uuid(),
        kind: OperationKind::Up.as_str().to_owned(),
        status: OperationStatus::Queued.as_str().to_owned(),
        phase: Phase::Resolve.as_str().to_owned(),
        error: None,
        created_at: at,
        finished_at: None,
        principal_id: up.principal.id.as_str().to_owned(),
        state: SessionState::Requested.as_str().to_owned(),
        target_commit_sha: None,
        opencode_url: None,
        ready_at: None,
        durable_object_id: None,
        persisted_at: None,
    }
}
