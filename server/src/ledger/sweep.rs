//! What nobody asks for and must happen all the same: another try at a clean-up or a close that failed, and the end of a session
//! whose lifetime is over or that nobody uses.

use alpine_api::{OperationKind, SessionId, SessionState, lifetime_shown};
use chrono::{DateTime, Utc};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Error, Ledger, accept_down::Begin, views};
use crate::domain::{
    operation::Phase,
    principal::{SYSTEM_ACTOR, TenantId},
};

/// In place of a phase, of progress that no operation makes.
const LIFETIME: &str = "lifetime";
/// Why a session is stopped that nobody has stopped.
const LIFETIME_OVER: &str = "its lifetime is over";

/// A use may be on its way here for so long.
const IDLE_GRACE_SECONDS: f64 = 10.0;

struct Due {
    tenant: TenantId,
    session: SessionId,
    state: SessionState,
    persist_attempt: i32,
    at: DateTime<Utc>,
    /// Of one that is ready: why it ends.
    end: String,
}

impl Ledger {
    /// Begin an operation for up to `limit` sessions whose time has come; how many it was. `idle`: also for those that nobody uses.
    #[tracing::instrument(level = "debug", name = "ledger.sweep", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "sweep"))]
    pub async fn sweep(&self, limit: i64, idle: bool) -> Result<usize, Error> {
        let due = sqlx::query!(
            r#"(SELECT tenant_id AS "tenant_id!", session_id AS "session_id!" FROM sessions WHERE sweep_at <= now() AND state IN ('cleanup_failed', 'close_failed')
              ORDER BY sweep_at LIMIT $1)
             UNION ALL
             (SELECT tenant_id, session_id FROM sessions WHERE expires_at <= now() AND state = 'ready' ORDER BY expires_at LIMIT $1)
             UNION ALL
             (SELECT tenant_id, session_id FROM sessions WHERE $2 AND idle_look_at <= now() - make_interval(secs => $3) AND state = 'ready'
                AND idle_look_at = idle_end(used_at, idle_timeout_seconds) ORDER BY idle_look_at LIMIT $1)"#,
            limit,
            idle,
            IDLE_GRACE_SECONDS
        )
        .fetch_all(self.statements())
        .await?;
        let mut begun = 0;
        for row in due {
            match self.sweep_one(&row.tenant_id, row.session_id, idle).await {
                Ok(one) => begun += usize::from(one),
                // It must not keep the others waiting.
                Err(error) => tracing::warn!(session = %row.session_id, error = &error as &dyn std::error::Error, "cannot be tried again"),
            }
        }
        if begun > 0 {
            self.hub().work();
        }
        Ok(begun)
    }

    /// Tell those who watch up to `limit` sessions that their end is near; how many it was.
    #[tracing::instrument(level = "debug", name = "ledger.warn", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "warn"))]
    pub async fn warn(&self, limit: i64) -> Result<usize, Error> {
        let warned = sqlx::query_scalar!(
            r#"WITH due AS (
                SELECT s.tenant_id, s.session_id, l.fence
                FROM sessions s JOIN leases l USING (tenant_id, session_id)
                WHERE s.warn_at <= now() AND s.state = 'ready' AND s.expires_at > now() ORDER BY s.warn_at LIMIT $1
                FOR UPDATE OF l SKIP LOCKED
            ), session AS (
                -- Looked at again: it may have been extended, stopped or warned of meanwhile.
                UPDATE sessions s SET warn_at = NULL, event_seq = coalesce(event_seq, transition_seq) + 1
                FROM due WHERE s.tenant_id = due.tenant_id AND s.session_id = due.session_id AND s.warn_at <= now() AND s.state = 'ready'
                RETURNING s.tenant_id, s.session_id, s.event_seq, s.state, s.expires_at, s.operation_id, due.fence
            )
            INSERT INTO progress (tenant_id, session_id, seq, at, state, phase, message, actor, operation_id, fence)
            SELECT tenant_id, session_id, event_seq, now(), state, $2,
                to_char(expires_at AT TIME ZONE 'UTC', '"its lifetime is over at "YYYY-MM-DD"T"HH24:MI:SS"Z"'), $3, operation_id, fence
            FROM session
            RETURNING session_id"#,
            limit,
            LIFETIME,
            SYSTEM_ACTOR
        )
        .fetch_all(self.statements())
        .await?;
        for session in &warned {
            self.hub().happened(SessionId::from_uuid(*session));
        }
        Ok(warned.len())
    }

    async fn sweep_one(&self, tenant: &str, session: Uuid, idle: bool) -> Result<bool, Error> {
        let mut tx = self.transactions().begin().await?;
        let Some(due) = lock_due(&mut tx, tenant, session, idle).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        let (kind, phase, to, force, reason) = match due.state {
            SessionState::Ready => (OperationKind::Down, Phase::Stop, SessionState::Stopping, false, due.end.as_str()),
            SessionState::CloseFailed => (OperationKind::Down, Phase::Stop, SessionState::Stopping, true, "another try to stop"),
            _ => (OperationKind::Cleanup, Phase::Cleanup, SessionState::Failing, true, "another try to clean up"),
        };
        let begin = Begin {
            tenant: &due.tenant,
            session: due.session,
            kind,
            phase,
            to: Some(to),
            persist_attempt: due.persist_attempt,
            force,
            actor: SYSTEM_ACTOR,
            reason: Some(reason),
            traceparent: None,
            at: due.at,
        };
        self.begin_operation(&mut tx, &begin).await?;
        tx.commit().await?;
        self.hub().happened(due.session);
        Ok(true)
    }
}

/// Lock the lease of a session that is still due; another server may have been quicker.
async fn lock_due(tx: &mut PgTransaction<'_>, tenant: &str, session: Uuid, idle: bool) -> Result<Option<Due>, Error> {
    let locked =
        sqlx::query_scalar!("SELECT fence FROM leases WHERE tenant_id = $1 AND session_id = $2 FOR UPDATE SKIP LOCKED", tenant, session)
            .fetch_optional(&mut **tx)
            .await?;
    if locked.is_none() {
        return Ok(None);
    }
    // Somebody may have used it meanwhile; and nobody's ends that was not warned of.
    let row = sqlx::query!(
        r#"SELECT state, persist_attempt, idle_timeout_seconds, clock_timestamp() AS "at!", expires_at <= now() AS expired FROM sessions
           WHERE tenant_id = $1 AND session_id = $2
             AND (sweep_at <= now() AND state IN ('cleanup_failed', 'close_failed') OR expires_at <= now() AND state = 'ready'
                OR $3 AND idle_look_at <= now() - make_interval(secs => $4) AND idle_look_at = idle_end(used_at, idle_timeout_seconds)
                AND state = 'ready')
           FOR UPDATE"#,
        tenant,
        session,
        idle,
        IDLE_GRACE_SECONDS
    )
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|row| {
        Ok(Due {
            tenant: TenantId::parse(tenant).map_err(|error| Error::Corrupt(error.to_string()))?,
            session: SessionId::from_uuid(session),
            state: views::read(&row.state)?,
            persist_attempt: row.persist_attempt,
            at: row.at,
            end: match row.idle_timeout_seconds.filter(|_| row.expired != Some(true)) {
                Some(timeout) => format!("nobody has used it for {}", lifetime_shown(timeout)),
                None => LIFETIME_OVER.to_owned(),
            },
        })
    })
    .transpose()
}
