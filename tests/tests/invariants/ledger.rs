//! The ledger's checks. Each mutant is done in a transaction that never ends, so what is deferred to the commit is
//! no guard here.

use alpine_tests::invariants::{self, Limits};
use sqlx::Connection;

use crate::{Sessions, caught, connect, execute, nothing_broken, shown};

pub struct Mutant {
    pub check: &'static str,
    /// What removes the guard; nothing, where only the programs' code and what is checked at commit stand in the way.
    without: &'static str,
    does: &'static str,
}

/// What an `up` in flight breaks of what holds at rest.
pub const IN_FLIGHT: &[&str] = &["nothing_is_live_at_rest", "no_lease_is_held_at_rest"];

const REWRITTEN: &str = "ALTER TABLE transitions DISABLE TRIGGER transitions_append_only";
const RECORD_REWRITTEN: &str = "ALTER TABLE session_records DISABLE TRIGGER session_records_write_once";

pub const MUTANTS: &[Mutant] = &[
    Mutant {
        check: "one_live_operation",
        without: "DROP INDEX operations_one_live",
        does: "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
               SELECT tenant_id, gen_random_uuid(), session_id, 'down', 'cleanup', 'ann', now() + interval '3 min'
               FROM sessions WHERE session_id = {installing}",
    },
    Mutant {
        check: "transitional_has_one_operation",
        without: "",
        does: "UPDATE operations SET status = 'succeeded', finished_at = now() WHERE session_id = {installing}",
    },
    Mutant {
        check: "transitional_has_one_operation",
        without: "",
        does: "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
               SELECT tenant_id, gen_random_uuid(), session_id, 'cleanup', 'cleanup', 'system', now() + interval '3 min'
               FROM sessions WHERE session_id = {stopped}",
    },
    Mutant {
        check: "session_has_a_lease",
        without: "ALTER TABLE leases DISABLE TRIGGER leases_kept",
        does: "DELETE FROM leases WHERE session_id = {ready}",
    },
    Mutant {
        check: "live_operation_in_time",
        without: "",
        does: "UPDATE operations SET deadline_at = now() - interval '36 s' WHERE session_id = {installing}",
    },
    Mutant {
        check: "live_operation_in_time",
        without: "",
        does: "UPDATE operations SET deadline_at = now() - interval '10 min', phase = 'cleanup', phase_started_at = now() - interval '216 s'
               WHERE session_id = {installing}",
    },
    Mutant {
        check: "fences_only_grow",
        without: REWRITTEN,
        does: "UPDATE transitions SET fence = fence - 1 WHERE session_id = {ready} AND to_state = 'ready'",
    },
    Mutant {
        check: "fences_only_grow",
        without: "ALTER TABLE leases DISABLE TRIGGER leases_fence_grows",
        does: "UPDATE leases SET fence = fence - 1 WHERE session_id = {ready}",
    },
    Mutant {
        check: "ended_operations_write_nothing",
        without: "",
        does: "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
               SELECT tenant_id, session_id, transition_seq + 1, state, 'failing', 'ann', 'late', operation_id, 9
               FROM sessions WHERE session_id = {ready}",
    },
    Mutant {
        check: "time_never_runs_backwards",
        without: REWRITTEN,
        does: "UPDATE transitions SET at = at - interval '1 hour' WHERE session_id = {ready} AND to_state = 'ready'",
    },
    Mutant {
        check: "time_never_runs_backwards",
        without: "ALTER TABLE operations DISABLE TRIGGER operations_final",
        does: "UPDATE operations SET finished_at = finished_at - interval '1 microsecond' WHERE session_id = {stopped}",
    },
    Mutant {
        check: "transitions_within_the_table",
        without: "ALTER TABLE transitions DROP CONSTRAINT transitions_path",
        does: "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
               SELECT tenant_id, session_id, transition_seq + 1, state, 'requested', 'ann', 'again', operation_id, 9
               FROM sessions WHERE session_id = {ready}",
    },
    Mutant {
        // The guard's own copy of the table is wrong.
        check: "transitions_within_the_table",
        without: "CREATE OR REPLACE FUNCTION lifecycle_allowed(from_state text, to_state text) RETURNS boolean
                  LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN true",
        does: "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
               SELECT tenant_id, session_id, transition_seq + 1, state, 'installing', 'ann', 'again', operation_id, 9
               FROM sessions WHERE session_id = {ready}",
    },
    Mutant {
        check: "final_is_final",
        without: "ALTER TABLE transitions DROP CONSTRAINT transitions_path",
        does: "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
               SELECT tenant_id, session_id, transition_seq + 1, state, 'failing', 'system', 'again', operation_id, 9
               FROM sessions WHERE session_id = {failed}",
    },
    Mutant {
        check: "replayed_events_give_the_state",
        without: "ALTER TABLE sessions DISABLE TRIGGER sessions_state_path",
        does: "UPDATE sessions SET state = 'failing' WHERE session_id = {ready}",
    },
    Mutant {
        check: "replayed_events_give_the_state",
        without: "ALTER TABLE transitions DISABLE TRIGGER transitions_kept",
        does: "DELETE FROM transitions WHERE session_id = {ready} AND to_state = 'installing'",
    },
    Mutant {
        check: "events_are_numbered_without_gaps",
        without: "ALTER TABLE progress DISABLE TRIGGER progress_kept",
        does: "DELETE FROM progress WHERE session_id = {ready} AND seq = (SELECT min(seq) FROM progress WHERE session_id = {ready})",
    },
    Mutant {
        // Two have counted the same.
        check: "events_are_numbered_without_gaps",
        without: REWRITTEN,
        does: "UPDATE transitions SET event_seq = event_seq - 1 WHERE session_id = {ready} AND to_state = 'ready'",
    },
    Mutant {
        check: "events_are_numbered_without_gaps",
        without: "",
        does: "UPDATE sessions SET event_seq = event_seq + 1 WHERE session_id = {ready}",
    },
    Mutant {
        check: "progress_is_of_its_operation",
        without: "",
        does: "INSERT INTO progress (tenant_id, session_id, seq, state, phase, message, actor, operation_id, fence)
               SELECT tenant_id, session_id, event_seq + 1, state, 'start', 'late', 'ann', operation_id, 1
               FROM sessions WHERE session_id = {ready}",
    },
    Mutant {
        check: "log_is_numbered_without_gaps",
        without: "",
        does: "DELETE FROM session_logs WHERE session_id = {ready} AND seq = (SELECT max(seq) FROM session_logs WHERE session_id = {ready})",
    },
    Mutant {
        // One that did not count what it wrote.
        check: "log_is_numbered_without_gaps",
        without: "",
        does: "INSERT INTO session_logs (tenant_id, session_id, seq, source, text)
               SELECT tenant_id, session_id, seq + 2, 'server', 'late' FROM session_log_heads WHERE session_id = {ready}",
    },
    Mutant {
        check: "one_operation_per_key",
        without: "ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey",
        does: "INSERT INTO idempotency_keys (tenant_id, principal_id, action, key, fingerprint, operation_id)
               SELECT k.tenant_id, k.principal_id, action, key, fingerprint, s.operation_id
               FROM idempotency_keys k JOIN operations o USING (operation_id), sessions s
               WHERE o.session_id = {failed} AND s.session_id = {installing}",
    },
    Mutant {
        check: "one_operation_per_key",
        without: "ALTER TABLE idempotency_keys DISABLE TRIGGER idempotency_keys_insert_only",
        does: "UPDATE idempotency_keys SET principal_id = 'eve' WHERE principal_id = 'bob'",
    },
    Mutant {
        check: "one_operation_per_key",
        without: "",
        does: "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at, status, finished_at)
               SELECT tenant_id, gen_random_uuid(), session_id, 'up', 'start', 'bob', now(), 'succeeded', now()
               FROM sessions WHERE session_id = {ready}",
    },
    Mutant {
        check: "stopped_has_a_verified_record",
        without: RECORD_REWRITTEN,
        does: "UPDATE session_records SET verified_at = NULL WHERE session_id = {stopped}",
    },
    Mutant {
        check: "stopped_has_a_verified_record",
        without: "ALTER TABLE session_records DISABLE TRIGGER session_records_kept",
        does: "DELETE FROM session_records WHERE session_id = {stopped}",
    },
    Mutant {
        check: "record_fits",
        without: "ALTER TABLE session_records DISABLE TRIGGER session_records_write_once, DROP CONSTRAINT session_records_size",
        does: "UPDATE session_records SET payload = long, sha256 = sha256(long)
               FROM (SELECT convert_to(rpad(convert_from(payload, 'UTF8'), 524289), 'UTF8') AS long FROM session_records) AS grown
               WHERE session_id = {stopped}",
    },
    Mutant {
        check: "record_digest_recomputes",
        without: "ALTER TABLE session_records DISABLE TRIGGER session_records_write_once, DROP CONSTRAINT session_records_digest",
        does: "UPDATE session_records SET payload = set_byte(payload, 0, 32) WHERE session_id = {stopped}",
    },
    Mutant {
        check: "verified_before_destroyed",
        without: RECORD_REWRITTEN,
        does: "UPDATE session_records SET verified_at = verified_at + interval '1 hour' WHERE session_id = {stopped}",
    },
    Mutant {
        // Backdated: the order of the transactions tells.
        check: "verified_before_destroyed",
        without: RECORD_REWRITTEN,
        does: "UPDATE session_records SET verified_at = persisted_at WHERE session_id = {stopped}",
    },
    Mutant {
        check: "verified_before_destroyed",
        without: "ALTER TABLE operations DISABLE TRIGGER operations_destroy_needs_record",
        does: "UPDATE operations SET phase = 'destroy' WHERE session_id = {installing}",
    },
    Mutant {
        check: "one_time_a_transaction",
        without: "",
        does: "INSERT INTO audit_log (tenant_id, at, actor, action, session_id, owner, request_id)
               SELECT tenant_id, now() - n * interval '1 ms', 'root', 'down', session_id, 'bob', 'r'
               FROM sessions, generate_series(0, 1) AS n WHERE session_id = {ready}",
    },
    Mutant {
        check: "times_of_a_session_are_its_events",
        without: "",
        does: "UPDATE sessions SET ready_at = ready_at + interval '1 ms' WHERE session_id = {ready}",
    },
    Mutant {
        check: "times_of_a_session_are_its_events",
        without: "",
        does: "UPDATE sessions SET stopped_at = persisted_at + interval '1 ms' WHERE session_id = {stopped}",
    },
    Mutant {
        check: "end_of_an_operation_is_its_last_event",
        without: "ALTER TABLE operations DISABLE TRIGGER operations_final",
        does: "UPDATE operations SET finished_at = finished_at + interval '1 ms' WHERE session_id = {cancelled} AND kind = 'up'",
    },
    Mutant {
        check: "persisted_at_is_one_time",
        without: RECORD_REWRITTEN,
        does: "UPDATE session_records SET persisted_at = persisted_at + interval '1 ms' WHERE session_id = {stopped}",
    },
    Mutant {
        check: "persisted_at_is_one_time",
        without: RECORD_REWRITTEN,
        does: "UPDATE session_records SET payload = other, sha256 = sha256(other)
               FROM (SELECT convert_to(jsonb_set(convert_from(payload, 'UTF8')::jsonb, '{persisted_at}', '\"2026-01-01T00:00:00Z\"')::text, 'UTF8')
                   AS other FROM session_records) AS redated
               WHERE session_id = {stopped}",
    },
    Mutant {
        check: "quota_is_kept",
        without: "UPDATE tenants SET max_active_sessions = 2; ALTER TABLE sessions DISABLE TRIGGER sessions_quota",
        does: "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
               SELECT tenant_id, gen_random_uuid(), 'eve', repo_url, branch, public, 'requested', operation_id
               FROM sessions WHERE session_id = {installing}",
    },
    Mutant {
        check: "quota_is_kept",
        without: "UPDATE tenants SET max_active_sessions_per_principal = 1; ALTER TABLE sessions DISABLE TRIGGER sessions_quota",
        does: "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
               SELECT tenant_id, gen_random_uuid(), principal_id, repo_url, branch, public, 'requested', operation_id
               FROM sessions WHERE session_id = {installing}",
    },
    Mutant {
        check: "quota_is_kept",
        without: "UPDATE tenants SET max_memory_mb = 1000; ALTER TABLE sessions DISABLE TRIGGER sessions_quota",
        does: "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, memory_mb)
               SELECT tenant_id, gen_random_uuid(), 'eve', repo_url, branch, public, 'requested', operation_id, 1001
               FROM sessions WHERE session_id = {installing}",
    },
    Mutant {
        check: "quota_is_kept",
        without: "UPDATE tenants SET max_disk_mb = 1000; ALTER TABLE sessions DISABLE TRIGGER sessions_quota",
        does: "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, disk_mb)
               SELECT tenant_id, gen_random_uuid(), 'eve', repo_url, branch, public, 'requested', operation_id, 1001
               FROM sessions WHERE session_id = {installing}",
    },
    Mutant {
        check: "token_ends_with_its_operation",
        without: "",
        does: "INSERT INTO credentials (tenant_id, credential_id, operation_id, key_id, sealed)
               SELECT tenant_id, gen_random_uuid(), operation_id, 'k', '' FROM sessions WHERE session_id = {ready}",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_ledger_is_seen() {
    let sessions = Sessions::make().await;
    let mut connection = connect(&sessions.world).await;
    nothing_broken(&mut connection).await;
    for mutant in MUTANTS {
        let mut transaction = connection.begin().await.unwrap();
        if !mutant.without.is_empty() {
            sqlx::raw_sql(mutant.without).execute(&mut *transaction).await.unwrap();
        }
        execute(&mut transaction, &sessions.sql(mutant.does)).await;
        let found = invariants::always(&mut transaction, &Limits::default()).await.unwrap();
        caught(mutant.check, mutant.does, &found);
        transaction.rollback().await.unwrap();
    }
    nothing_broken(&mut connection).await;

    let found = invariants::ledger(&mut connection, &Limits::default()).await.unwrap();
    assert_eq!(found.iter().map(|violation| violation.check).collect::<Vec<_>>(), IN_FLIGHT, "{}", shown(&found));
    sessions.world.down("ann", &sessions.installing, &["--force"]).await.ok();
    sessions.world.down("bob", &sessions.ready, &[]).await.ok();
    let found = invariants::ledger(&mut connection, &Limits::default()).await.unwrap();
    assert!(found.is_empty(), "{}", shown(&found));
}
