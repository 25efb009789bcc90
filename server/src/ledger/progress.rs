//! How far a phase is, appended under the lease of the worker that runs it.

use alpine_api::SessionState;

use super::{Error, Job, Ledger};

/// A step within a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A line for people: at most 1,000 characters, none of them a control character.
    pub message: String,
    /// From 0 to 100.
    pub percent: Option<i16>,
}

impl Ledger {
    /// Append progress of the job's phase to the session's events. `Fenced`: nothing was written. A progress never
    /// changes `updated_at`: what is listed keeps its order.
    #[tracing::instrument(level = "debug", name = "ledger.append_progress", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "append_progress"))]
    pub async fn append_progress(&self, job: &Job, progress: &Progress) -> Result<(), Error> {
        let lease = &job.lease;
        let state: SessionState = job.session.state;
        let row = sqlx::query!(
            r#"WITH ok AS MATERIALIZED (
                SELECT now() AS at WHERE hold_lease($1, $2, $3, $4)
            ), session AS (
                UPDATE sessions s SET event_seq = coalesce(event_seq, transition_seq) + 1
                FROM ok WHERE s.tenant_id = $1 AND s.session_id = $2 AND s.state = $5
                RETURNING s.event_seq, ok.at
            ), progress AS (
                INSERT INTO progress (tenant_id, session_id, seq, at, state, phase, message, percent, actor, operation_id, fence)
                SELECT $1, $2, event_seq, at, $5, $6, $7, $8, $9, $10, $3 FROM session
            )
            SELECT (SELECT count(*) FROM ok) AS "held!", (SELECT count(*) FROM session) AS "written!""#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            state.as_str(),
            job.phase.as_str(),
            progress.message,
            progress.percent,
            job.actor,
            job.operation.uuid(),
        )
        .fetch_one(self.statements())
        .await?;
        match (row.held, row.written) {
            (1, 1) => {
                self.hub.happened(lease.session);
                Ok(())
            }
            (0, _) => Err(Error::Fenced),
            _ => Err(Error::OutOfStep { expected: state }),
        }
    }
}
