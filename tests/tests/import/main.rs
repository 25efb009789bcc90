//! Moving in: `alpine import` of a predecessor's ledger, and what of it is there afterwards.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod nul;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use alpine_api::{
    AuditOutcome,
    SessionState::{self, *},
};
use alpine_tests::{
    REPO, World,
    audit::{assert_whole, log},
    cli::{Answer, text},
    invariants::{self, Limits},
    predecessor_file::{ERROR, File, way},
};
use chrono::TimeDelta;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use sqlx::{Connection, PgConnection};

const LIMIT: Duration = Duration::from_secs(60);

fn write(world: &World, file: &Value) -> PathBuf {
    let path = world.dir.join("home").join("ledger.json");
    std::fs::write(&path, serde_json::to_string_pretty(file).unwrap()).unwrap();
    path
}

async fn import(world: &World, principal: &str, file: &Value, more: &[&str]) -> Answer {
    let path = write(world, file);
    world.admin(principal).args(&["import", path.to_str().unwrap(), "--json"]).args(more).run().await
}

/// What came of each session, by its id in the file.
fn results(summary: &Value) -> BTreeMap<String, Value> {
    let results = summary["results"].as_array().unwrap_or_else(|| panic!("{summary}"));
    results.iter().map(|one| (text(one, "original_id"), one.clone())).collect()
}

