//! The database's own guards: each forbidden thing is tried in SQL, behind the program's back.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use alpine_tests::{World, cli::text, db::uuid};

const LIMIT: Duration = Duration::from_secs(60);

/// A session in each state of interest, and the world that they are in.
struct Sessions {
    world: World,
    ready: String,
    stopped: String,
    failed: String,
    installing: String,
}

impl Sessions {
    async fn make() -> Self {
        let world = World::with(&[("ALPINE_SWEEP_SECONDS", "1")]).await;
        let (broken, _) = world.git.with_files("org/broken", &[(".alpine.toml", "install = \"exit 1\"")]);
        let (slow, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 300\"")]);
        let stopped = text(&world.ready("ann").await, "session_id");
        world.down("ann", &stopped, &[]).await.ok();
        let ready = text(&world.ready("ann").await, "session_id");
        let key = ["--client-request-id", "broken"];
        world.up("ann", &broken, "main", &key).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
        let failed: String = world.db.one("SELECT 'ses_' || replace(session_id::text, '-', '') FROM sessions WHERE state = 'failed'").await;
        let installing = text(&world.up("ann", &slow, "main", &["--no-wait"]).run().await.ok(), "session_id");
        world.db.wait_for_state(&installing, &["installing"], LIMIT).await;
        Self { world, ready, stopped, failed, installing }
    }

    /// The statement with `{ready}`, `{stopped}`, … as ids.
    fn sql(&self, sql: &str) -> String {
        [("{ready}", &self.ready), ("{stopped}", &self.stopped), ("{failed}", &self.failed), ("{installing}", &self.installing)]
            .iter()
            .fold(sql.to_owned(), |sql, (name, id)| sql.replace(name, &format!("'{}'", uuid(id))))
    }

    /// What is wrong with the refusal of a statement.
    async fn not_refused(&self, what: &str, sql: &str) -> Option<String> {
        let sql = self.sql(sql);
        match self.world.db.try_execute(&sql).await {
            Ok(rows) => Some(format!("{rows} rows, not refused: {sql}")),
            Err(refusal) if !refusal.contains(what) => Some(format!("`{refusal}` is not `{what}`: {sql}")),
            Err(_) => None,
        }
    }

    async fn taken(&self, sql: &str) {
        let sql = self.sql(sql);
        assert!(self.world.db.execute(&sql).await > 0, "touched nothing: {sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_query_breaks_no_rule_of_the_ledger() {
    let sessions = Sessions::make().await;
    let mut wrong = Vec::new();
    for (what, sql) in SESSIONS.iter().chain(OPERATIONS).chain(APPENDS) {
        wrong.extend(sessions.not_refused(what, sql).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // It was all for nothing: the ledger is as it was.
    sessions.world.down("ann", &sessions.installing, &["--force"]).await.ok();
    assert_eq!(sessions.world.down("ann", &sessions.ready, &[]).await.ok()["state"], "stopped");
}

const SESSIONS: &[(&str, &str)] = &[
    // The transition table, final states included.
    ("a session cannot go from ready to installing", "UPDATE sessions SET state = 'installing' WHERE session_id = {ready}"),
    ("a session cannot go from stopped to ready", "UPDATE sessions SET state = 'ready' WHERE session_id = {stopped}"),
    ("a session cannot go from failed to failing", "UPDATE sessions SET state = 'failing' WHERE session_id = {failed}"),
    ("a session cannot go from ready to paused", "UPDATE sessions SET state = 'paused' WHERE session_id = {ready}"),
    // A change of state has its transition, and its operation.
    ("no transition leads to failing", "UPDATE sessions SET state = 'failing' WHERE session_id = {ready}"),
    (
        "in failing a session has a live operation if and only if",
        "WITH s AS (UPDATE sessions SET state = 'failing', transition_seq = transition_seq + 1 WHERE session_id = {ready} RETURNING *)
         INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT s.tenant_id, s.session_id, s.transition_seq, 'ready', 'failing', 'x', 'x', s.operation_id, l.fence
         FROM s JOIN leases l USING (tenant_id, session_id)",
    ),
    (
        "a session has a lease",
        "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
         VALUES ('dev', '00000000-0000-7000-8000-000000000001', 'ann', 'https://h/r', 'main', true, 'requested', '00000000-0000-7000-8000-000000000002');
         INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
         VALUES ('dev', '00000000-0000-7000-8000-000000000002', '00000000-0000-7000-8000-000000000001', 'up', 'resolve', 'ann', now());
         SET CONSTRAINTS transitions_follow_lease DEFERRED;
         INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
         VALUES ('dev', '00000000-0000-7000-8000-000000000001', 1, 'requested', 'ann', 'x', '00000000-0000-7000-8000-000000000002', 0)",
    ),
    (
        "a session begins as requested",
        "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
         SELECT tenant_id, gen_random_uuid(), principal_id, repo_url, branch, public, 'failing', operation_id FROM sessions WHERE session_id = {ready}",
    ),
    // `ready` is proved, `stopped` is verified.
    ("sessions_ready_is_proved", "UPDATE sessions SET state = 'ready' WHERE session_id = {installing}"),
    ("verified record", "UPDATE sessions SET durable_object_id = 'rec_other' WHERE session_id = {stopped}"),
    ("verified record", "UPDATE sessions SET persisted_at = persisted_at + interval '1 microsecond' WHERE session_id = {stopped}"),
    // What a session is.
    ("do not change", "UPDATE sessions SET principal_id = 'bob' WHERE session_id = {ready}"),
    ("do not change", "UPDATE sessions SET branch = 'other' WHERE session_id = {installing}"),
    ("do not change", "UPDATE sessions SET target_commit_sha = repeat('0', 40) WHERE session_id = {installing}"),
    ("what a session was made in does not change", "UPDATE sessions SET memory_mb = 1 WHERE session_id = {ready}"),
    ("what a session was made in does not change", "UPDATE sessions SET class = 'large' WHERE session_id = {installing}"),
    (
        "sessions_size",
        "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, memory_mb)
         SELECT tenant_id, gen_random_uuid(), principal_id, repo_url, branch, public, 'requested', operation_id, -1 FROM sessions WHERE session_id = {ready}",
    ),
    ("tenants_size_quotas", "UPDATE tenants SET max_memory_mb = -1"),
    ("tenants_disk_quota", "UPDATE tenants SET max_disk_mb = -1"),
    ("tenants_bounds", "UPDATE tenants SET max_lifetime_seconds = 59"),
    ("tenants_bounds", "UPDATE tenants SET max_idle_seconds = 59"),
    ("only a session that failed", "DELETE FROM sessions WHERE session_id = {stopped}"),
    ("only a session that failed", "DELETE FROM sessions WHERE session_id = {failed}"),
    // Leases.
    ("a fence only grows", "UPDATE leases SET fence = fence - 1 WHERE session_id = {installing}"),
    ("leases_held", "UPDATE leases SET owner = NULL WHERE session_id = {installing}"),
    ("still needed", "DELETE FROM leases WHERE session_id = {ready}"),
    ("is only added to", "TRUNCATE leases"),
];

const OPERATIONS: &[(&str, &str)] = &[
    (
        "operations_one_live",
        "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
         SELECT tenant_id, gen_random_uuid(), session_id, 'down', 'cleanup', 'ann', now() FROM sessions WHERE session_id = {installing}",
    ),
    (
        "in ready a session has a live operation if and only if",
        "INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
         SELECT tenant_id, gen_random_uuid(), session_id, 'down', 'stop', 'ann', now() FROM sessions WHERE session_id = {ready}",
    ),
    (
        "in installing a session has a live operation if and only if",
        "UPDATE operations SET status = 'cancelled', error = '{}', finished_at = now() WHERE session_id = {installing}",
    ),
    ("operations_finished", "UPDATE operations SET status = 'succeeded' WHERE session_id = {installing}"),
    ("operations_error", "UPDATE operations SET status = 'failed', finished_at = now() WHERE session_id = {installing}"),
    ("an operation that has ended does not change", "UPDATE operations SET status = 'succeeded' WHERE session_id = {failed}"),
    ("an operation that has ended does not change", "UPDATE operations SET error = NULL WHERE session_id = {failed}"),
    (
        "an operation that has ended does not change",
        "UPDATE operations SET status = 'running', finished_at = NULL WHERE session_id = {ready} AND kind = 'up'",
    ),
    (
        "does not change",
        "UPDATE operations SET session_id = (SELECT session_id FROM sessions WHERE session_id = {ready}) WHERE session_id = {installing}",
    ),
    ("does not change", "UPDATE operations SET persist_attempt = 7 WHERE session_id = {installing}"),
    ("nothing is destroyed before the record is verified", "UPDATE operations SET phase = 'destroy' WHERE session_id = {installing}"),
    ("still needed", "DELETE FROM operations WHERE session_id = {ready}"),
];

const APPENDS: &[(&str, &str)] = &[
    ("transitions is only added to", "UPDATE transitions SET reason = 'other' WHERE session_id = {ready}"),
    ("still needed", "DELETE FROM transitions WHERE session_id = {ready}"),
    ("still needed", "DELETE FROM transitions WHERE session_id = {stopped}"),
    ("is only added to", "TRUNCATE transitions"),
    (
        "transitions_path",
        "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, 99, 'ready', 'installing', 'x', 'x', operation_id, 1 FROM sessions WHERE session_id = {ready}",
    ),
    (
        "a transition begins where the last one ended",
        "UPDATE sessions SET transition_seq = transition_seq + 1 WHERE session_id = {ready};
         INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, transition_seq, 'installing', 'ready', 'x', 'x', s.operation_id, l.fence
         FROM sessions s JOIN leases l USING (tenant_id, session_id) WHERE session_id = {ready}",
    ),
    (
        "a transition is of its session's state",
        "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, transition_seq + 1, 'ready', 'failing', 'x', 'x', s.operation_id, l.fence
         FROM sessions s JOIN leases l USING (tenant_id, session_id) WHERE session_id = {ready}",
    ),
    // Another's fence, older or newer.
    (
        "is not the lease's",
        "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, transition_seq + 1, 'ready', 'failing', 'x', 'x', s.operation_id, l.fence - 1
         FROM sessions s JOIN leases l USING (tenant_id, session_id) WHERE session_id = {ready}",
    ),
    (
        "is not the lease's",
        "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, transition_seq + 1, 'ready', 'failing', 'x', 'x', s.operation_id, l.fence + 1
         FROM sessions s JOIN leases l USING (tenant_id, session_id) WHERE session_id = {ready}",
    ),
    (
        "idempotency_keys_pkey",
        "INSERT INTO idempotency_keys SELECT tenant_id, principal_id, action, key, fingerprint, operation_id, now() FROM idempotency_keys",
    ),
    ("idempotency_keys is only added to", "UPDATE idempotency_keys SET key = 'other'"),
    ("72 hours", "DELETE FROM idempotency_keys"),
    ("is only added to", "TRUNCATE idempotency_keys"),
    ("session_records is only added to", "UPDATE session_records SET payload = 'x', sha256 = sha256('x')"),
    ("session_records is only added to", "UPDATE session_records SET verified_at = now() + interval '1 hour'"),
    ("session_records is only added to", "UPDATE session_records SET verified_at = NULL"),
    ("session_records is only added to", "DELETE FROM session_records"),
    ("is only added to", "TRUNCATE session_records"),
    (
        "session_records_size",
        "INSERT INTO session_records SELECT tenant_id, session_id, 9, 'rec_x', convert_to(repeat('x', 524289), 'UTF8'),
             sha256(convert_to(repeat('x', 524289), 'UTF8')), operation_id, 1, now() FROM sessions WHERE session_id = {ready}",
    ),
    (
        "session_records_digest",
        "INSERT INTO session_records SELECT tenant_id, session_id, 9, 'rec_x', 'x', sha256('y'), operation_id, 1, now()
         FROM sessions WHERE session_id = {ready}",
    ),
    // Verified is what was read back, not what somebody says.
    (
        "session_records is only added to",
        "INSERT INTO session_records SELECT tenant_id, session_id, 9, 'rec_x', 'x', sha256('x'), operation_id, 1, now(), now()
         FROM sessions WHERE session_id = {ready}",
    ),
    (
        "is not the lease's",
        "INSERT INTO session_records SELECT tenant_id, session_id, 9, 'rec_x', 'x', sha256('x'), operation_id, 99, now()
         FROM sessions WHERE session_id = {ready}",
    ),
    (
        "audit_log is only added to",
        "INSERT INTO audit_log (tenant_id, actor, action, session_id, owner, request_id)
             SELECT 'dev', 'root', 'down', session_id, 'ann', 'r' FROM sessions LIMIT 1;
         UPDATE audit_log SET actor = 'other'",
    ),
    (
        "audit_log is only added to",
        "INSERT INTO audit_log (tenant_id, actor, action, session_id, owner, request_id)
             SELECT 'dev', 'root', 'down', session_id, 'ann', 'r' FROM sessions LIMIT 1;
         DELETE FROM audit_log",
    ),
    ("is only added to", "TRUNCATE audit_log"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_however_many_ask_at_once_and_a_refused_key_is_not_used_up() {
    let world = World::with(&[("ALPINE_ROLE", "api")]).await;
    world.api("ann").up("first", alpine_tests::REPO, "main").await.expect(202);
    world.db.execute("UPDATE tenants SET max_active_sessions = 8, max_active_sessions_per_principal = 5").await;
    let asked = (0..40).map(|n| {
        let api = world.api(if n % 2 == 0 { "ann" } else { "bob" });
        tokio::spawn(async move { api.up(&format!("k{n}"), alpine_tests::REPO, "main").await })
    });
    let mut refusals = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        let reply = asked.await.unwrap();
        if reply.status != 202 {
            refusals.push(reply);
        }
    }
    assert_eq!(refusals.len(), 33, "7 more fit");
    assert_eq!(world.db.count("sessions").await, 8);
    assert!(world.db.one::<i64>("SELECT max(n) FROM (SELECT count(*) AS n FROM sessions GROUP BY principal_id) x").await <= 5);
    for refusal in &refusals {
        let body = refusal.expect(429);
        assert_eq!(text(body, "error_code"), "ERR_QUOTA_EXCEEDED");
        let cause = text(body, "cause");
        assert!(cause.ends_with("of 5 active sessions") || cause == "the tenant has 8 of 8 active sessions", "{cause}");
        assert!(refusal.headers.contains_key("retry-after"));
    }
    world.db.execute("UPDATE tenants SET max_active_sessions = NULL, max_active_sessions_per_principal = NULL").await;
    for key in ["k38", "k39"] {
        world.api(if key == "k38" { "ann" } else { "bob" }).up(key, alpine_tests::REPO, "main").await.expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_keys_and_finished_rows_are_swept_and_nothing_before_its_time() {
    let sessions = Sessions::make().await;
    let world = &sessions.world;
    let replay = || async { world.up("ann", "https://github.com/org/broken.git", "main", &["--client-request-id", "broken"]).run().await };
    // Five minutes short of the time: nothing goes.
    for change in ["operations SET finished_at = finished_at", "sessions SET updated_at = updated_at"] {
        world.db.meddle(&format!("UPDATE {change} - interval '71 hours 55 minutes'")).await;
    }
    world.db.meddle("UPDATE idempotency_keys SET created_at = created_at - interval '80 hours'").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(world.db.count("idempotency_keys").await, 4);
    replay().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    // Now the keys of what has ended go, and that of the running `up` stays.
    world.db.meddle("UPDATE operations SET finished_at = finished_at - interval '10 minutes'").await;
    alpine_tests::until("the keys are swept", LIMIT, || async { (world.db.count("idempotency_keys").await == 1).then_some(()) }).await;
    assert_eq!(world.db.count("sessions").await, 4, "sessions stay for 30 days");
    // A month on, the history of what is final goes; the record stays, and `down` still answers with it.
    world.db.meddle("UPDATE sessions SET updated_at = updated_at - interval '31 days'").await;
    alpine_tests::until("the history is swept", LIMIT, || async { (world.db.count("sessions").await == 3).then_some(()) }).await;
    sessions.taken("UPDATE sessions SET sweep_attempt = 0 WHERE session_id = {stopped} AND history_swept_at IS NOT NULL").await;
    let of = |table: &str| sessions.sql(&format!("{table} WHERE session_id = {{stopped}}"));
    assert_eq!(world.db.count(&of("transitions")).await, 1);
    assert_eq!(world.db.count(&of("operations")).await, 1);
    assert_eq!(world.db.count(&of("session_records")).await, 1);
    assert_eq!(world.status("ann", &sessions.stopped).await.ok()["state"], "stopped");
    assert_eq!(world.down("ann", &sessions.stopped, &[]).await.ok()["persistence_verified"], true);
    world.api("ann").get(&format!("/v1/sessions/{}/record", sessions.stopped)).await.expect(200);
    world.status("ann", &sessions.failed).await.refused(1, "ERR_SESSION_NOT_FOUND");
    for (id, state) in [(&sessions.ready, "ready"), (&sessions.installing, "installing")] {
        assert_eq!(world.status("ann", id).await.ok()["state"], state, "what is not final is never swept");
    }
}

/// While servers are replaced one after the other: in one statement, without a number among the events.
#[tokio::test(flavor = "multi_thread")]
async fn a_transition_that_an_older_server_writes_is_numbered_after_the_progress_before_it() {
    let world = World::start().await;
    let (slow, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"echo one; sleep 300\"")]);
    let id = text(&world.up("ann", &slow, "main", &["--no-wait"]).run().await.ok(), "session_id");
    world.db.wait_for_state(&id, &["installing"], LIMIT).await;
    let of = format!("session_id = '{}'", uuid(&id));
    let begun = tokio::time::Instant::now();
    while world.db.count(&format!("progress WHERE {of} AND phase = 'install'")).await == 0 {
        assert!(begun.elapsed() < LIMIT, "no progress");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let older = format!(
        "WITH session AS (
            UPDATE sessions SET state = 'failing', transition_seq = transition_seq + 1 WHERE {of} RETURNING *
         )
         INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT s.tenant_id, s.session_id, s.transition_seq, 'installing', 'failing', 'system', 'older', s.operation_id, l.fence
         FROM session s JOIN leases l USING (tenant_id, session_id)"
    );
    assert_eq!(world.db.execute(&older).await, 1);
    let events = format!("SELECT coalesce(event_seq, seq) AS n FROM transitions WHERE {of} UNION ALL SELECT seq FROM progress WHERE {of}");
    let (count, distinct, last): (i64, i64, i64) = (
        world.db.one(&format!("SELECT count(*) FROM ({events}) AS e")).await,
        world.db.one(&format!("SELECT count(DISTINCT n) FROM ({events}) AS e")).await,
        world.db.one(&format!("SELECT max(n) FROM ({events}) AS e")).await,
    );
    assert_eq!((count, distinct), (last, last));
    let older: i64 = world.db.one(&format!("SELECT event_seq FROM transitions WHERE {of} AND reason = 'older'")).await;
    assert!(
        older > world.db.one::<i64>(&format!("SELECT max(seq) FROM progress WHERE {of} AND phase = 'install' AND seq < {older}")).await
    );
}
