//! The durable record: written under the lease, read back on another connection, marked verified.

use alpine_api::{
    OperationId, OperationStatus, OperationSummary, RECORD_SCHEMA_VERSION, SessionId, SessionRecord, SessionState, StoredRecord, Transition,
};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Error, Job, Ledger, TenantLedger,
    scope::in_tenant,
    views::{self, TransitionRow},
};
use crate::domain::{
    Fault,
    principal::Caller,
    record::{self, RecordError},
};

/// The reason of the transition that ends a session well; the record has it before the ledger does.
pub const STOPPED_REASON: &str = "record verified, sandbox removed";

/// A record as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub durable_object_id: String,
    pub payload: Vec<u8>,
    pub sha256: Vec<u8>,
    /// The one time of everything that this record ends.
    pub persisted_at: DateTime<Utc>,
}

impl Ledger {
    /// Store the record of this persist attempt, or find the one that an interrupted try stored.
    #[tracing::instrument(level = "debug", name = "ledger.write_record", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "write_record"))]
    pub async fn write_record(&self, job: &Job) -> Result<Written, Error> {
        let mut tx = self.transactions().begin().await?;
        lock_lease(&mut tx, job).await?;
        if let Some(written) = find(&mut tx, job).await? {
            tx.rollback().await?;
            return Ok(written);
        }
        let record = build(&mut tx, job).await?;
        let persisted_at = record.persisted_at;
        let payload = record::compact(record)?;
        let durable_object_id = format!("rec_{}", Uuid::now_v7().simple());
        sqlx::query!(
            "INSERT INTO session_records (tenant_id, session_id, persist_attempt, durable_object_id, payload, sha256, operation_id, fence, persisted_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            job.lease.tenant.as_str(),
            job.lease.session.uuid(),
            job.persist_attempt,
            durable_object_id,
            payload.bytes,
            payload.sha256.as_slice(),
            job.operation.uuid(),
            job.lease.fence,
            persisted_at
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Written { durable_object_id, payload: payload.bytes, sha256: payload.sha256.to_vec(), persisted_at })
    }

    /// Read the record back on a connection that did not write it, compare, and mark it verified.
    #[tracing::instrument(level = "debug", name = "ledger.verify_record", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "verify_record"))]
    pub async fn verify_record(&self, job: &Job, written: &Written) -> Result<(), Error> {
        // Another pool than the one that wrote, so another connection.
        let mut other = self.statements().acquire().await?;
        let stored = find(&mut other, job).await?.ok_or(Error::RecordDiffers)?;
        drop(other);
        if stored != *written || record::digest(&stored.payload).as_slice() != written.sha256 {
            return Err(Error::RecordDiffers);
        }
        let lease = &job.lease;
        let marked = sqlx::query!(
            "WITH ok AS MATERIALIZED (SELECT 1 WHERE hold_lease($1, $2, $3, $4))
            UPDATE session_records SET verified_at = coalesce(verified_at, now()) FROM ok
            WHERE tenant_id = $1 AND session_id = $2 AND persist_attempt = $5",
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            job.persist_attempt
        )
        .execute(self.statements())
        .await?;
        if marked.rows_affected() == 1 { Ok(()) } else { Err(Error::Fenced) }
    }

