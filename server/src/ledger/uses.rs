//! Uses of sessions that end when nobody uses them: as told by whoever saw them, and what follows where none is told.

use std::time::Duration;

use alpine_api::SessionId;
use uuid::Uuid;

use super::{Error, Ledger, TenantLedger};
use crate::domain::principal::{SYSTEM_ACTOR, TenantId};

/// In place of a phase, of progress that no operation makes.
const IDLE: &str = "idle";
/// Sessions a statement: short enough that nobody waits for it.
const AT_ONCE: usize = 500;

/// That somebody has used a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub tenant: TenantId,
    pub session: SessionId,
    /// How long ago: the database's clock says when that was.
    pub ago: Duration,
}

impl Ledger {
    /// Write down uses of sessions that have an idle timeout; which sessions are to be told of again. A session's uses are written once in
    /// half a minute, or in a quarter of its timeout, unless these are the `last` that are told. Whoever has locked it is not waited for.
    #[tracing::instrument(level = "debug", name = "ledger.note_uses", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "note_uses"))]
    pub async fn note_uses(&self, uses: &[Use], last: bool) -> Result<Vec<SessionId>, Error> {
        let mut again = Vec::new();
        for uses in uses.chunks(AT_ONCE) {
            let tenants: Vec<String> = uses.iter().map(|one| one.tenant.to_string()).collect();
            let sessions: Vec<Uuid> = uses.iter().map(|one| one.session.uuid()).collect();
            let ago: Vec<f64> = uses.iter().map(|one| one.ago.as_secs_f64()).collect();
            let kept = sqlx::query_scalar!(
                r#"WITH newer AS MATERIALIZED (
                    SELECT s.tenant_id, s.session_id, now() - make_interval(secs => told.ago) AS at,
                        $4 OR s.used_at <= now() - least(interval '30 seconds', make_interval(secs => s.idle_timeout_seconds / 4.0)) AS due
                    FROM unnest($1::text[], $2::uuid[], $3::float8[]) AS told (tenant_id, session_id, ago)
                    JOIN sessions s USING (tenant_id, session_id)
                    WHERE s.state = 'ready' AND s.idle_timeout_seconds IS NOT NULL AND s.used_at < now() - make_interval(secs => told.ago)
                ), taken AS MATERIALIZED (
                    SELECT s.tenant_id, s.session_id, newer.at FROM newer JOIN sessions s USING (tenant_id, session_id)
                    WHERE newer.due FOR NO KEY UPDATE OF s SKIP LOCKED
                ), written AS (
                    -- Looked at again: another server may have told of a later one.
                    UPDATE sessions s SET used_at = taken.at FROM taken
                    WHERE s.tenant_id = taken.tenant_id AND s.session_id = taken.session_id AND s.state = 'ready' AND s.used_at < taken.at
                )
                SELECT session_id AS "session_id!" FROM newer n
                WHERE NOT EXISTS (SELECT FROM taken t WHERE t.tenant_id = n.tenant_id AND t.session_id = n.session_id)"#,
                &tenants,
                &sessions,
                &ago,
                last
            )
            .fetch_all(self.statements())
            .await?;
            again.extend(kept.into_iter().map(SessionId::from_uuid));
        }
        Ok(again)
    }

    /// Look at up to `limit` sessions whether they have been used, and tell those who watch one that it is stopped soon; how many it was.
    #[tracing::instrument(level = "debug", name = "ledger.warn_idle", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "warn_idle"))]
    pub async fn warn_idle(&self, limit: i64) -> Result<usize, Error> {
        let looked = sqlx::query!(
            r#"WITH due AS (
                SELECT s.tenant_id, s.session_id, l.fence
                FROM sessions s JOIN leases l USING (tenant_id, session_id)
                WHERE s.idle_look_at <= now() AND s.state = 'ready' AND s.idle_look_at <> idle_end(s.used_at, s.idle_timeout_seconds)
                ORDER BY s.idle_look_at LIMIT $1
                FOR UPDATE OF l SKIP LOCKED
            ), session AS (
                -- Looked at again: it may have been used or stopped meanwhile. One that is warned of is looked at next at its end.
                UPDATE sessions s SET
                    used_at = idle_since(used_at, idle_timeout_seconds),
                    idle_look_at = idle_next(idle_since(used_at, idle_timeout_seconds), idle_timeout_seconds),
                    event_seq = CASE WHEN idle_next(idle_since(used_at, idle_timeout_seconds), idle_timeout_seconds)
                            = idle_end(idle_since(used_at, idle_timeout_seconds), idle_timeout_seconds)
                        THEN coalesce(event_seq, transition_seq) + 1 ELSE event_seq END
                FROM due WHERE s.tenant_id = due.tenant_id AND s.session_id = due.session_id AND s.idle_look_at <= now() AND s.state = 'ready'
                    AND s.idle_look_at <> idle_end(s.used_at, s.idle_timeout_seconds)
                RETURNING s.tenant_id, s.session_id, s.event_seq, s.state, s.operation_id, due.fence, s.idle_look_at,
                    s.idle_look_at = idle_end(s.used_at, s.idle_timeout_seconds) AS warned
            ), told AS (
                INSERT INTO progress (tenant_id, session_id, seq, at, state, phase, message, actor, operation_id, fence)
                SELECT tenant_id, session_id, event_seq, now(), state, $2,
                    to_char(idle_look_at AT TIME ZONE 'UTC', '"it is idle, and is stopped at "YYYY-MM-DD"T"HH24:MI:SS"Z"'), $3, operation_id, fence
                FROM session WHERE warned
            )
            SELECT session_id AS "session_id!", warned AS "warned!" FROM session"#,
            limit,
            IDLE,
            SYSTEM_ACTOR
        )
        .fetch_all(self.statements())
        .await?;
        for session in looked.iter().filter(|session| session.warned) {
            self.hub().happened(SessionId::from_uuid(session.session_id));
        }
        Ok(looked.len())
    }
}

impl TenantLedger {
    /// A use that this very request is.
    pub(super) async fn use_now(&self, connection: &mut sqlx::PgConnection, id: SessionId) -> Result<(), Error> {
        sqlx::query!(
            "UPDATE sessions SET used_at = greatest(used_at, now())
             WHERE tenant_id = $1 AND session_id = $2 AND state = 'ready' AND idle_timeout_seconds IS NOT NULL",
            self.tenant.as_str(),
            id.uuid()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
