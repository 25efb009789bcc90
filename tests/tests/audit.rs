//! The audit log: what stands in it, that nobody changes it, and that it shows where somebody did.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_api::{AuditEntry, AuditOutcome};
use alpine_tests::{
    REPO, World,
    api::{Api, Reply},
    audit::{assert_whole, log},
    cli::text,
    cluster,
    db::Db,
};
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, PgConnection, migrate::Migrator};

/// What a request leaves in the log of `dev`: nothing, or exactly one entry with its own id.
async fn left(world: &World, seen: &mut usize, reply: &Reply) -> Option<AuditEntry> {
    let mut log = log(&world.db, "dev").await;
    assert_whole(&log);
    let new = log.split_off(*seen);
    *seen += new.len();
    assert!(new.len() <= 1, "{new:#?}");
    let entry = new.into_iter().next()?;
    assert_eq!((entry.request_id.as_str(), entry.actor_tenant.as_str()), (reply.request_id(), "dev"));
    Some(entry)
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_done_or_tried_with_anothers_is_one_entry_and_ones_own_is_none() {
    let world = World::start().await;
    let up = world.ready("ann").await;
    let (session, operation) = (text(&up, "session_id"), text(&up, "operation_id"));
    let (ann, bob, root) = (world.api("ann"), world.api("bob"), world.api_of("dev", "root", &["alpine.admin"]));
    let stranger = world.api_of("acme", "root", &["alpine.admin"]);
    let mut seen = 0;
    let reads = [
        ("session.read", format!("/v1/sessions/{session}")),
        ("events.read", format!("/v1/sessions/{session}/events")),
        ("record.read", format!("/v1/sessions/{session}/record")),
        ("operation.read", format!("/v1/operations/{operation}")),
    ];
    for (action, path) in &reads {
        for (by, name, outcome) in [
            (&ann, "ann", None),
            (&root, "root", Some(AuditOutcome::Done)),
            (&bob, "bob", Some(AuditOutcome::Denied)),
            (&stranger, "", None),
        ] {
            let reply = by.get(path).await;
            let entry = left(&world, &mut seen, &reply).await;
            assert_eq!(entry.as_ref().map(|entry| entry.outcome), outcome, "{name} {path}");
            let Some(entry) = entry else { continue };
            let said =
                (entry.actor.as_str(), entry.action.as_str(), entry.target.as_deref(), entry.owner.as_deref(), entry.reason.as_deref());
            assert_eq!(said, (name, *action, Some(session.as_str()), Some("ann"), None));
        }
    }
    for (by, outcome) in [(&root, AuditOutcome::Done), (&bob, AuditOutcome::Denied)] {
        let entry = left(&world, &mut seen, &by.get("/v1/sessions?owner=all").await).await.unwrap();
        assert_eq!((entry.action.as_str(), entry.outcome, entry.target.as_deref()), ("session.list_all", outcome, Some("dev")));
        assert_eq!(left(&world, &mut seen, &by.get("/v1/sessions").await).await, None);
        assert_eq!(left(&world, &mut seen, &by.get("/v1/sessions/ses_00000000000000000000000000000000").await).await, None);
    }
    downs(&world, &session, &mut seen).await;
    assert_eq!(world.db.count("audit_log WHERE tenant_id <> 'dev'").await, 0);
}

/// Each `down` of another's session, whatever comes of it.
async fn downs(world: &World, session: &str, seen: &mut usize) {
    let root = world.api_of("dev", "root", &["alpine.admin"]);
    let path = format!("/v1/sessions/{session}/down");
    let waiting = |by: &Api| by.request(Method::POST, &path).header("Prefer", "wait=60").json(&json!({ "reason": "cost" }));
    // To wait for the end, with however many looks, is one deed; to ask again another.
    for (by, name, status, outcome) in [
        (world.api("bob"), "bob", 403, AuditOutcome::Denied),
        (root.clone(), "root", 200, AuditOutcome::Done),
        (root, "root", 200, AuditOutcome::Done),
    ] {
        let reply = alpine_tests::api::send(waiting(&by)).await;
        reply.expect(status);
        let entry = left(world, seen, &reply).await.unwrap();
        let said = (entry.actor.as_str(), entry.action.as_str(), entry.outcome, entry.reason.as_deref(), entry.owner.as_deref());
        assert_eq!(said, (name, "session.down", outcome, Some("cost"), Some("ann")));
    }
    let own = world.api("ann").down(session, json!({})).await;
    assert_eq!(left(world, seen, &own).await, None);
    // A session that left nothing to stop: what an admin was told of it is on record too.
    world.up("ann", REPO, "absent", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    let failed: String = world.db.one("SELECT 'ses_' || replace(session_id::text, '-', '') FROM sessions WHERE state = 'failed'").await;
    let refused = world.api_of("dev", "root", &["alpine.admin"]).down(&failed, json!({ "reason": "why" })).await;
    refused.expect(409);
    let entry = left(world, seen, &refused).await.unwrap();
    assert_eq!((entry.outcome, entry.reason.as_deref(), entry.target), (AuditOutcome::Denied, Some("why"), Some(failed)));
}

/// A world without a worker, with a session of ann's, and `n` entries about it.
async fn with_entries(n: usize) -> (World, String) {
    let world = World::with(&[("ALPINE_ROLE", "api")]).await;
    let session = text(world.api("ann").up("k", REPO, "main").await.expect(202), "session_id");
    denied(&world, &session, n).await;
    (world, session)
}

/// At once.
async fn denied(world: &World, session: &str, n: usize) {
    let asked = (0..n).map(|i| {
        let (api, path) = (world.api(&format!("bob{}", i % 7)), format!("/v1/sessions/{session}"));
        tokio::spawn(async move { api.get(&path).await.status })
    });
    for asked in asked.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), 403);
    }
}

