//! The ledger's invariants in SQL, to be read line by line. Each query gives a row for whatever breaks its rule.

use alpine_api::SessionState;
use alpine_server::domain::lifecycle;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{Limits, Violation};

/// A rule, and the query that finds what breaks it: one column `what`. It may use `limits (lease, cleanup, slack)`
/// and `paths (from_state, to_state)`, the transition table of the server's code.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    pub sql: &'static str,
}

pub const ALWAYS: &[Check] = &[
    Check {
        name: "one_live_operation",
        sql: "SELECT format('%s has %s live operations', session_id, count(*)) AS what
              FROM operations WHERE status IN ('queued', 'running')
              GROUP BY tenant_id, session_id HAVING count(*) > 1",
    },
    Check {
        // And a session that rests has none.
        name: "transitional_has_one_operation",
        sql: "SELECT format('%s is %s and has %s live operations', session_id, state, coalesce(live.n, 0)) AS what
              FROM sessions LEFT JOIN (
                  SELECT tenant_id, session_id, count(*) AS n FROM operations WHERE status IN ('queued', 'running')
                  GROUP BY tenant_id, session_id
              ) AS live USING (tenant_id, session_id)
              WHERE coalesce(live.n, 0) <> CASE
                  WHEN state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting') THEN 1
                  ELSE 0 END",
    },
    Check {
        name: "session_has_a_lease",
        sql: "SELECT format('%s is %s and has no lease row', session_id, state) AS what
              FROM sessions LEFT JOIN leases l USING (tenant_id, session_id) WHERE l.fence IS NULL",
    },
    Check {
        name: "live_operation_in_time",
        sql: "SELECT format('%s %s of %s is in %s %s after it had to be over', kind, operation_id, session_id, phase, clock_timestamp() - due)
                  AS what
              FROM (
                  SELECT o.*, lease + slack + CASE
                      WHEN phase = 'cleanup' THEN greatest(deadline_at, phase_started_at + cleanup) ELSE deadline_at END AS due
                  FROM operations o, limits WHERE status IN ('queued', 'running')
              ) AS live WHERE due < clock_timestamp()",
    },
    Check {
        name: "fences_only_grow",
        sql: "SELECT format('event %s of %s (%s) carries fence %s after fence %s', seq, session_id, to_state, fence, before) AS what
              FROM (SELECT *, lag(fence) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before FROM transitions) AS events
              WHERE fence < before
              UNION ALL
              SELECT format('event %s of %s carries fence %s, its lease has %s', seq, session_id, t.fence, l.fence)
              FROM transitions t JOIN leases l USING (tenant_id, session_id) WHERE t.fence > l.fence
              UNION ALL
              SELECT format('record %s of %s carries fence %s, its lease has %s', persist_attempt, session_id, r.fence, l.fence)
              FROM session_records r JOIN leases l USING (tenant_id, session_id) WHERE r.fence > l.fence",
    },
    Check {
        // By transactions, which follow each other under the lease: one that waited for it is dated earlier than
        // the one that it waited for.
        name: "ended_operations_write_nothing",
        sql: "SELECT format('event %s of %s (%s, transaction %s) is of %s, which ended in transaction %s', seq, t.session_id, to_state, t.xmin,
                  operation_id, o.xmin) AS what
              FROM transitions t JOIN operations o USING (tenant_id, operation_id)
              WHERE (finished_at IS NOT NULL AND age(t.xmin) < age(o.xmin)) OR o.session_id <> t.session_id",
    },
    Check {
        name: "time_never_runs_backwards",
        sql: "SELECT format('event %s of %s (%s) is of %s, the one before it of %s', seq, session_id, to_state, at, before) AS what
              FROM (SELECT *, lag(at) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before FROM transitions) AS events
              WHERE at < before
              UNION ALL
              SELECT format('%s of %s ended at %s, its event %s is of %s', operation_id, o.session_id, finished_at, seq, at)
              FROM transitions JOIN operations o USING (tenant_id, operation_id) WHERE finished_at < at",
    },
    Check {
        name: "transitions_within_the_table",
        sql: "SELECT format('event %s of %s goes from %s to %s', seq, session_id, t.from_state, t.to_state) AS what
              FROM transitions t
              LEFT JOIN paths p ON p.to_state = t.to_state AND coalesce(p.from_state, '') = coalesce(t.from_state, '')
              WHERE p.to_state IS NULL",
    },
    Check {
        name: "final_is_final",
        sql: "SELECT format('%s was %s and then, with event %s, %s', session_id, before, seq, to_state) AS what
              FROM (SELECT *, lag(to_state) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before FROM transitions) AS events
              WHERE before IN ('stopped', 'failed') OR from_state IN ('stopped', 'failed')",
    },
    Check {
        name: "replayed_events_give_the_state",
        sql: "SELECT format('event %s of %s goes on from %s; event %s ended in %s', seq, session_id, from_state, seq_before, before) AS what
              FROM (
                  SELECT t.*, lag(t.seq, 1, 0::bigint) OVER own AS seq_before, lag(t.to_state) OVER own AS before
                  FROM transitions t JOIN sessions s USING (tenant_id, session_id) WHERE history_swept_at IS NULL
                  WINDOW own AS (PARTITION BY t.tenant_id, t.session_id ORDER BY t.seq)
              ) AS events WHERE seq <> seq_before + 1 OR from_state IS DISTINCT FROM before
              UNION ALL
              SELECT format('%s is %s (%s); its events end in %s (%s)', session_id, state, transition_seq, last.to_state, last.seq)
              FROM sessions LEFT JOIN (
                  SELECT DISTINCT ON (tenant_id, session_id) * FROM transitions ORDER BY tenant_id, session_id, seq DESC
              ) AS last USING (tenant_id, session_id)
              WHERE (state, transition_seq) IS DISTINCT FROM (last.to_state, last.seq)",
    },
    Check {
        // Transitions and progress together. What was written before events had numbers has the transitions' own.
        name: "events_are_numbered_without_gaps",
        sql: "SELECT format('event %s of %s (%s) comes after event %s', seq, session_id, what, before) AS what
              FROM (
                  SELECT *, lag(seq, 1, 0::bigint) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before
                  FROM (
                      SELECT tenant_id, session_id, coalesce(event_seq, seq) AS seq, to_state AS what FROM transitions
                      UNION ALL SELECT tenant_id, session_id, seq, phase FROM progress
                  ) AS both_kinds JOIN sessions s USING (tenant_id, session_id) WHERE history_swept_at IS NULL
              ) AS events WHERE seq <> before + 1
              UNION ALL
              SELECT format('%s has counted %s events; the last has number %s', session_id, coalesce(event_seq, transition_seq), last)
              FROM sessions JOIN (
                  SELECT tenant_id, session_id, max(seq) AS last FROM (
                      SELECT tenant_id, session_id, coalesce(event_seq, seq) AS seq FROM transitions
                      UNION ALL SELECT tenant_id, session_id, seq FROM progress
                  ) AS both_kinds GROUP BY tenant_id, session_id
              ) AS events USING (tenant_id, session_id)
              WHERE history_swept_at IS NULL AND coalesce(event_seq, transition_seq) <> last",
    },
    Check {
        // Of the operation that is under way, but for what the sweeper tells of a ready session.
        name: "progress_is_of_its_operation",
        sql: "SELECT format('progress %s of %s (fence %s, transaction %s) is of %s %s, which ended in transaction %s; the lease has fence %s',
                  p.seq, p.session_id, p.fence, p.xmin, o.kind, p.operation_id, o.xmin, l.fence) AS what
              FROM progress p LEFT JOIN operations o USING (tenant_id, operation_id)
              JOIN leases l ON (l.tenant_id, l.session_id) = (p.tenant_id, p.session_id)
              JOIN sessions s ON (s.tenant_id, s.session_id) = (p.tenant_id, p.session_id)
              WHERE history_swept_at IS NULL
                AND (o.session_id IS DISTINCT FROM p.session_id OR p.fence > l.fence OR (finished_at IS NOT NULL AND age(p.xmin) < age(o.xmin) AND p.phase NOT IN ('lifetime', 'idle')))",
    },
    Check {
        // The oldest may be gone: a log begins with whatever number is kept, and ends with its head's.
        name: "log_is_numbered_without_gaps",
        sql: "SELECT format('piece %s of the log of %s comes after piece %s', seq, session_id, before) AS what
              FROM (SELECT *, lag(seq) OVER (PARTITION BY tenant_id, session_id ORDER BY seq) AS before FROM session_logs) AS pieces
              WHERE seq <> before + 1
              UNION ALL
              SELECT format('the log of %s has counted %s pieces of %s bytes; the last has number %s, all have %s bytes', session_id, h.seq,
                  h.bytes, last, size)
              FROM session_log_heads h FULL JOIN (
                  SELECT tenant_id, session_id, max(seq) AS last, sum(octet_length(text)) AS size FROM session_logs
                  GROUP BY tenant_id, session_id
              ) AS pieces USING (tenant_id, session_id)
              WHERE (h.seq, h.bytes) IS DISTINCT FROM (last, size)",
    },
    Check {
        name: "one_operation_per_key",
        sql: "SELECT format('key %s of %s (%s) is there %s times', key, principal_id, action, count(*)) AS what
              FROM idempotency_keys GROUP BY tenant_id, principal_id, action, key HAVING count(*) > 1
              UNION ALL
              SELECT format('operation %s has %s keys', operation_id, count(*))
              FROM idempotency_keys GROUP BY tenant_id, operation_id HAVING count(*) > 1
              UNION ALL
              SELECT format('key %s of %s is of %s %s by %s', key, k.principal_id, kind, k.operation_id, s.principal_id)
              FROM idempotency_keys k LEFT JOIN operations o USING (tenant_id, operation_id) LEFT JOIN sessions s USING (tenant_id, session_id)
              WHERE (k.action, k.principal_id) IS DISTINCT FROM (o.kind, s.principal_id)
              UNION ALL
              SELECT format('%s was begun by %s operations', session_id, count(o.operation_id))
              FROM sessions s LEFT JOIN operations o USING (tenant_id, session_id)
              WHERE history_swept_at IS NULL
              GROUP BY tenant_id, session_id HAVING count(*) FILTER (WHERE kind = 'up') <> 1",
    },
    Check {
        name: "stopped_has_a_verified_record",
        sql: "SELECT format('%s is stopped; its record of attempt %s is %s, verified at %s', session_id, s.persist_attempt,
                  r.durable_object_id, r.verified_at) AS what
              FROM sessions s LEFT JOIN session_records r USING (tenant_id, session_id, persist_attempt)
              WHERE state = 'stopped' AND (r.verified_at IS NULL OR r.durable_object_id IS DISTINCT FROM s.durable_object_id)",
    },
    Check {
        name: "record_fits",
        sql: "SELECT format('record %s of %s has %s bytes', persist_attempt, session_id, octet_length(payload)) AS what
              FROM session_records WHERE octet_length(payload) > 524288",
    },
    Check {
        name: "record_digest_recomputes",
        sql: "SELECT format('record %s of %s: digest %s of %s', persist_attempt, session_id, sha256, sha256(payload)) AS what
              FROM session_records WHERE sha256(payload) <> sha256",
    },
    Check {
        // The stop is dated by its record, so its transaction is compared, not its time.
        name: "verified_before_destroyed",
        sql: "SELECT format('%s began to destroy %s at %s; its record was verified at %s', o.operation_id, session_id, phase_started_at,
                  verified_at) AS what
              FROM operations o LEFT JOIN session_records r USING (tenant_id, session_id, persist_attempt)
              WHERE phase = 'destroy' AND (r.verified_at IS NULL OR r.verified_at > phase_started_at)
              UNION ALL
              SELECT format('%s was stopped by transaction %s in phase %s; its record was verified in transaction %s', s.session_id, t.xmin,
                  o.phase, r.xmin)
              FROM sessions s
              JOIN transitions t ON (t.tenant_id, t.session_id, t.seq) = (s.tenant_id, s.session_id, s.transition_seq)
              JOIN operations o ON (o.tenant_id, o.operation_id) = (t.tenant_id, t.operation_id)
              LEFT JOIN session_records r ON (r.tenant_id, r.session_id, r.persist_attempt) = (s.tenant_id, s.session_id, s.persist_attempt)
              WHERE s.state = 'stopped' AND (o.phase <> 'destroy' OR r.session_id IS NULL OR age(r.xmin) < age(t.xmin))",
    },
    Check {
        // A record's row is written again when it is verified, so it tells nothing of its first transaction.
        name: "one_time_a_transaction",
        sql: "SELECT format('transaction %s wrote %s', xid, string_agg(row || ' at ' || at, ', ' ORDER BY row)) AS what
              FROM (
                  SELECT xmin::text AS xid, at, 'event ' || seq || ' of ' || session_id AS row FROM transitions
                  UNION ALL SELECT xmin::text, created_at, 'key ' || key FROM idempotency_keys
                  UNION ALL SELECT xmin::text, at, 'audit ' || audit_id FROM audit_log
                  UNION ALL SELECT xmin::text, finished_at, 'end of ' || operation_id FROM operations WHERE finished_at IS NOT NULL
                  UNION ALL SELECT s.xmin::text, updated_at, 'session ' || session_id FROM sessions s
                      WHERE history_swept_at IS NULL
              ) AS written
              -- What is brought in from another ledger keeps the times that it had there.
              WHERE xid NOT IN (SELECT xmin::text FROM imported_sessions)
              GROUP BY xid HAVING count(DISTINCT at) > 1",
    },
    Check {
        name: "times_of_a_session_are_its_events",
        sql: "SELECT format('%s: created %s, ready %s, stopped %s, persisted %s; its events: %s, %s, %s, %s', session_id, created_at,
                  ready_at, stopped_at, persisted_at, first, ready, stopped, persisted) AS what
              FROM sessions s JOIN (
                  SELECT tenant_id, session_id,
                      min(at) FILTER (WHERE seq = 1) AS first,
                      max(at) FILTER (WHERE to_state = 'ready') AS ready,
                      min(at) FILTER (WHERE to_state IN ('persisting', 'stopped_unpersisted')) AS stopped,
                      max(at) FILTER (WHERE to_state = 'stopped') AS persisted
                  FROM transitions GROUP BY tenant_id, session_id
              ) AS events USING (tenant_id, session_id)
              WHERE history_swept_at IS NULL
                AND (created_at, ready_at, stopped_at, persisted_at) IS DISTINCT FROM (first, ready, stopped, persisted)",
    },
    Check {
        // One that a `down` overtook ended when that began.
        name: "end_of_an_operation_is_its_last_event",
        sql: "SELECT format('%s %s of %s ended %s at %s; its last event is at %s', kind, o.operation_id, session_id, status, finished_at, last)
                  AS what
              FROM operations o LEFT JOIN (
                  SELECT tenant_id, operation_id, max(at) AS last FROM transitions GROUP BY tenant_id, operation_id
              ) AS events USING (tenant_id, operation_id)
              JOIN sessions s USING (tenant_id, session_id)
              WHERE finished_at IS NOT NULL AND finished_at IS DISTINCT FROM last AND history_swept_at IS NULL
                AND NOT EXISTS (
                  SELECT FROM operations down
                  WHERE (down.tenant_id, down.session_id, down.kind, down.created_at) = (o.tenant_id, o.session_id, 'down', o.finished_at))",
    },
    Check {
        name: "persisted_at_is_one_time",
        sql: "SELECT format('%s: %s in the session, %s in the record, %s in its payload', session_id, s.persisted_at, r.persisted_at,
                  r.payload_at) AS what
              FROM sessions s JOIN (
                  SELECT *, CASE WHEN sha256(payload) = sha256 THEN convert_from(payload, 'UTF8')::jsonb ->> 'persisted_at' END AS payload_at
                  FROM session_records
              ) AS r USING (tenant_id, session_id, persist_attempt)
              WHERE state = 'stopped' AND (r.persisted_at <> s.persisted_at OR payload_at::timestamptz <> s.persisted_at)",
    },
    Check {
        name: "quota_is_kept",
        sql: "SELECT format('tenant %s has %s active sessions, %s of one principal, %s MB, %s mCPU and %s MB of disk; it may have %s, %s,
                  %s, %s and %s', tenant_id, sum(n), max(n), sum(mb), sum(cpu), sum(disk), quota, quota_each, quota_mb, quota_cpu, quota_disk) AS what
              FROM (
                  SELECT tenant_id, principal_id, count(*) AS n, sum(memory_mb) AS mb, sum(cpu_millis) AS cpu, sum(disk_mb) AS disk
                  FROM sessions WHERE state NOT IN ('stopped', 'failed') GROUP BY tenant_id, principal_id
              ) AS active JOIN (
                  SELECT tenant_id, max_active_sessions AS quota, max_active_sessions_per_principal AS quota_each,
                      max_memory_mb AS quota_mb, max_cpu_millis AS quota_cpu, max_disk_mb AS quota_disk FROM tenants
              ) AS quotas USING (tenant_id)
              GROUP BY tenant_id, quota, quota_each, quota_mb, quota_cpu, quota_disk
              HAVING sum(n) > quota OR max(n) > quota_each OR sum(mb) > quota_mb OR sum(cpu) > quota_cpu OR sum(disk) > quota_disk",
    },
    Check {
        name: "token_ends_with_its_operation",
        sql: "SELECT format('the token of %s is kept, and it ended %s', operation_id, status) AS what
              FROM credentials JOIN operations USING (tenant_id, operation_id) WHERE finished_at IS NOT NULL",
    },
];

