//! The accept of a `down`: decided by the domain under the session's locked lease, in one transaction.

use alpine_api::{AuditOutcome, Operation, OperationId, OperationKind, SessionId, SessionState};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgTransaction};

use super::{Error, Ledger, TenantLedger, audit::Deed, views};
use crate::domain::{
    Fault,
    down::{Decision, Known, Situation, decide},
    failure,
    operation::Phase,
    principal::{Access, Caller, TenantId},
};

#[derive(Debug)]
pub struct NewDown {
    pub caller: Caller,
    pub session: SessionId,
    pub retry_persist: bool,
    pub force: bool,
    pub reason: Option<String>,
    pub traceparent: Option<String>,
}

/// What a `down` comes to.
#[derive(Debug, Clone)]
pub struct DownAnswer {
    pub operation: Operation,
    /// The operation that it overtook and ended.
    pub ended: Option<Operation>,
}

/// A new operation on a session that exists, and the transition that comes with it.
#[derive(Debug)]
pub(super) struct Begin<'a> {
    pub tenant: &'a TenantId,
    pub session: SessionId,
    pub kind: OperationKind,
    pub phase: Phase,
    pub to: Option<SessionState>,
    pub persist_attempt: i32,
    pub force: bool,
    pub actor: &'a str,
    pub reason: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    /// The time of everything that begins here, read when the session was locked.
    pub at: DateTime<Utc>,
}

struct Found {
    owner: String,
    situation: Situation,
    at: DateTime<Utc>,
}

impl TenantLedger {
    /// The operation that stops the session: a new one, or the one that did or does.
    #[tracing::instrument(level = "debug", name = "ledger.accept_down", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "accept_down"))]
    pub async fn accept_down(&self, down: NewDown) -> Result<DownAnswer, Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = self.situation(&mut tx, down.session).await?;
        let access = down.caller.access(&found.owner);
        let verdict = match access {
            Access::Denied => Err(Fault::NotOwner),
            Access::Own | Access::AsAdmin => decide(&found.situation, down.retry_persist),
        };
        let (cancel, to, phase, persist_attempt) = match verdict {
            Ok(Decision::Begin { cancel, to, phase, persist_attempt }) => (cancel, to, phase, persist_attempt),
            // That nothing begins is an answer about another's session all the same.
            nothing => {
                if access != Access::Own {
                    let outcome = if nothing.is_ok() { AuditOutcome::Done } else { AuditOutcome::Denied };
                    self.audit(&mut tx, &down, &found, outcome).await?;
                }
                tx.commit().await?;
                return Ok(DownAnswer { operation: self.same(nothing?).await?, ended: None });
            }
        };
        self.revoke(&mut tx, down.session).await?;
        if let Some(live) = cancel {
            self.cancel(&mut tx, down.session, live, found.at).await?;
        }
        let begin = Begin {
            tenant: &self.tenant,
            session: down.session,
            kind: OperationKind::Down,
            phase,
            to,
            persist_attempt,
            force: down.force,
            actor: down.caller.id.as_str(),
            reason: down.reason.as_deref(),
            traceparent: down.traceparent.as_deref(),
            at: found.at,
        };
        let operation = self.ledger.begin_operation(&mut tx, &begin).await?;
        if access == Access::AsAdmin {
            self.audit(&mut tx, &down, &found, AuditOutcome::Done).await?;
        }
        tx.commit().await?;
        self.ledger.hub.work();
        self.ledger.hub.happened(down.session);
        let ended = match cancel {
            Some(live) => {
                self.ledger.hub.ended(live);
                Some(self.view_operation(live).await?)
            }
            None => None,
        };
        Ok(DownAnswer { operation: self.view_operation(operation).await?, ended })
    }

    async fn same(&self, decision: Decision) -> Result<Operation, Error> {
        match decision {
            Decision::Same(operation) => self.view_operation(operation).await,
            Decision::Begin { .. } => Err(Error::Corrupt("a decision to begin is not the same operation".into())),
        }
    }

    /// Locked, with what the decision needs.
    async fn situation(&self, tx: &mut PgTransaction<'_>, session: SessionId) -> Result<Found, Error> {
        let locked = self.lock_session(tx, session).await?;
        let known = self.known_operations(tx, session).await?;
        let situation = Situation {
            state: locked.state,
            persist_attempt: locked.persist_attempt,
            live: known.iter().find(|op| !op.status.is_terminal()).copied(),
            last_down: known.iter().rfind(|op| op.kind == OperationKind::Down).copied(),
            latest: locked.operation,
        };
        Ok(Found { owner: locked.owner, situation, at: locked.at })
    }

    /// The live operation and the latest `down`, oldest first.
    async fn known_operations(&self, connection: &mut PgConnection, session: SessionId) -> Result<Vec<Known>, Error> {
        let rows = sqlx::query!(
            r#"(SELECT operation_id AS "operation_id!", kind AS "kind!", status AS "status!"
                FROM operations WHERE tenant_id = $1 AND session_id = $2 AND kind = 'down' ORDER BY created_at DESC LIMIT 1)
               UNION ALL
               (SELECT operation_id, kind, status
                FROM operations WHERE tenant_id = $1 AND session_id = $2 AND finished_at IS NULL AND kind <> 'down')"#,
            self.tenant.as_str(),
            session.uuid()
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Known { id: OperationId::from_uuid(row.operation_id), kind: views::read(&row.kind)?, status: views::read(&row.status)? })
            })
            .collect()
    }

    /// Whoever holds the lease is fenced off from here on.
    async fn revoke(&self, tx: &mut PgTransaction<'_>, session: SessionId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE leases SET fence = fence + 1, owner = NULL, until = NULL WHERE tenant_id = $1 AND session_id = $2",
            self.tenant.as_str(),
            session.uuid()
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    /// End an operation that a `down` overtakes. One that had failed already keeps its own error.
    async fn cancel(&self, tx: &mut PgTransaction<'_>, session: SessionId, operation: OperationId, at: DateTime<Utc>) -> Result<(), Error> {
        let cancelled = serde_json::to_value(failure::cancelled()).unwrap_or_default();
        sqlx::query!(
            "WITH token AS (
                DELETE FROM credentials WHERE tenant_id = $1 AND operation_id = $2
             ), session AS (
                UPDATE sessions SET last_error = coalesce(last_error, $3) WHERE tenant_id = $1 AND session_id = $5 AND operation_id = $2
             )
             UPDATE operations SET status = CASE WHEN error IS NULL THEN 'cancelled' ELSE 'failed' END,
                 error = coalesce(error, $3), finished_at = $4
             WHERE tenant_id = $1 AND operation_id = $2 AND finished_at IS NULL",
            self.tenant.as_str(),
            operation.uuid(),
            cancelled,
            at,
            session.uuid()
        )
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn audit(&self, tx: &mut PgTransaction<'_>, down: &NewDown, found: &Found, outcome: AuditOutcome) -> Result<(), Error> {
        let target = down.session.to_string();
        let deed = Deed {
            action: "session.down",
            outcome,
            target: &target,
            session: Some(down.session),
            owner: Some(&found.owner),
            reason: down.reason.as_deref(),
            at: Some(found.at),
        };
        self.record_deed(&mut **tx, &down.caller, &deed).await
    }
}

