//! A session of another ledger, written in one transaction and through every guard: it begins as requested, each of its
//! transitions is judged, and its record is verified afterwards by a worker, as every record is.

use alpine_api::{AuditOutcome, ImportOutcome, ImportSession, Imported, OperationId, OperationKind, SessionId, SessionState};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgTransaction;

use super::{Error, TenantLedger, audit::Deed, scope::in_tenant, views};
use crate::domain::{
    Fault,
    idempotency::{self, UpOptions},
    import::{self, BadImport, Plan, derived_operation, derived_session},
    principal::Caller,
};

impl From<BadImport> for Error {
    fn from(bad: BadImport) -> Self {
        Fault::NotImportable(bad.to_string()).into()
    }
}

/// An import of the same session that was there before.
struct Earlier {
    session: SessionId,
    sha256: Vec<u8>,
    /// `None`: swept.
    state: Option<SessionState>,
}

/// The ids that everything gets here.
struct Ids {
    session: SessionId,
    operations: Vec<OperationId>,
}

impl Ids {
    fn latest(&self) -> OperationId {
        self.operations.last().copied().unwrap_or_else(OperationId::generate)
    }
}

impl TenantLedger {
    /// Bring in a session. The same again is answered with what it became; another under its id is a conflict. On a dry run
    /// everything is written, judged by the database, and taken back.
    #[tracing::instrument(level = "debug", name = "ledger.import", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "import"))]
    pub async fn import(&self, by: &Caller, import: &ImportSession) -> Result<Imported, Error> {
        self.ledger.permit(by, "session.import", self.tenant.as_str(), import::may_import(by)).await?;
        let sha256 = import::digest(import)?;
        // The database takes no NUL in a text, to look for it either.
        let original = import::original_id(import)?;
        loop {
            let mut tx = self.ledger.pools.api.transactions.begin().await?;
            let (now, earlier) = self.earlier(&mut tx, original).await?;
            if let Some(earlier) = earlier {
                tx.rollback().await?;
                return already(import, earlier, &sha256);
            }
            let plan = import::plan(import, now)?;
            let ids = self.ids(&plan);
            if !self.claim(&mut tx, by, &plan, ids.session, &sha256).await? {
                // Another request was quicker; the next look sees what it wrote.
                tx.rollback().await?;
                continue;
            }
            let keys = self.begin(&mut tx, &plan, &ids).await?;
            self.play(&mut tx, &plan, &ids).await?;
            if import.dry_run {
                sqlx::query!("SET CONSTRAINTS ALL IMMEDIATE").execute(&mut *tx).await?;
                tx.rollback().await?;
            } else {
                self.record_import(&mut tx, by, &plan, ids.session).await?;
                tx.commit().await?;
                self.ledger.hub.work();
            }
            return Ok(answer(import.dry_run, plan, &ids, keys));
        }
    }

    /// The transaction's first statement says for whom it is.
    async fn earlier(&self, tx: &mut PgTransaction<'_>, original: &str) -> Result<(DateTime<Utc>, Option<Earlier>), Error> {
        let row = in_tenant!(
            query(
                r#"SELECT now() AS "now!", i.session_id AS "session_id?", i.sha256 AS "sha256?", s.state AS "state?"
                   FROM (VALUES (1)) AS one (row)
                   LEFT JOIN imported_sessions i ON i.tenant_id = tenant.id AND i.original_id = $2
                   LEFT JOIN sessions s ON s.tenant_id = tenant.id AND s.session_id = i.session_id"#
            ),
            self.tenant.as_str(),
            original
        )
        .fetch_one(&mut **tx)
        .await?;
        let state = row.state.as_deref().map(views::read).transpose()?;
        let earlier = row.session_id.zip(row.sha256).map(|(id, sha256)| Earlier { session: SessionId::from_uuid(id), sha256, state });
        Ok((row.now, earlier))
    }

    /// Derived from the tenant and the original, never the original itself, even where it has our form: a sandbox, and those
    /// who wait and watch, are known by the id alone, and one that is given could be another tenant's.
    fn ids(&self, plan: &Plan) -> Ids {
        let original = plan.original_id.as_str();
        let operations = plan.operations.iter().enumerate().map(|(index, operation)| {
            let what = operation.given.clone().unwrap_or_else(|| format!("#{index}"));
            derived_operation(&self.tenant, original, &what)
        });
        Ids { session: derived_session(&self.tenant, original), operations: operations.collect() }
    }

