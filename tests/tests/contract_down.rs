//! The contract table, `down`: the record first, then nothing is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use alpine_api::{RECORD_MAX_BYTES, SessionRecord, StoredRecord};
use alpine_tests::{Answer, REPO, World, cli::text, db::uuid, sandboxes};
use sha2::{Digest, Sha256};

const UNVERIFIED: &str = "ERR_PERSISTENCE_VERIFICATION_FAILED";
const LIMIT: Duration = Duration::from_secs(60);

async fn ready(world: &World) -> String {
    text(&world.ready("ann").await, "session_id")
}

/// The record as its owner reads it, its digest recomputed.
async fn record(world: &World, session: &str) -> (StoredRecord, SessionRecord) {
    let reply = world.api("ann").get(&format!("/v1/sessions/{session}/record")).await;
    reply.expect(200);
    let stored: StoredRecord = serde_json::from_str(&reply.text).unwrap();
    let bytes = stored.record.get().as_bytes();
    let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, stored.sha256, "the digest is not that of the bytes");
    assert_eq!(usize::try_from(stored.size_bytes).unwrap(), bytes.len());
    let record = serde_json::from_slice(bytes).unwrap();
    (stored, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn down_of_a_ready_session_stores_a_verified_record_and_leaves_nothing() {
    let world = World::start().await;
    let session = ready(&world).await;
    assert!(!sandboxes::processes(&session).is_empty(), "the ready session serves");
    let down = world.down("ann", &session, &["--reason", "done for today"]).await.ok();
    assert_eq!((&down["state"], &down["persistence_verified"]), (&"stopped".into(), &true.into()));
    assert!(!text(&down, "durable_object_id").is_empty() && text(&down, "persisted_at").ends_with('Z'));
    assert!(text(&down, "operation_id").starts_with("op_"));
    world.assert_nothing_left(&session);
    let (stored, record) = record(&world, &session).await;
    assert_eq!(stored.durable_object_id, text(&down, "durable_object_id"));
    assert_eq!((record.schema_version.as_str(), record.principal_id.as_str()), ("v1", "ann"));
    assert_eq!((record.repo_url.as_str(), record.branch.as_str()), (REPO, "main"));
    assert!(!record.history_truncated && record.last_error.is_none());
    let path = world.db.path(&session).await;
    assert_eq!(path, ["requested", "provisioning", "repo_syncing", "installing", "ready", "stopping", "persisting", "stopped"]);
    let recorded: Vec<&str> = record.state_transitions.iter().map(|transition| transition.to_state.as_str()).collect();
    assert_eq!(recorded, path, "the record knows its own end");
    assert!(record.state_transitions.iter().any(|transition| transition.reason.contains("done for today")));
    let status = world.status("ann", &session).await.ok();
    assert_eq!((&status["state"], status["stopped_at"].is_string()), (&"stopped".into(), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn down_twice_is_the_same_operation() {
    let world = World::start().await;
    let session = ready(&world).await;
    let first = world.down("ann", &session, &[]).await.ok();
    let before = (world.db.count("operations").await, world.db.count("transitions").await);
    assert_eq!(world.down("ann", &session, &[]).await.ok(), first);
    assert_eq!(world.down("ann", &session, &["--retry-persist"]).await.ok(), first);
    assert_eq!((world.db.count("operations").await, world.db.count("transitions").await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_downs_at_once_are_one_operation() {
    let world = World::start().await;
    let session = ready(&world).await;
    let args = ["down", &session, "--json"];
    let all: Vec<_> = (0..10).map(|_| world.alpine("ann").args(&args).spawn()).collect();
    let mut answers = std::collections::BTreeSet::new();
    for answer in all {
        answers.insert(answer.await.unwrap().ok().to_string());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(world.db.count("operations WHERE kind = 'down'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_may_stop_anothers_session_which_is_written_down() {
    let world = World::start().await;
    let session = ready(&world).await;
    let answer = world.admin("root").args(&["down", &session, "--json", "--reason", "cost"]).run().await;
    assert_eq!(answer.ok()["state"], "stopped");
    let audit: String = world
        .db
        .one(&format!("SELECT actor || ' ' || owner || ' ' || reason FROM audit_log WHERE session_id = '{}'", uuid(&session)))
        .await;
    assert_eq!(audit, "root ann cost");
    let actor: String =
        world.db.one(&format!("SELECT actor FROM transitions WHERE to_state = 'stopping' AND session_id = '{}'", uuid(&session))).await;
    assert_eq!(actor, "root");
    // One's own is nobody else's business.
    let own = text(&world.ready("root").await, "session_id");
    world.admin("root").args(&["down", &own, "--json"]).run().await.ok();
    assert_eq!(world.db.count("audit_log WHERE action LIKE '%down%'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sees_the_status_of_anothers_session() {
    let world = World::start().await;
    let session = ready(&world).await;
    let status = world.admin("root").args(&["status", &session, "--json"]).run().await.ok();
    assert_eq!(status["session_id"], session.as_str());
}

/// The session is stopped without its record: what is there is kept, and only an explicit retry goes on.
async fn waits_for_a_retry(world: &World, session: &str, state: &str) {
    assert_eq!(world.db.state(session).await, state);
    assert!(world.workspace(session).join("README.md").exists(), "destroyed before the record was verified");
    let operations = world.db.count("operations").await;
    let because = "session is stopped but not persisted";
    world.down("ann", session, &[]).await.refused_because(1, UNVERIFIED, because);
    assert_eq!(world.db.count("operations").await, operations, "a refusal begins nothing");
    let status = world.status("ann", session).await.ok();
    assert_eq!((&status["state"], text(&status, "next_step").contains("--retry-persist")), (&state.into(), true), "{status}");
    assert_eq!(world.list("ann").await[0]["state"], state);
}

async fn retried(world: &World, session: &str) -> Answer {
    let answer = world.down("ann", session, &["--retry-persist"]).await;
    let down = answer.ok();
    assert_eq!((&down["state"], &down["persistence_verified"]), (&"stopped".into(), &true.into()));
    let attempt: i32 = world.db.one(&format!("SELECT persist_attempt FROM sessions WHERE session_id = '{}'", uuid(session))).await;
    assert_eq!(attempt, 2, "a retry is an attempt of its own");
    record(world, session).await;
    world.assert_nothing_left(session);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_leaves_stopped_unpersisted_until_a_retry() {
    let world = World::with(&[("ALPINE_PERSIST_DEADLINE_SECONDS", "6")]).await;
    let session = ready(&world).await;
    world.db.execute("ALTER TABLE session_records RENAME TO session_records_away").await;
    let first = world.down("ann", &session, &[]).await;
    first.refused(1, UNVERIFIED);
    waits_for_a_retry(&world, &session, "stopped_unpersisted").await;
    // Still away: the retry fails as the first did, as an operation of its own.
    let second = world.down("ann", &session, &["--retry-persist"]).await;
    assert_ne!(second.refused(1, UNVERIFIED)["operation_id"], first.json()["operation_id"]);
    world.db.execute("ALTER TABLE session_records_away RENAME TO session_records").await;
    world.db.execute("UPDATE sessions SET persist_attempt = 1").await;
    retried(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_reads_back_differently_leaves_persist_failed_until_a_retry() {
    let world = World::with(&[("ALPINE_PERSIST_DEADLINE_SECONDS", "6")]).await;
    let session = ready(&world).await;
    world
        .db
        .execute(
            "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 NEW.payload := NEW.payload || ' '::bytea; NEW.sha256 := sha256(NEW.payload); RETURN NEW;
             END $$;
             CREATE TRIGGER spoil BEFORE INSERT ON session_records FOR EACH ROW EXECUTE FUNCTION spoil();",
        )
        .await;
    world.down("ann", &session, &[]).await.refused(1, UNVERIFIED);
    waits_for_a_retry(&world, &session, "persist_failed").await;
    assert_eq!(world.db.count("session_records WHERE verified_at IS NOT NULL").await, 0);
    let reply = world.api("ann").get(&format!("/v1/sessions/{session}/record")).await;
    reply.expect(404);
    world.db.execute("DROP TRIGGER spoil ON session_records").await;
    retried(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_never_fits_leaves_persist_failed_with_its_own_code() {
    let world = World::start().await;
    let session = ready(&world).await;
    let error = |cause: &str| {
        format!(
            "UPDATE sessions SET last_error = jsonb_build_object('error_code', 'ERR_INTERNAL', 'cause', {cause},
             'next_step', 'x', 'retryable', false) WHERE session_id = '{}'",
            uuid(&session)
        )
    };
    world.db.execute(&error("repeat('x', 600000)")).await;
    world.down("ann", &session, &[]).await.refused(2, "ERR_PERSIST_PAYLOAD_TOO_LARGE");
    assert_eq!(world.server.metric("alpine_errors_total", &["ERR_PERSIST_PAYLOAD_TOO_LARGE"]).await, Some(1.0));
    world.db.execute(&error("'small'")).await;
    waits_for_a_retry(&world, &session, "persist_failed").await;
    retried(&world, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_session_has_nothing_to_stop() {
    let world = World::start().await;
    world.up("ann", REPO, "absent", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    let session = text(&world.list("ann").await[0], "session_id");
    let before = (world.db.count("operations").await, world.db.count("transitions").await, world.db.count("audit_log").await);
    let answer = world.down("ann", &session, &[]).await;
    assert_eq!(answer.code, Some(1), "{answer}");
    assert_eq!(answer.json()["retryable"], false, "{answer}");
    let after = (world.db.count("operations").await, world.db.count("transitions").await, world.db.count("audit_log").await);
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_a_stopped_session_is_used_up() {
    let world = World::start().await;
    let up = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await.ok();
    world.down("ann", &text(&up, "session_id"), &[]).await.ok();
    let again = world.up("ann", REPO, "main", &["--client-request-id", "k1"]).run().await;
    let error = again.refused(1, "ERR_OPERATION_CONFLICT");
    assert!(text(&error, "next_step").contains("new"), "{error}");
    assert_eq!(error["retryable"], false);
    assert_eq!(world.db.count("sessions").await, 1);
    world.up("ann", REPO, "main", &["--client-request-id", "k2"]).run().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn down_during_up_ends_it_and_leaves_nothing() {
    let world = World::start().await;
    let (repo, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 1000\"")]);
    let waiting = world.up("ann", &repo, "main", &["--client-request-id", "k1"]).spawn();
    let session = alpine_tests::until("the up is listed", LIMIT, || async {
        world.list("ann").await.first().map(|session| text(session, "session_id"))
    })
    .await;
    world.db.wait_for_state(&session, &["installing"], LIMIT).await;
    let down = world.down("ann", &session, &[]).await;
    assert_eq!(down.code, Some(0), "{down}");
    let up = waiting.await.unwrap();
    assert_eq!(up.code, Some(1), "{up}");
    assert!(text(&up.json(), "cause").contains("cancel"), "{up}");
    assert_eq!(world.db.state(&session).await, "failed");
    world.assert_nothing_left(&session);
    let again = world.up("ann", &repo, "main", &["--client-request-id", "k1"]).run().await;
    assert_eq!((again.code, again.json()["cause"].clone()), (Some(1), up.json()["cause"].clone()), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_kills_at_once_what_ignores_the_polite_signal() {
    let stubborn = format!("trap '' TERM; {}", alpine_tests::LIGHT_SERVE);
    let world = World::with(&[("ALPINE_SANDBOX_SERVE", &stubborn), ("ALPINE_STOP_GRACE_SECONDS", "20")]).await;
    let session = ready(&world).await;
    let down = world.down("ann", &session, &["--force"]).await;
    assert_eq!(down.ok()["state"], "stopped");
    assert!(down.took < Duration::from_secs(15), "{down}");
    world.assert_nothing_left(&session);
}

/// `count` ended operations before those of the test, of about 350 bytes each in the record.
async fn old_operations(world: &World, session: &str, count: usize) {
    let sql = format!(
        "INSERT INTO operations (tenant_id, operation_id, session_id, kind, status, phase, actor, error, deadline_at, created_at, finished_at)
         SELECT 'dev', gen_random_uuid(), '{}', 'down', 'failed', 'persist', 'ann',
             jsonb_build_object('error_code', '{UNVERIFIED}', 'cause', 'persist: try ' || n, 'next_step', 'run it again', 'retryable', true),
             now(), now() - interval '1 day' + n * interval '1 second', now() - interval '1 day' + n * interval '1 second'
         FROM generate_series(1, {count}) n",
        uuid(session)
    );
    assert_eq!(world.db.execute(&sql).await, u64::try_from(count).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_over_512_kib_loses_its_oldest_operations_and_only_as_many_as_needed() {
    let world = World::start().await;
    let session = ready(&world).await;
    old_operations(&world, &session, 3000).await;
    world.down("ann", &session, &[]).await.ok();
    let (stored, record) = record(&world, &session).await;
    let size = usize::try_from(stored.size_bytes).unwrap();
    assert!(record.history_truncated && size <= RECORD_MAX_BYTES);
    assert_eq!(record.state_transitions.len(), 8, "transitions are cut last");
    let kept = &record.operation_history;
    assert!(kept.len() > 2 && kept.len() < 3002, "{}", kept.len());
    let cut: i64 = 3002 - i64::try_from(kept.len()).unwrap();
    let all: Vec<sqlx::types::Uuid> =
        world.db.one("SELECT array_agg(operation_id ORDER BY created_at, operation_id) FROM operations").await;
    let expected = &all[usize::try_from(cut).unwrap()..];
    let ids: Vec<_> = kept.iter().map(|operation| operation.operation_id.uuid()).collect();
    assert_eq!(ids, expected, "the oldest are cut, and no other");
    let largest = kept.iter().map(|operation| serde_json::to_vec(operation).unwrap().len() + 1).max().unwrap();
    assert!(size + largest > RECORD_MAX_BYTES, "{size}: one operation more would have fitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn transitions_are_cut_only_when_no_operation_is_left() {
    let world = World::start().await;
    let session = ready(&world).await;
    old_operations(&world, &session, 50).await;
    let sql = format!(
        "INSERT INTO transitions (tenant_id, session_id, seq, from_state, to_state, actor, reason, operation_id, fence)
         SELECT 'dev', '{0}', s.transition_seq + n,
             CASE n % 2 WHEN 1 THEN 'persist_failed' ELSE 'persisting' END, CASE n % 2 WHEN 1 THEN 'persisting' ELSE 'persist_failed' END,
             'ann', 'retry ' || n, s.operation_id, 1
         FROM sessions s, generate_series(1, 4000) n WHERE s.session_id = '{0}';
         UPDATE sessions SET transition_seq = transition_seq + 4000, state = 'persist_failed', stopped_at = now()
         WHERE session_id = '{0}'",
        uuid(&session)
    );
    world.db.meddle(&sql).await;
    world.down("ann", &session, &["--retry-persist"]).await.ok();
    let (stored, record) = record(&world, &session).await;
    assert!(record.history_truncated && record.operation_history.is_empty());
    let kept = &record.state_transitions;
    assert_eq!(kept.last().unwrap().to_state.as_str(), "stopped");
    assert!(kept.windows(2).all(|two| two[0].seq + 1 == two[1].seq), "the oldest are cut, and no other");
    let size = usize::try_from(stored.size_bytes).unwrap();
    let largest = kept.iter().map(|transition| serde_json::to_vec(transition).unwrap().len() + 1).max().unwrap();
    assert!(size <= RECORD_MAX_BYTES && size + largest > RECORD_MAX_BYTES, "{size}: one transition more would have fitted");
}
