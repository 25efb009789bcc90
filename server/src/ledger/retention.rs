//! What nobody may ask for any more goes, in batches, so that nothing grows with history. The database has
//! its own guards: it gives up no row before its time, whatever is asked here.

use std::time::Duration;

use super::{Error, Ledger};

impl Ledger {
    /// Free up to `limit` keys whose operations ended 72 h ago; how many it was.
    #[tracing::instrument(level = "debug", name = "ledger.sweep_keys", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "sweep_keys"))]
    pub async fn sweep_keys(&self, limit: i64) -> Result<u64, Error> {
        let swept = sqlx::query!(
            "WITH old AS MATERIALIZED (
                SELECT k.tenant_id, k.principal_id, k.action, k.key
                FROM idempotency_keys k JOIN operations o USING (tenant_id, operation_id)
                WHERE k.created_at <= now() - interval '72 hours' AND is_past(o.finished_at)
                ORDER BY k.created_at LIMIT $1 FOR UPDATE OF k SKIP LOCKED
             )
             DELETE FROM idempotency_keys k USING old
             WHERE k.tenant_id = old.tenant_id AND k.principal_id = old.principal_id AND k.action = old.action AND k.key = old.key",
            limit
        )
        .execute(self.statements())
        .await?;
        Ok(swept.rows_affected())
    }

    /// Of up to `limit` sessions that have been final for so long: a failed one goes; a stopped one keeps its
    /// record, its latest operation and its latest transition.
    #[tracing::instrument(level = "debug", name = "ledger.sweep_history", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "sweep_history"))]
    pub async fn sweep_history(&self, after: Duration, limit: i64) -> Result<i64, Error> {
        let swept = sqlx::query_scalar!(
            r#"WITH old AS MATERIALIZED (
                SELECT s.tenant_id, s.session_id, s.operation_id, s.transition_seq, s.state = 'failed' AS whole
                FROM leases l JOIN sessions s USING (tenant_id, session_id)
                WHERE s.state IN ('stopped', 'failed') AND s.history_swept_at IS NULL AND s.updated_at <= now() - make_interval(secs => $1)
                  AND NOT EXISTS (
                    SELECT FROM operations o JOIN idempotency_keys k USING (tenant_id, operation_id)
                    WHERE o.tenant_id = s.tenant_id AND o.session_id = s.session_id)
                  -- What was brought in stays as long from then on, however long ago it ended.
                  AND NOT EXISTS (
                    SELECT FROM imported_sessions i
                    WHERE i.tenant_id = s.tenant_id AND i.session_id = s.session_id AND i.imported_at > now() - make_interval(secs => $1))
                ORDER BY s.updated_at LIMIT $2 FOR UPDATE OF l, s SKIP LOCKED
            ), transition AS (
                DELETE FROM transitions t USING old
                WHERE t.tenant_id = old.tenant_id AND t.session_id = old.session_id AND (old.whole OR t.seq < old.transition_seq)
            ), progress AS (
                DELETE FROM progress p USING old WHERE p.tenant_id = old.tenant_id AND p.session_id = old.session_id
            ), password AS (
                -- Of one that an older worker has ended.
                DELETE FROM session_passwords p USING old WHERE p.tenant_id = old.tenant_id AND p.session_id = old.session_id
            ), log AS (
                DELETE FROM session_logs l USING old WHERE l.tenant_id = old.tenant_id AND l.session_id = old.session_id
            ), log_head AS (
                DELETE FROM session_log_heads l USING old WHERE l.tenant_id = old.tenant_id AND l.session_id = old.session_id
            ), operation AS (
                DELETE FROM operations o USING old
                WHERE o.tenant_id = old.tenant_id AND o.session_id = old.session_id AND (old.whole OR o.operation_id <> old.operation_id)
            ), lease AS (
                DELETE FROM leases l USING old WHERE old.whole AND l.tenant_id = old.tenant_id AND l.session_id = old.session_id
            ), failed AS (
                DELETE FROM sessions s USING old WHERE old.whole AND s.tenant_id = old.tenant_id AND s.session_id = old.session_id
            ), stopped AS (
                UPDATE sessions s SET history_swept_at = now() FROM old
                WHERE NOT old.whole AND s.tenant_id = old.tenant_id AND s.session_id = old.session_id
            )
            SELECT count(*) AS "count!" FROM old"#,
            after.as_secs_f64(),
            limit
        )
        .fetch_one(self.statements())
        .await?;
        Ok(swept)
    }
}