    /// Of two that bring the same session one goes on; the other waits here for how it ends.
    async fn claim(
        &self,
        tx: &mut PgTransaction<'_>,
        by: &Caller,
        plan: &Plan,
        session: SessionId,
        sha256: &[u8; 32],
    ) -> Result<bool, Error> {
        let claimed = sqlx::query!(
            "INSERT INTO imported_sessions (tenant_id, original_id, session_id, imported_by, sha256, bundle) VALUES ($1, $2, $3, $4, $5, $6)
             -- On either key: the other index is written by the same two at once.
             ON CONFLICT DO NOTHING",
            self.tenant.as_str(),
            plan.original_id,
            session.uuid(),
            by.id.as_str(),
            sha256.as_slice(),
            plan.bundle
        )
        .execute(&mut **tx)
        .await?;
        Ok(claimed.rows_affected() == 1)
    }

    /// Keys, tenant, lease, session and operations, locked in the order in which everybody locks; the keys that were free.
    #[expect(clippy::too_many_lines, reason = "one statement; in parts it would be several round trips")]
    async fn begin(&self, tx: &mut PgTransaction<'_>, plan: &Plan, ids: &Ids) -> Result<Vec<String>, Error> {
        let tenants = &self.ledger.tenants;
        let up = plan.operations.iter().position(|operation| operation.kind == OperationKind::Up).unwrap_or_default();
        let fingerprint = idempotency::fingerprint(&plan.repo_url, &plan.branch, plan.public, &UpOptions::default());
        let keys: Vec<String> = plan.keys.iter().map(|key| key.as_str().to_owned()).collect();
        let first = plan.steps.first().map(|step| step.at);
        let operations: Result<Vec<_>, Error> = plan
            .operations
            .iter()
            .zip(&ids.operations)
            .map(|(operation, id)| {
                let error = views::write_failure(operation.error.as_ref())?;
                Ok(json!({
                    "operation_id": id.uuid(), "kind": operation.kind, "status": operation.status, "phase": operation.phase.as_str(),
                    "actor": operation.actor, "created_at": operation.created_at, "finished_at": operation.finished_at, "error": error,
                }))
            })
            .collect();
        let down = self.ledger.deadlines.of_operation(OperationKind::Down).as_secs_f64();
        let taken = sqlx::query_scalar!(
            r#"WITH key AS (
                INSERT INTO idempotency_keys (tenant_id, principal_id, action, key, fingerprint, operation_id, created_at)
                SELECT $1, $2, 'up', given.key, $3, $4, $5 FROM unnest($6::text[]) AS given (key)
                ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO NOTHING
                RETURNING key
            ), after AS MATERIALIZED (
                SELECT coalesce(array_agg(key), '{}') AS keys FROM key
            ), tenant AS (
                INSERT INTO tenants (tenant_id, max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal)
                SELECT $1, $7, $8, $9, $10 FROM after WHERE $11 ON CONFLICT DO NOTHING
            ), lease AS (
                INSERT INTO leases (tenant_id, session_id) SELECT $1, $12 FROM after
            ), session AS (
                INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, event_seq,
                    target_commit_sha, opencode_url, last_error, created_at, updated_at, ready_at, stopped_at)
                -- Where the history passes through `ready` it needs a commit and an address: taken away at its end.
                SELECT $1, $12, $2, $13, $14, $15, 'requested', $16, 1, coalesce($17, ''), '', $18, $5, $5, $19, $20 FROM after
            ), operation AS (
                INSERT INTO operations (tenant_id, operation_id, session_id, kind, status, phase, actor, error, created_at, finished_at, deadline_at)
                SELECT $1, o.operation_id, $12, o.kind, o.status, o.phase, o.actor, nullif(o.error, 'null'), o.created_at, o.finished_at,
                    coalesce(o.finished_at, now() + make_interval(secs => $21))
                FROM after, jsonb_to_recordset($22) AS o (operation_id uuid, kind text, status text, phase text, actor text, error jsonb,
                    created_at timestamptz, finished_at timestamptz)
            )
            SELECT keys AS "keys!" FROM after"#,
            self.tenant.as_str(),
            plan.owner.as_str(),
            fingerprint.as_slice(),
            ids.operations.get(up).map(|id| id.uuid()),
            first,
            &keys,
            tenants.quotas.max_active_sessions,
            tenants.quotas.max_active_sessions_per_principal,
            tenants.quotas.max_operations,
            tenants.quotas.max_operations_per_principal,
            tenants.on_first_sight,
            ids.session.uuid(),
            plan.repo_url.as_str(),
            plan.branch.as_str(),
            plan.public,
            ids.latest().uuid(),
            plan.target_commit_sha,
            views::write_failure(plan.last_error.as_ref())?,
            plan.ready_at,
            plan.stopped_at,
            down,
            serde_json::Value::Array(operations?),
        )
        .fetch_one(&mut **tx)
        .await?;
        Ok(taken)
    }

    /// The history, one step after the other; then the record, unverified, and what only the way there needed goes.
    async fn play(&self, tx: &mut PgTransaction<'_>, plan: &Plan, ids: &Ids) -> Result<(), Error> {
        let mut from: Option<SessionState> = None;
        let steps = plan.steps.iter().zip(&plan.of_step).zip(1..).map(|((step, of), seq)| {
            let row = json!({
                "seq": seq, "from_state": from, "to_state": step.to, "at": step.at, "actor": step.actor, "reason": step.reason,
                "operation_id": ids.operations.get(*of).map(|id| id.uuid()),
            });
            from = Some(step.to);
            row
        });
        let steps = serde_json::Value::Array(steps.collect());
        sqlx::query!("SELECT play_transitions($1, $2, $3)", self.tenant.as_str(), ids.session.uuid(), steps).execute(&mut **tx).await?;
        if let Some(record) = &plan.record {
            let durable_object_id = plan.durable_object_id.clone().unwrap_or_else(|| format!("rec_{}", ids.session.uuid().simple()));
            sqlx::query!(
                "INSERT INTO session_records (tenant_id, session_id, persist_attempt, durable_object_id, payload, sha256, operation_id, fence, persisted_at)
                 VALUES ($1, $2, 1, $3, $4, $5, $6, 0, $7)",
                self.tenant.as_str(),
                ids.session.uuid(),
                durable_object_id,
                record.bytes,
                record.sha256.as_slice(),
                ids.latest().uuid(),
                record.persisted_at
            )
            .execute(&mut **tx)
            .await?;
        }
        sqlx::query!(
            "UPDATE sessions SET updated_at = $3, opencode_url = NULL, target_commit_sha = nullif(target_commit_sha, '')
             WHERE tenant_id = $1 AND session_id = $2",
            self.tenant.as_str(),
            ids.session.uuid(),
            plan.updated_at
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn record_import(&self, tx: &mut PgTransaction<'_>, by: &Caller, plan: &Plan, session: SessionId) -> Result<(), Error> {
        let target = session.to_string();
        let deed =
            Deed { session: Some(session), owner: Some(plan.owner.as_str()), ..Deed::on("session.import", AuditOutcome::Done, &target) };
        self.record_deed(&mut **tx, by, &deed).await
    }
}

fn already(import: &ImportSession, earlier: Earlier, sha256: &[u8; 32]) -> Result<Imported, Error> {
    if earlier.sha256 != sha256 {
        return Err(Fault::ImportedOtherwise { session: earlier.session }.into());
    }
    Ok(Imported {
        outcome: ImportOutcome::AlreadyImported,
        session_id: earlier.session,
        original_id: import.session.session_id.clone(),
        state: earlier.state,
        operation_id: None,
        keys: Vec::new(),
        expired_keys: Vec::new(),
        warnings: Vec::new(),
    })
}

fn answer(dry_run: bool, plan: Plan, ids: &Ids, keys: Vec<String>) -> Imported {
    let mut warnings = plan.warnings;
    let taken = plan.keys.iter().filter(|key| !keys.iter().any(|written| written == key.as_str())).count();
    if taken > 0 {
        warnings.push("keys: the client-request-id names another up of its owner here; kept in the stored original only".to_owned());
    }
    let rests = plan.steps.last().map(|step| step.to);
    Imported {
        outcome: if dry_run { ImportOutcome::WouldImport } else { ImportOutcome::Imported },
        session_id: ids.session,
        original_id: plan.original_id,
        state: if plan.persists && dry_run { Some(SessionState::Stopped) } else { rests },
        operation_id: (plan.persists && !dry_run).then(|| ids.latest()),
        keys,
        expired_keys: plan.expired_keys,
        warnings,
    }
}