    /// The verified record of this persist attempt: without one nothing may be destroyed.
    #[tracing::instrument(level = "debug", name = "ledger.verified_record", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "verified_record"))]
    pub async fn verified_record(&self, job: &Job) -> Result<Option<(String, DateTime<Utc>)>, Error> {
        let row = sqlx::query!(
            "SELECT durable_object_id, persisted_at FROM session_records
             WHERE tenant_id = $1 AND session_id = $2 AND persist_attempt = $3 AND verified_at IS NOT NULL",
            job.lease.tenant.as_str(),
            job.lease.session.uuid(),
            job.persist_attempt
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(row.map(|row| (row.durable_object_id, row.persisted_at)))
    }
}

async fn lock_lease(connection: &mut PgConnection, job: &Job) -> Result<(), Error> {
    let lease = &job.lease;
    let held = sqlx::query_scalar!(
        r#"SELECT hold_lease($1, $2, $3, $4) AS "held!""#,
        lease.tenant.as_str(),
        lease.session.uuid(),
        lease.fence,
        lease.owner
    )
    .fetch_one(connection)
    .await?;
    if held { Ok(()) } else { Err(Error::Fenced) }
}

async fn find(connection: &mut PgConnection, job: &Job) -> Result<Option<Written>, Error> {
    let found = sqlx::query_as!(
        Written,
        "SELECT durable_object_id, payload, sha256, persisted_at FROM session_records
         WHERE tenant_id = $1 AND session_id = $2 AND persist_attempt = $3",
        job.lease.tenant.as_str(),
        job.lease.session.uuid(),
        job.persist_attempt
    )
    .fetch_optional(connection)
    .await?;
    Ok(found)
}

/// The record says what will be true when it is all there is: stopped, the `down` complete, dated by
/// this transaction's clock. The commit that ends the session takes that very time.
async fn build(connection: &mut PgConnection, job: &Job) -> Result<SessionRecord, Error> {
    let session = sqlx::query!(
        r#"SELECT principal_id, repo_url, branch, transition_seq, last_error, created_at, stopped_at, now() AS "now!"
           FROM sessions WHERE tenant_id = $1 AND session_id = $2"#,
        job.lease.tenant.as_str(),
        job.lease.session.uuid()
    )
    .fetch_one(&mut *connection)
    .await?;
    let persisted_at = session.now;
    let mut state_transitions = transitions(connection, job).await?;
    state_transitions.push(Transition {
        seq: session.transition_seq + 1,
        from_state: Some(job.session.state),
        to_state: SessionState::Stopped,
        at: persisted_at,
        actor: job.actor.clone(),
        reason: STOPPED_REASON.to_owned(),
        operation_id: job.operation,
        fence: job.lease.fence,
    });
    let mut operation_history = operations(connection, job).await?;
    for operation in operation_history.iter_mut().filter(|operation| operation.operation_id == job.operation) {
        operation.status = OperationStatus::Succeeded;
        operation.finished_at = Some(persisted_at);
        operation.error = None;
    }
    Ok(SessionRecord {
        schema_version: RECORD_SCHEMA_VERSION.to_owned(),
        session_id: job.lease.session,
        principal_id: session.principal_id,
        repo_url: session.repo_url,
        branch: session.branch,
        state: SessionState::Stopped,
        state_transitions,
        started_at: session.created_at,
        stopped_at: session.stopped_at.unwrap_or(persisted_at),
        persisted_at,
        operation_history,
        last_error: views::read_failure(session.last_error)?,
        history_truncated: false,
    })
}

async fn transitions(connection: &mut PgConnection, job: &Job) -> Result<Vec<Transition>, Error> {
    let rows = sqlx::query_as!(
        TransitionRow,
        "SELECT seq, from_state, to_state, at, actor, reason, operation_id, fence FROM transitions
         WHERE tenant_id = $1 AND session_id = $2 ORDER BY seq",
        job.lease.tenant.as_str(),
        job.lease.session.uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Transition::try_from).collect()
}

async fn operations(connection: &mut PgConnection, job: &Job) -> Result<Vec<OperationSummary>, Error> {
    let rows = sqlx::query!(
        "SELECT operation_id, kind, status, actor, created_at, finished_at, error FROM operations
         WHERE tenant_id = $1 AND session_id = $2 ORDER BY created_at, operation_id",
        job.lease.tenant.as_str(),
        job.lease.session.uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(OperationSummary {
                operation_id: OperationId::from_uuid(row.operation_id),
                kind: views::read(&row.kind)?,
                status: views::read(&row.status)?,
                actor: row.actor,
                created_at: row.created_at,
                finished_at: row.finished_at,
                error: views::read_failure(row.error)?,
            })
        })
        .collect()
}

impl TenantLedger {
    /// The newest verified record.
    #[tracing::instrument(level = "debug", name = "ledger.record", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "record"))]
    pub async fn record(&self, by: &Caller, id: SessionId) -> Result<StoredRecord, Error> {
        self.authorize(by, "record.read", id).await?;
        let row = in_tenant!(
            query(
                r#"SELECT durable_object_id, payload, sha256, persisted_at, verified_at AS "verified_at!" FROM session_records
                   WHERE tenant_id = tenant.id AND session_id = $2 AND verified_at IS NOT NULL ORDER BY persist_attempt DESC LIMIT 1"#
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Fault::NoRecord)?;
        let size_bytes = i64::try_from(row.payload.len()).unwrap_or(i64::MAX);
        let text = String::from_utf8(row.payload).map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(StoredRecord {
            session_id: id,
            durable_object_id: row.durable_object_id,
            sha256: row.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            size_bytes,
            persisted_at: row.persisted_at,
            verified_at: row.verified_at,
            record: RawValue::from_string(text).map_err(|error| Error::Record(RecordError::Encode(error)))?,
        })
    }
}