async fn assert_sound(world: &World) {
    let mut connection = PgConnection::connect(&world.db.url).await.unwrap();
    let violations = invariants::ledger(&mut connection, &Limits::default()).await.unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
    let violations = invariants::sandboxes(&mut connection, &world.data_dir).await.unwrap();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// How many rows every table has.
async fn rows(world: &World) -> Vec<String> {
    let tables: Vec<String> = world
        .db
        .one("SELECT array_agg(relname::text ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
        .await;
    let mut rows = Vec::new();
    for table in tables {
        rows.push(format!("{table} {}", world.db.count(&table).await));
    }
    rows
}

/// Where a session of the file comes to rest.
const fn rests(state: SessionState) -> SessionState {
    match state {
        Requested | Provisioning | RepoSyncing | Installing | Ready | Failing | CleanupFailed | Failed => Failed,
        Stopping | CloseFailed | Persisting | Stopped => Stopped,
        PersistFailed => PersistFailed,
        StoppedUnpersisted => StoppedUnpersisted,
    }
}

const OUR_FORM: &str = "ses_019a9f00000070008000000000000abc";

/// One of each state, one that is stopped without a record, and one with an id of our own form and a credential in its URL.
fn all_states() -> File {
    let mut file = File::of(TimeDelta::hours(2));
    for (index, state) in SessionState::ALL.iter().enumerate() {
        file.session(&format!("s-{state}"), if index % 2 == 0 { "ann" } else { "bob:b" }, *state);
    }
    file.session("s-no-record", "ann", Stopped);
    file.part("records").remove("s-no-record");
    file.session(OUR_FORM, "ann", Failed);
    file.part("sessions")[OUR_FORM]["repo_url"] = REPO.replace("https://", "https://user:s3cret@").into();
    file.part("transitions")[OUR_FORM][3]["reason"] = "clone of https://user:s3/cret@host/x failed".into();
    file
}

/// Entries of many kinds that cannot be taken.
fn spoil(file: &mut File) -> usize {
    let clean = file.json.clone();
    for (id, change) in [
        ("bad-url", json!({"repo_url": "https://user:%ZZs3cret@host/x"})),
        ("bad-state", json!({"state": "thawing"})),
        ("bad-branch", json!({"branch": "a..b"})),
        ("bad-time", json!({"created_at": "2126-01-01T00:00:00Z"})),
        ("bad-owner", json!({"owner_principal_id": " s3cret"})),
    ] {
        file.session(id, "ann", Failed);
        file.part("idempotency_keys").remove(&format!("up:ann:key:{id}"));
        let session = file.part("sessions")[id].as_object_mut().unwrap();
        session.extend(change.as_object().unwrap().clone());
    }
    for id in ["record-too-large", "record-of-another"] {
        file.session(id, "ann", Stopped);
    }
    file.part("records")["record-too-large"]["last_error"] = "x".repeat(524_288).into();
    file.part("records")["record-of-another"]["session_id"] = "s-stopped".into();
    file.part("idempotency_keys").insert("up:mallory:s3cret".into(), json!({"operation_id": "s-failed-up"}));
    file.part("idempotency_keys").insert("up:a:b:c".into(), json!({"note": "whose?"}));
    let orphan = clean["operations"]["s-failed-up"].clone();
    file.part("operations").insert("orphan".into(), orphan);
    file.part("operations")["orphan"]["session_id"] = "nobody".into();
    file.part("operations")["orphan"]["operation_id"] = "orphan".into();
    10
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessors_ledger_moves_in_whole() {
    let world = World::start().await;
    let mut file = all_states();
    let good = file.json["sessions"].as_object().unwrap().len();
    let malformed = spoil(&mut file);
    let answer = import(&world, "root", &file.json, &[]).await;
    assert!(!answer.to_string().contains("cret"), "{answer}");
    let summary = answer.refused(1, "ERR_INVALID_REQUEST");
    let told: Vec<String> =
        summary["malformed"].as_array().unwrap().iter().map(|one| format!("{}: {}", text(one, "entry"), text(one, "cause"))).collect();
    assert_eq!((summary["imported"].as_u64(), told.len()), (Some(good as u64), malformed), "{told:#?}");
    for (entry, cause) in [
        ("bad-url", "not certain where a credential"),
        ("bad-state", "state is no session state"),
        ("bad-branch", "session.branch: invalid branch name"),
        ("bad-time", "session.created_at"),
        ("bad-owner", "session.owner_principal_id"),
        ("record-too-large", "at most 524288 fit"),
        ("record-of-another", "record.session_id: it is not the session's"),
        ("orphan", "its session is not in the file"),
        ("idempotency_keys", "not of the owner"),
        ("idempotency_keys", "whose it is cannot be told"),
    ] {
        assert!(told.iter().any(|one| one.contains(entry) && one.contains(cause)), "{entry}: {cause} in {told:#?}");
    }
    let results = results(&summary);
    assert_ne!(results[OUR_FORM]["session_id"], OUR_FORM, "an id that is given could be another tenant's");
    for state in SessionState::ALL {
        assert_eq!(results[&format!("s-{state}")]["state"], rests(*state).as_str(), "{state}: {}", results[&format!("s-{state}")]);
    }
    assert_eq!(results["s-no-record"]["state"], "stopped_unpersisted");
    assert_sound(&world).await;
    assert_no_secret(&world).await;
    shown(&world, &results).await;
    recorded(&world, &results, &file).await;
    replayed(&world, &results).await;
    again(&world, &file, malformed).await;
    finished(&world, &text(&results["s-no-record"], "session_id")).await;
    assert_sound(&world).await;
}

/// In no table, however deep.
async fn assert_no_secret(world: &World) {
    let tables: Vec<String> =
        world.db.one("SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'").await;
    for table in tables {
        let found = world.db.count(&format!("{table} t WHERE t::text LIKE '%3cret%' OR t::text LIKE '%3/cret%'")).await;
        assert_eq!(found, 0, "in {table}");
    }
    assert_eq!(world.db.count("session_records WHERE convert_from(payload, 'UTF8') LIKE '%cret%'").await, 0);
}

/// List, status and events show what the file said.
async fn shown(world: &World, results: &BTreeMap<String, Value>) {
    let list = world.admin("root").args(&["list", "--all-owners", "--json"]).run().await.ok();
    assert_eq!(list.as_array().unwrap().len(), results.len(), "{list}");
    assert_eq!(world.list("bob:b").await.len(), SessionState::ALL.len() / 2, "the owner is kept");
    let id = |original: &str| text(&results[original], "session_id");
    let ready = world.status("ann", &id("s-ready")).await.ok();
    assert_eq!(ready["state"], "failed");
    assert!(text(&ready["last_error"], "cause").contains("its sandbox is not run by this control plane"), "{ready}");
    let stopped = world.status("bob:b", &id("s-stopped")).await.ok();
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    for (original, owner) in [("s-stopped", "bob:b"), ("s-failed", "ann")] {
        let events = world.api(owner).get(&format!("/v1/sessions/{}/events?limit=100", id(original))).await.expect(200).clone();
        let transitions: Vec<_> =
            events["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "transition").cloned().collect();
        let states: Vec<_> = transitions.iter().map(|event| text(event, "to_state")).collect();
        let state = original.strip_prefix("s-").unwrap().parse().unwrap();
        assert_eq!(states, way(state).iter().map(|state| state.as_str()).collect::<Vec<_>>());
        assert_eq!((text(&transitions[1], "actor").as_str(), text(&transitions[1], "reason").as_str()), (owner, "went to provisioning"));
        assert!(transitions.is_sorted_by_key(|event| event["seq"].as_i64().unwrap()));
    }
}

#[derive(Deserialize)]
struct Stored {
    sha256: String,
    durable_object_id: String,
    record: Box<RawValue>,
}

/// The record is that of the file, byte for byte, and was read back.
async fn recorded(world: &World, results: &BTreeMap<String, Value>, file: &File) {
    let id = text(&results["s-stopped"], "session_id");
    let reply = world.api("bob:b").get(&format!("/v1/sessions/{id}/record")).await;
    reply.expect(200);
    let stored: Stored = serde_json::from_str(&reply.text).unwrap();
    let given = serde_json::to_string_pretty(&file.json).unwrap();
    assert!(given.contains(stored.record.get()), "not as it stands in the file: {}", stored.record.get());
    let digest: String = Sha256::digest(stored.record.get()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(stored.sha256, digest);
    let down = world.down("bob:b", &id, &[]).await.ok();
    assert_eq!((down["persistence_verified"].as_bool(), text(&down, "durable_object_id")), (Some(true), stored.durable_object_id));
    // One that was interrupted has a record of our own making.
    let carried_on = text(&results["s-persisting"], "session_id");
    world.api_of("dev", "root", &["alpine.admin"]).get(&format!("/v1/sessions/{carried_on}/record")).await.expect(200);
    // The record's time counts, though the session said another.
    let warnings = results["s-stopped"]["warnings"].to_string();
    assert!(warnings.contains("session.persisted_at: it differs from the record's"), "{warnings}");
}

/// A key answers as DESIGN 3 says, though what the predecessor saved was a success.
async fn replayed(world: &World, results: &BTreeMap<String, Value>) {
    let before = world.db.count("sessions").await;
    let (ann, bob) = (world.api("ann"), world.api("bob:b"));
    let failed = ann.up("key:s-failed", REPO, "main").await;
    assert_eq!(failed.expect(502)["cause"], ERROR);
    for (api, key) in [(&ann, "key:s-ready"), (&bob, "key:s-stopped"), (&ann, "key:s-no-record")] {
        let over = api.up(key, REPO, "main").await;
        assert_eq!(over.expect(409)["error_code"], "ERR_OPERATION_CONFLICT", "{key}");
    }
    let cut_short = bob.up("key:s-provisioning", REPO, "main").await;
    assert!(text(cut_short.expect(502), "cause").contains("not run by this control plane"));
    let other = ann.up("key:s-failed", REPO, "other").await;
    assert_eq!(other.expect(422)["error_code"], "ERR_OPERATION_CONFLICT");
    assert_eq!(world.db.count("sessions").await, before, "no replay began anything");
    assert_eq!(results["s-failed"]["client_request_ids"], json!(["key:s-failed"]));
}

/// The same file is no second import, and another under the same ids overwrites nothing.
async fn again(world: &World, file: &File, malformed: usize) {
    let before = rows(world).await;
    let summary = import(world, "root", &file.json, &[]).await.refused(1, "ERR_INVALID_REQUEST");
    let good = summary["results"].as_array().unwrap().len();
    assert_eq!((summary["already_imported"].as_u64(), summary["imported"].as_u64()), (Some(good as u64), Some(0)), "{summary}");
    assert_eq!(summary["malformed"].as_array().unwrap().len(), malformed);
    let mut changed = all_states();
    changed.json["sessions"].as_object_mut().unwrap().retain(|id, _| id == "s-failed");
    for part in ["operations", "transitions", "records", "idempotency_keys"] {
        changed.json[part].as_object_mut().unwrap().retain(|name, _| name.contains("s-failed"));
    }
    let conflict = import(world, "root", &changed.json, &[]).await.refused(1, "ERR_INVALID_REQUEST");
    assert!(text(&conflict["malformed"][0], "cause").contains("imported before, as ses_"), "{conflict}");
    assert_eq!(rows(world).await, before);
    let log = log(&world.db, "dev").await;
    assert_whole(&log);
    let deeds = log.iter().filter(|entry| entry.action == "session.import");
    assert!(deeds.clone().all(|entry| entry.outcome == AuditOutcome::Done && entry.actor == "root" && entry.owner.is_some()));
    assert_eq!(deeds.count(), good);
}

/// What came in stopped and without a record is finished by the owner, as one of our own would be.
async fn finished(world: &World, session: &str) {
    world.down("ann", session, &[]).await.refused(1, "ERR_PERSISTENCE_VERIFICATION_FAILED");
    let down = world.down("ann", session, &["--retry-persist"]).await.ok();
    assert_eq!((&down["state"], &down["persistence_verified"]), (&json!("stopped"), &json!(true)), "{down}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_only_admins_may_and_other_tenants_see_nothing() {
    let world = World::with(&[("ALPINE_RETENTION_DAYS", "3"), ("ALPINE_SWEEP_SECONDS", "1")]).await;
    let file = all_states();
    let good = file.json["sessions"].as_object().unwrap().len() as u64;
    // Whatever an answer may leave behind (a tenant's first sight) is there before.
    let before = rows(&world).await;
    let dry = import(&world, "root", &file.json, &["--dry-run"]).await.ok();
    assert_eq!((dry["would_import"].as_u64(), dry["imported"].as_u64()), (Some(good), Some(0)), "{dry}");
    assert_eq!(results(&dry)["s-stopped"]["state"], "stopped");
    assert_eq!(rows(&world).await, before);
    // Nobody but an admin, and that it was tried is on record.
    let path = write(&world, &file.json);
    let refused = world.alpine("ann").args(&["import", path.to_str().unwrap(), "--json"]).run().await;
    assert_eq!(refused.refused(1, "ERR_FORBIDDEN")["cause"], "this needs the role alpine.admin");
    let denied = log(&world.db, "dev").await;
    assert!(!denied.is_empty() && denied.iter().all(|entry| entry.action == "session.import" && entry.outcome == AuditOutcome::Denied));
    assert_eq!(world.db.count("imported_sessions").await + world.db.count("sessions").await, 0);
    // What it did say before is what it does.
    let done = import(&world, "root", &file.json, &[]).await.ok();
    let ids = |summary: &Value| -> Vec<(String, Value)> {
        results(summary).into_iter().map(|(id, one)| (id, one["session_id"].clone())).collect()
    };
    assert_eq!(ids(&done), ids(&dry));
    // Another tenant sees none of them, and may bring in the same file: under ids of its own where those are derived.
    let stranger = world.api_of("acme", "root", &["alpine.admin"]);
    for (original, id) in ids(&done) {
        let path = format!("/v1/sessions/{}", id.as_str().unwrap());
        assert_eq!(stranger.get(&path).await.status.as_u16(), 404, "{original}");
    }
    let old = expired(&world).await;
    let path = write(&world, &file.json);
    let elsewhere = world.admin("root").env("ALPINE_TENANT", "acme").args(&["import", path.to_str().unwrap(), "--json"]).run().await.ok();
    assert_eq!(elsewhere["imported"].as_u64(), Some(good), "{elsewhere}");
    for (original, id) in ids(&elsewhere) {
        assert_ne!(id, results(&done)[&original]["session_id"], "{original}: of two tenants none has the other's id");
    }
    example(&world).await;
    // The sweeper has been by meanwhile: retention counts from the import.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.status("ann", &old).await.ok()["state"], "failed");
    assert_sound(&world).await;
}

/// Keys whose operations ended 72 hours ago are free, and told.
async fn expired(world: &World) -> String {
    let mut old = File::of(TimeDelta::hours(80));
    old.session("old", "ann", Failed);
    let summary = import(world, "root", &old.json, &[]).await.ok();
    assert_eq!(summary["expired_keys"][0]["client_request_id"], "key:old", "{summary}");
    assert_eq!(world.db.count("idempotency_keys WHERE key = 'key:old'").await, 0);
    // What ended long ago is not listed, and is there.
    let id = text(&summary["results"][0], "session_id");
    assert!(world.list("ann").await.iter().all(|session| session["session_id"] != id.as_str()));
    assert_eq!(world.status("ann", &id).await.ok()["state"], "failed");
    id
}

/// The example of the documentation, for people, from where the predecessor kept it.
async fn example(world: &World) {
    let home = world.dir.join("home").join(".alpine");
    std::fs::create_dir_all(&home).unwrap();
    alpine_tests::base::open_for_passage(&home);
    std::fs::write(home.join("sessions.json"), include_str!("../../import/sessions.json")).unwrap();
    let answer = world.admin("root").args(&["import"]).run().await;
    assert_eq!(answer.code, Some(0), "{answer}");
    assert!(answer.stdout.starts_with("sessions in the file  3\nimported              3\n"), "{answer}");
    let missing = world.admin("root").args(&["import", "/nowhere/sessions.json", "--json"]).run().await;
    missing.refused_because(1, "ERR_INVALID_REQUEST", "there is no file /nowhere/sessions.json");
}

/// Two requests for one session at once: one import, and the other is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_sent_many_times_at_once_is_imported_once() {
    let world = World::start().await;
    let at = File::of(TimeDelta::hours(1)).at(0);
    let session =
        json!({"session_id": "s", "owner_principal_id": "ann", "repo_url": REPO, "branch": "main", "state": "ready", "created_at": at});
    let body = json!({ "session": session });
    let send = || async { world.api_of("dev", "root", &["alpine.admin"]).send(Method::POST, "/v1/imports/sessions", &body).await };
    let replies = tokio::join!(send(), send(), send(), send());
    let outcomes = [&replies.0, &replies.1, &replies.2, &replies.3].map(|reply| text(reply.expect(200), "outcome"));
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "imported").count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| *outcome == "already_imported").count(), 3, "{outcomes:?}");
    // Nothing of a history: it is made, and says so.
    let id = text(&replies.0.body, "session_id");
    assert_eq!(world.db.path(&id).await, ["requested", "provisioning", "repo_syncing", "installing", "ready", "failing", "failed"]);
    assert_eq!(world.db.wait_for_state(&id, &["failed"], LIMIT).await, "failed");
    assert_sound(&world).await;
}

/// How long a large ledger takes: `cargo test -p alpine-tests --test import -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, too long for every run"]
async fn two_thousand_sessions() {
    let world = World::start().await;
    let mut file = File::of(TimeDelta::hours(2));
    for number in 0..2000 {
        file.session(&format!("s-{number}"), "ann", if number % 2 == 0 { Stopped } else { Failed });
    }
    for (what, imported) in [("first", 2000), ("again", 0)] {
        let path = write(&world, &file.json);
        let begun = Instant::now();
        let alpine = world.admin("root").args(&["import", path.to_str().unwrap(), "--json"]).limit(Duration::from_secs(900));
        let summary = alpine.run().await.ok();
        println!("{what}: {:?}", begun.elapsed());
        assert_eq!(summary["imported"], imported);
    }
    assert_sound(&world).await;
}
