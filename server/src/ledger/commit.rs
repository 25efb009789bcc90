//! One step of an operation, committed: one statement that locks the lease, proves it held, and writes.

use alpine_api::{Failure, OperationStatus, SessionState};
use chrono::{DateTime, Utc};
use std::time::Instant;

use super::{Error, Job, Ledger, views};
use crate::domain::{lifecycle, operation::Phase, repo::CommitSha};

/// What a phase found out.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    pub target: Option<CommitSha>,
    pub sandbox: Option<serde_json::Value>,
    pub opencode_url: Option<String>,
    pub durable_object_id: Option<String>,
}

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    pub status: OperationStatus,
}

/// What is written at the end of a phase.
#[derive(Debug, Clone)]
pub struct Step {
    /// The state that the session goes to; the same as before means no transition.
    pub to: SessionState,
    pub reason: String,
    /// The phase that comes next; the last one when the operation ends.
    pub phase: Phase,
    pub findings: Findings,
    /// Why the operation fails: known from here on, even if its clean-up still runs.
    pub failure: Option<Failure>,
    pub end: Option<End>,
    /// The time of everything in this commit, where a record has dated it already.
    pub at: Option<DateTime<Utc>>,
    /// When the sweeper tries again what has failed here.
    pub sweep_after: Option<std::time::Duration>,
}

impl Ledger {
    /// Write a step under the job's lease, and bring the job up to date. `Fenced`: nothing was written.
    #[tracing::instrument(level = "debug", name = "ledger.commit", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "commit"))]
    pub async fn commit(&self, job: &mut Job, step: Step) -> Result<(), Error> {
        let from = job.session.state;
        let moves = step.to != from;
        if moves && !lifecycle::allowed(Some(from), step.to) {
            return Err(crate::domain::Fault::IllegalTransition { from, to: step.to }.into());
        }
        self.write(job, &step, moves).await?;
        job.session.state = step.to;
        if step.phase != job.phase {
            job.phase = step.phase;
            job.phase_attempt = 0;
            job.phase_began = None;
        }
        job.phase_began.get_or_insert_with(Instant::now);
        job.failure = step.failure.or(job.failure.take());
        job.session.target = step.findings.target.or(job.session.target.take());
        job.session.sandbox = step.findings.sandbox.or(job.session.sandbox.take());
        if moves {
            self.hub.happened(job.lease.session);
        }
        if step.end.is_some() {
            self.hub.ended(job.operation);
        }
        Ok(())
    }

    #[expect(clippy::too_many_lines, reason = "one statement; in parts it would be three round trips")]
    async fn write(&self, job: &Job, step: &Step, moves: bool) -> Result<(), Error> {
        let lease = &job.lease;
        let row = sqlx::query!(
            r#"WITH ok AS MATERIALIZED (
                SELECT coalesce($5, now()) AS at WHERE hold_lease($1, $2, $3, $4)
            ), session AS (
                UPDATE sessions s SET
                    state = $7, updated_at = ok.at, transition_seq = transition_seq + CASE WHEN $8 THEN 1 ELSE 0 END,
                    event_seq = coalesce(event_seq, transition_seq) + CASE WHEN $8 THEN 1 ELSE 0 END,
                    target_commit_sha = coalesce($9, target_commit_sha), sandbox = coalesce($10, sandbox),
                    opencode_url = coalesce($11, CASE WHEN $7 = 'ready' THEN opencode_url END),
                    ready_at = CASE WHEN $8 AND $7 = 'ready' THEN ok.at ELSE ready_at END,
                    stopped_at = CASE WHEN $8 AND $7 IN ('persisting', 'stopped_unpersisted') THEN coalesce(stopped_at, ok.at) ELSE stopped_at END,
                    persisted_at = CASE WHEN $7 = 'stopped' THEN ok.at ELSE persisted_at END,
                    durable_object_id = coalesce($12, durable_object_id),
                    last_error = CASE
                        WHEN $7 IN ('ready', 'stopped') THEN NULL
                        -- What went wrong first is why the session failed.
                        WHEN $7 = 'cleanup_failed' THEN coalesce(last_error, $13)
                        ELSE coalesce($13, last_error) END,
                    sweep_at = now() + make_interval(secs => $14 * power(2, least(sweep_attempt, 6))),
                    sweep_attempt = sweep_attempt + CASE WHEN $14::float8 IS NULL THEN 0 ELSE 1 END
                FROM ok WHERE s.tenant_id = $1 AND s.session_id = $2 AND s.state = $6
                RETURNING s.transition_seq, s.event_seq, ok.at
            ), operation AS (
                UPDATE operations o SET
                    phase = $15, phase_schema = greatest(o.phase_schema, $20), phase_attempt = CASE WHEN o.phase = $15 THEN o.phase_attempt ELSE 0 END,
                    phase_started_at = CASE WHEN o.phase = $15 AND o.phase_started_at IS NOT NULL THEN o.phase_started_at ELSE now() END,
                    error = coalesce($13, error), status = coalesce($16, status),
                    finished_at = CASE WHEN $16::text IS NOT NULL THEN session.at END
                FROM session WHERE o.tenant_id = $1 AND o.operation_id = $17
            ), transition AS (
                INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
                SELECT $1, $2, transition_seq, event_seq, $6, $7, at, $18, $19, $17, $3 FROM session WHERE $8
            ), token AS (
                DELETE FROM credentials c USING session WHERE $16::text IS NOT NULL AND c.tenant_id = $1 AND c.operation_id = $17
            ), password AS (
                DELETE FROM session_passwords p USING session WHERE $7 IN ('stopped', 'failed') AND p.tenant_id = $1 AND p.session_id = $2
            ), lease AS (
                UPDATE leases l SET owner = NULL, until = NULL FROM session
                WHERE $16::text IS NOT NULL AND l.tenant_id = $1 AND l.session_id = $2
            )
            SELECT (SELECT count(*) FROM ok) AS "held!", (SELECT count(*) FROM session) AS "written!""#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            step.at,
            job.session.state.as_str(),
            step.to.as_str(),
            moves,
            step.findings.target.as_ref().map(CommitSha::as_str),
            step.findings.sandbox,
            step.findings.opencode_url,
            step.findings.durable_object_id,
            views::write_failure(step.failure.as_ref())?,
            step.sweep_after.map(|after| after.as_secs_f64()),
            step.phase.as_str(),
            step.end.map(|end| end.status.as_str()),
            job.operation.uuid(),
            job.actor,
            step.reason,
            self.phases.of(step.phase),
        )
        .fetch_one(self.statements())
        .await?;
        match (row.held, row.written) {
            (1, 1) => Ok(()),
            (0, _) => Err(Error::Fenced),
            _ => Err(Error::OutOfStep { expected: job.session.state }),
        }
    }
}