impl Ledger {
    /// Insert an operation and make its first transition. The caller holds the lease row's lock.
    pub(super) async fn begin_operation(&self, tx: &mut PgTransaction<'_>, begin: &Begin<'_>) -> Result<OperationId, Error> {
        let operation = OperationId::generate();
        let reason = begin.reason.map_or_else(|| format!("{} accepted", begin.kind.as_str()), str::to_owned);
        sqlx::query!(
            r#"WITH operation AS (
                INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, phase_schema, persist_attempt, force, actor, reason, traceparent,
                    deadline_at, created_at, available_at)
                VALUES ($1, $2, $3, $4, $5, $15, $6, $7, $8, $9, $10, $14::timestamptz + make_interval(secs => $11), $14, $14)
            ), session AS (
                UPDATE sessions SET operation_id = $2, persist_attempt = $6, updated_at = $14, sweep_at = NULL,
                    state = coalesce($12, state), transition_seq = transition_seq + CASE WHEN $12::text IS NULL THEN 0 ELSE 1 END,
                    event_seq = coalesce(event_seq, transition_seq) + CASE WHEN $12::text IS NULL THEN 0 ELSE 1 END,
                    opencode_url = CASE WHEN $12::text IS NULL THEN opencode_url END
                WHERE tenant_id = $1 AND session_id = $3
                RETURNING transition_seq, event_seq
            )
            INSERT INTO transitions (tenant_id, session_id, seq, event_seq, from_state, to_state, at, actor, reason, operation_id, fence)
            SELECT $1, $3, s.transition_seq, s.event_seq, old.state, $12, $14, $8, $13, $2, l.fence
            FROM session s, leases l, sessions old
            WHERE $12::text IS NOT NULL AND l.tenant_id = $1 AND l.session_id = $3 AND old.tenant_id = $1 AND old.session_id = $3"#,
            begin.tenant.as_str(),
            operation.uuid(),
            begin.session.uuid(),
            begin.kind.as_str(),
            begin.phase.as_str(),
            begin.persist_attempt,
            begin.force,
            begin.actor,
            begin.reason,
            begin.traceparent,
            self.deadlines.of_operation(begin.kind).as_secs_f64(),
            begin.to.map(SessionState::as_str),
            reason,
            begin.at,
            self.phases.of(begin.phase),
        )
        .execute(&mut **tx)
        .await?;
        Ok(operation)
    }
}