const ROW: &str = "INSERT INTO audit_log (tenant_id, actor, action, target, owner, reason, request_id) VALUES";

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_are_a_chain_without_a_gap_and_an_aborted_one_leaves_none() {
    let (world, session) = with_entries(0).await;
    let db = world.db.clone();
    let aborts = tokio::spawn(async move {
        for _ in 0..50 {
            db.try_execute(&format!("{ROW} ('dev', 'x', 'x', 'x', 'x', 'x', 'x'); SELECT pg_sleep(0.01); SELECT 1 / 0")).await.unwrap_err();
        }
    });
    denied(&world, &session, 200).await;
    aborts.await.unwrap();
    assert_eq!(assert_whole(&log(&world.db, "dev").await), 200);
    let verified = world.admin("root").args(&["audit", "--verify", "--json"]).run().await.ok();
    assert_eq!((&verified["verified"], &verified["entries"]), (&json!(true), &json!(200)));
    let (mut after, mut numbers) = (0, Vec::new());
    loop {
        let page = world.api_of("dev", "root", &["alpine.admin"]).get(&format!("/v1/audit?limit=37&after={after}")).await;
        let entries = page.expect(200)["entries"].as_array().unwrap();
        if entries.is_empty() {
            break;
        }
        numbers.extend(entries.iter().map(|entry| entry["seq"].as_i64().unwrap()));
        after = page.body["next_after"].as_i64().unwrap();
    }
    assert_eq!(numbers, (1..=200).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_the_contract_compute_the_same_digest() {
    let db = Db::new(cluster::database().await);
    for values in [
        "('dev', 'ann', 'a', NULL, NULL, NULL, 'r')",
        "('dev', '', '', '', '', '', '')",
        "('dev', 'b\u{f6}b \u{1f980}', 'a', '5:x', '-', E'line\\nbreak\\ttab \\'quote\\' \"double\" \\\\', '\u{202e}\u{e9}e\u{301}')",
        "('\u{e9}t\u{e9}', 'ann', 'a', repeat('\u{4e2d}', 4000), NULL, '-', 'r')",
    ] {
        db.execute(&format!("{ROW} {values}")).await;
    }
    for at in ["2026-11-25 20:18:06.000001+00", "2026-11-25 20:18:06+02", "1969-12-31 23:59:59.999999+00", "9999-12-31 23:59:59.999999+00"]
    {
        let sql = format!("INSERT INTO audit_log (tenant_id, at, actor, action, request_id) VALUES ('dev', '{at}', 'ann', 'a', 'r')");
        db.execute(&sql).await;
    }
    assert_eq!((assert_whole(&log(&db, "dev").await), assert_whole(&log(&db, "\u{e9}t\u{e9}").await)), (7, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_added_to_and_nothing_else_by_every_role_of_the_server() {
    let (world, _) = with_entries(3).await;
    let db = &world.db;
    let before = log(db, "dev").await;
    for role in ["alpine_api", "alpine_worker"] {
        for sql in [
            "UPDATE audit_log SET actor = 'x'",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
            "ALTER TABLE audit_log DISABLE TRIGGER ALL",
            "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
            "DROP TRIGGER audit_log_chain ON audit_log",
            "DROP TABLE audit_log",
            "SELECT * FROM audit_heads",
            "UPDATE audit_heads SET seq = 0",
            "DELETE FROM audit_heads",
            "INSERT INTO audit_heads VALUES ('dev', 9, '')",
            "CREATE OR REPLACE FUNCTION audit_digest(entry audit_log) RETURNS bytea LANGUAGE sql AS 'SELECT NULL::bytea'",
            "CREATE TABLE mine ()",
        ] {
            let refusal = db.try_as(role, Some("dev"), sql).await.expect_err(sql);
            assert!(refusal.contains("permission denied") || refusal.contains("must be owner"), "{role}: {sql}: {refusal}");
        }
    }
    assert_eq!(log(db, "dev").await, before);
    // The very owner's statements meet the trigger; that is the migrator's to take away, and nobody else's.
    for sql in ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        assert!(db.try_execute(sql).await.unwrap_err().contains("is only added to"), "{sql}");
    }
    // Whoever says which place and which hash an entry has is not heard.
    let forged = "INSERT INTO audit_log (tenant_id, actor, action, request_id, seq, prev_hash, hash) VALUES ('dev', 'x', 'x', 'x', 99, '\\x00', '\\x00')";
    for role in ["alpine_api", "alpine_worker"] {
        assert_eq!(db.try_as(role, Some("dev"), forged).await, Ok(1), "{role}");
    }
    assert_eq!(assert_whole(&log(db, "dev").await), before.len() + 2);
}

/// What superusers can do with the triggers off, and what `--verify` then says.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_tampered_with_is_found_out() {
    let (world, _) = with_entries(5).await;
    let db = &world.db;
    db.execute("CREATE TABLE saved AS TABLE audit_log").await;
    let verify = |head: Option<&str>| {
        let head = head.map(|head| vec!["--head", head]).unwrap_or_default();
        world.admin("root").args(&["audit", "--verify", "--json"]).args(&head).run()
    };
    let noted = text(&verify(None).await.ok(), "head");
    assert_eq!(verify(Some(&noted)).await.ok()["entries"], 5);
    let rewrite = "UPDATE audit_log SET actor = 'nobody' WHERE seq = 1;
        DO $$ DECLARE e audit_log; last bytea := ''; BEGIN
            FOR e IN SELECT * FROM audit_log ORDER BY seq LOOP
                e.prev_hash := last; last := audit_digest(e);
                UPDATE audit_log SET prev_hash = e.prev_hash, hash = last WHERE audit_id = e.audit_id;
            END LOOP; END $$; SELECT 1";
    let swap = "UPDATE audit_log SET seq = -2 WHERE seq = 2; UPDATE audit_log SET seq = 2 WHERE seq = 3; UPDATE audit_log SET seq = 3 WHERE seq = -2";
    for (tampering, found, without_head) in [
        ("UPDATE audit_log SET actor = 'nobody' WHERE seq = 3", "entry 3 is not what was written", true),
        ("UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 1", "entry 1 is not what was written", true),
        ("UPDATE audit_log SET reason = '' WHERE seq = 5", "entry 5 is not what was written", true),
        ("DELETE FROM audit_log WHERE seq = 2", "after entry 1 comes 3", true),
        ("DELETE FROM audit_log WHERE seq = 1", "after entry 0 comes 2", true),
        (swap, "entry 2 does not follow the one before it", true),
        ("DELETE FROM audit_log WHERE seq > 3", "was cut off: it ends with entry 3, and entry 5 was noted", false),
        ("DELETE FROM audit_log", "was cut off: it ends with entry 0, and entry 5 was noted", false),
        (rewrite, "entry 5 has another hash than was noted", false),
    ] {
        db.meddle(tampering).await;
        let error = verify(Some(&noted)).await.refused(1, "ERR_PERSISTENCE_VERIFICATION_FAILED");
        assert!(text(&error, "cause").contains(found) && error["retryable"] == false, "{tampering}: {error}");
        assert_eq!(verify(None).await.code == Some(1), without_head, "{tampering}: only what was noted shows that");
        db.meddle("DELETE FROM audit_log; INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM saved").await;
    }
    assert_eq!(text(&verify(Some(&noted)).await.ok(), "head"), noted);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_its_admins_to_read_and_that_of_others_an_operators_which_is_on_record() {
    let (world, _) = with_entries(2).await;
    let root = world.api_of("dev", "root", &["alpine.admin"]);
    let olga = world.api_of("house", "olga", &["alpine.operator"]);
    let page = root.get("/v1/audit?tenant=dev").await.expect(200).clone();
    assert_eq!(page["entries"].as_array().unwrap().len(), 2);
    assert_eq!(root.get("/v1/audit").await.expect(200), &page, "one's own is not written down");
    let rest = root.get("/v1/audit?after=1&limit=1").await.expect(200).clone();
    assert_eq!((rest["entries"].as_array().unwrap().len(), &rest["next_after"]), (1, &json!(2)));
    let foreign = olga.get("/v1/audit?tenant=dev").await;
    let entries: Vec<AuditEntry> = serde_json::from_value(foreign.expect(200)["entries"].clone()).unwrap();
    assert_eq!(assert_whole(&entries), 3);
    let read = &entries[2];
    assert_eq!((read.action.as_str(), read.actor.as_str(), read.actor_tenant.as_str()), ("audit.read", "olga", "house"));
    assert_eq!((read.request_id.as_str(), read.target.as_deref()), (foreign.request_id(), Some("dev")));
    assert_eq!(olga.get("/v1/audit?tenant=absent").await.expect(404)["error_code"], "ERR_NOT_FOUND");
    assert_eq!(olga.get("/v1/audit?tenant=%00").await.expect(404)["error_code"], "ERR_NOT_FOUND");
    let refused = world.api("bob").get("/v1/audit").await;
    assert_eq!(text(refused.expect(403), "cause"), "this needs the role alpine.admin");
    let entry = log(&world.db, "dev").await.pop().unwrap();
    assert_eq!((entry.action.as_str(), entry.outcome, entry.actor.as_str()), ("audit.read", AuditOutcome::Denied, "bob"));
    assert_eq!(world.db.count("audit_log WHERE tenant_id <> 'dev'").await, 0);
    let list = world.admin("root").args(&["audit", "--since", "2", "--limit", "1", "--json"]).run().await.ok();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["seq"]), (1, &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_from_before_there_was_a_chain_become_its_beginning() {
    let url = cluster::empty_database().await;
    let root = alpine_tests::bins::root().join("migrations");
    let old = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&root).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap() < "20261125" {
            std::fs::copy(entry.path(), old.path().join(entry.file_name())).unwrap();
        }
    }
    let mut connection = PgConnection::connect(&url).await.unwrap();
    Migrator::new(old.path()).await.unwrap().run(&mut connection).await.unwrap();
    let db = Db::new(url);
    db.execute(
        "INSERT INTO audit_log (tenant_id, at, actor, action, session_id, owner, reason, request_id)
         SELECT CASE WHEN n % 3 = 0 THEN 'acme' ELSE 'dev' END, now() - interval '1 day' + n * interval '1 microsecond', 'root', 'session.down',
             gen_random_uuid(), 'b\u{f6}b', CASE WHEN n % 2 = 0 THEN 'cost' END, 'r' || n FROM generate_series(1, 30) n",
    )
    .await;
    Migrator::new(root).await.unwrap().run(&mut connection).await.unwrap();
    let (dev, acme) = (log(&db, "dev").await, log(&db, "acme").await);
    assert_eq!((assert_whole(&dev), assert_whole(&acme)), (20, 10));
    assert!(
        dev.iter()
            .all(|entry| entry.actor_tenant == "dev" && entry.target.as_ref().is_some_and(|id| id.starts_with("ses_") && id.len() == 36))
    );
    assert!(dev.windows(2).all(|two| two[0].at < two[1].at), "in the order in which they were written");
    // What comes now follows them, and they are as unchangeable as it.
    db.execute(&format!("{ROW} ('dev', 'x', 'x', 'x', 'x', 'x', 'x')")).await;
    assert_eq!(assert_whole(&log(&db, "dev").await), 21);
    assert!(db.try_execute("UPDATE audit_log SET actor = 'x'").await.unwrap_err().contains("is only added to"));
}