pub const AT_REST: &[Check] = &[
    Check {
        name: "nothing_is_live_at_rest",
        sql: "SELECT format('%s %s of %s is %s in %s', kind, operation_id, session_id, status, phase) AS what
              FROM operations WHERE status IN ('queued', 'running')",
    },
    Check {
        name: "no_lease_is_held_at_rest",
        sql: "SELECT format('%s holds %s until %s', owner, session_id, until) AS what FROM leases WHERE owner IS NOT NULL",
    },
];

/// All in one statement, so that all see the same snapshot.
#[expect(clippy::disallowed_methods, reason = "the checks look at the ledger from outside, whatever the schema of the day")]
pub(super) async fn run(connection: &mut PgConnection, checks: &'static [Check], limits: &Limits) -> sqlx::Result<Vec<Violation>> {
    let parts: Vec<String> = checks.iter().map(|check| format!("SELECT '{}', what FROM ({}) AS broken", check.name, check.sql)).collect();
    let sql = format!("{} {}", given(limits), parts.join(" UNION ALL "));
    let rows = sqlx::query_as::<_, (String, String)>(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let name_of = |name: &str| checks.iter().map(|check| check.name).find(|known| *known == name).expect("a check names itself");
    Ok(rows.into_iter().map(|(name, what)| Violation { check: name_of(&name), what }).collect())
}

fn given(limits: &Limits) -> String {
    let seconds = [limits.lease, limits.cleanup, limits.slack].map(|time| format!("make_interval(secs => {})", time.as_secs_f64()));
    let from = SessionState::ALL.iter().copied().map(Some).chain([None]);
    let paths: Vec<String> = from
        .flat_map(|from| SessionState::ALL.iter().map(move |to| (from, *to)))
        .filter(|(from, to)| lifecycle::allowed(*from, *to))
        .map(|(from, to)| format!("({}, '{to}')", from.map_or("NULL".to_owned(), |from| format!("'{from}'"))))
        .collect();
    let (seconds, paths) = (seconds.join(", "), paths.join(", "));
    format!("WITH limits (lease, cleanup, slack) AS (VALUES ({seconds})), paths (from_state, to_state) AS (VALUES {paths})")
}
