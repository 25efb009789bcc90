//! A client may go away at any moment. Nothing is left half written, and no connection with an open transaction.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use alpine_api::SessionId;
use alpine_server::{
    domain::{
        idempotency::IdempotencyKey,
        operation::Deadlines,
        principal::{Caller, Principal, PrincipalId, Roles, TenantId},
        tenant::TenantPolicy,
    },
    ledger::{Ledger, NewDown, NewUp, PoolSettings, Pools, Sealer},
    metrics::Metrics,
};
use alpine_tests::{REPO, World, api, cluster, db::Db, until};
use reqwest::Method;
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
/// Other tests' databases are in the same cluster.
const SERVERS: &str = "pg_stat_activity WHERE datname = current_database() AND application_name = 'alpine-server'";
const OPEN: &str = "pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";

/// Between two statements a transaction that is at work is idle too, but soon no more.
async fn no_transaction_stays_open(db: &Db) {
    let none = || async { (db.count(OPEN).await == 0).then_some(()) };
    until("no transaction is open", Duration::from_secs(5), none).await;
}

fn ann() -> Principal {
    Principal::new(TenantId::parse("t").unwrap(), PrincipalId::parse("ann").unwrap(), Roles::default())
}

fn up(key: &str) -> NewUp {
    NewUp {
        principal: ann(),
        key: IdempotencyKey::parse(key).unwrap(),
        repo_url: REPO.parse().unwrap(),
        branch: "main".parse().unwrap(),
        public: true,
        repo_token: None,
        options: Default::default(),
        admitted: Ok(Default::default()),
        sees_uses: false,
        traceparent: None,
    }
}

fn down(session: SessionId) -> NewDown {
    let caller = Caller { principal: ann(), request_id: "r".into() };
    NewDown { caller, session, retry_persist: false, force: false, reason: None, traceparent: None }
}

fn ledger(db: &Db, statements: u32) -> Ledger {
    let settings = PoolSettings {
        database_url: db.url.clone().into(),
        statements,
        // One: whoever comes next gets the connection that was just given back.
        transactions: 1,
        acquire_timeout: Duration::from_secs(5),
        serves: true,
        works: false,
    };
    let pools = Pools::connect(&settings, &Arc::new(Metrics::new())).unwrap();
    Ledger::new(pools, Sealer::new(&[7; 32]).unwrap(), Deadlines::default(), TenantPolicy::default())
}

/// Not through HTTP, where a task of its own protects the ledger's work: here the work itself is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn ledger_work_that_is_dropped_anywhere_hands_on_no_open_transaction() {
    let db = Db::new(cluster::database().await);
    let ledger = ledger(&db, 4);
    let tenant = ledger.tenant(&ann().tenant);
    let mut random = fastrand::Rng::with_seed(42);
    // Follows the machine's pace, so that about half are dropped, at every point of the work.
    let mut longest = Duration::from_millis(5);
    let (mut dropped, mut done, mut last) = (0, 0, None);
    for n in 0..600 {
        let session = match tenant.accept_up(up(&format!("k{n}"))).await.unwrap() {
            alpine_server::ledger::UpAnswer::Accepted(operation) => operation.session_id,
            other => panic!("{other:?}"),
        };
        last = Some(session);
        let patience = longest.mul_f64(random.f64());
        match tokio::time::timeout(patience, tenant.accept_down(down(session))).await {
            Err(_) => {
                dropped += 1;
                // Or the next borrower would work in it, with its time and under its settings.
                no_transaction_stays_open(&db).await;
                longest = longest.mul_f64(1.05);
            }
            Ok(accepted) => {
                accepted.unwrap();
                done += 1;
                longest = longest.mul_f64(0.95);
            }
        }
        // What the next borrower is told was written is written, for everyone to see.
        let next = tenant.accept_down(down(session)).await.unwrap().operation;
        let sql = format!("operations WHERE operation_id = '{}' AND kind = 'down'", next.operation_id.uuid());
        assert_eq!(db.count(&sql).await, 1, "trial {n}: acknowledged and not there");
    }
    assert!(dropped > 100 && done > 100, "{dropped} dropped, {done} done");
    // The guard throws away what is torn, and nothing else.
    let sql = format!("SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM {SERVERS}");
    let connections = || db.one::<String>(&sql);
    let session = last.unwrap();
    tenant.accept_down(down(session)).await.unwrap();
    let before = connections().await;
    for _ in 0..20 {
        tenant.accept_down(down(session)).await.unwrap();
    }
    assert_eq!(connections().await, before, "an undisturbed connection was not kept");
    assert_eq!(db.count("sessions").await, 600);
    assert_eq!(db.count("operations WHERE kind = 'down'").await, 600);
}

/// Connections of single statements are kept at hand from one to the next.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_are_dropped_anywhere_disturb_nobody_and_nobody_waits_for_a_connection_that_is_free() {
    let db = Db::new(cluster::database().await);
    let ledger = ledger(&db, 2);
    let tenant = ledger.tenant(&ann().tenant);
    let (mut random, mut longest, mut dropped) = (fastrand::Rng::with_seed(7), Duration::from_millis(5), 0);
    for n in 0..300 {
        let patience = longest.mul_f64(random.f64());
        let given_up = tokio::time::timeout(patience, tenant.accept_up(up(&format!("d{n}")))).await.is_err();
        dropped += u32::from(given_up);
        longest = longest.mul_f64(if given_up { 1.05 } else { 0.95 });
        // The answer is to this statement, and not to the one before it on the same connection.
        let answered = tenant.accept_up(up(&format!("k{n}"))).await.unwrap();
        let alpine_server::ledger::UpAnswer::Accepted(operation) = answered else { panic!("{answered:?}") };
        let id = operation.operation_id.uuid();
        assert_eq!(db.count(&format!("idempotency_keys WHERE key = 'k{n}' AND operation_id = '{id}'")).await, 1);
    }
    assert!((20..280).contains(&dropped), "{dropped} dropped");
    let connections = || db.count(SERVERS);
    // The database still lists one that was torn until it has noticed that nobody is there.
    until("no more than two connections", Duration::from_secs(10), async || (connections().await <= 2).then_some(())).await;

    // Many at once, who stop and come again: each is served long before the time after which a pool gives up.
    let crowd = (0..60).map(|task| {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                tenant.accept_up(up(&format!("c{task}-{n}"))).await.unwrap();
                if n % 5 == 0 {
                    tokio::time::sleep(Duration::from_millis(task % 7)).await;
                }
            }
        })
    });
    for task in crowd.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(db.count("idempotency_keys WHERE key LIKE 'c%'").await, 1200);
    // One that somebody waited for goes back by way of the pool, in a while of its own: hence the tries. What the last statement left
    // at hand has not rested by then.
    until("what is at hand is not in use", Duration::from_secs(10), async || {
        tenant.accept_up(up(&format!("quiet{}", fastrand::u64(..)))).await.unwrap();
        let (open, idle) = ledger.pools().usage();
        (open as usize == idle).then_some(())
    })
    .await;
    until("both connections are kept", Duration::from_secs(10), async || (connections().await == 2).then_some(())).await;

    // What rests is looked at before it is used again.
    db.execute(&format!("SELECT pg_terminate_backend(pid) FROM {SERVERS}")).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    for n in 0..4 {
        tenant.accept_up(up(&format!("after{n}"))).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(5), ledger.pools().close()).await.expect("what is at hand is closed too");
    until("no connection", Duration::from_secs(10), async || (connections().await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_away_at_any_moment_leave_whole_sessions_and_a_server_that_answers() {
    const CLIENTS: u64 = 300;
    let world = World::with(&[("ALPINE_ROLE", "api"), ("ALPINE_DB_CONNECTIONS", "4"), ("ALPINE_DB_TRANSACTION_CONNECTIONS", "2")]).await;
    // A connection of its own for each, as different clients have.
    let request = |n: u64| {
        let api = world.api("ann");
        async move {
            let body = json!({ "repo_url": REPO, "branch": "main", "public": true });
            let asked = api.request(Method::POST, "/v1/sessions").header("Idempotency-Key", format!("k{n}")).header("Prefer", "wait=20");
            let patience = Duration::from_micros(fastrand::Rng::with_seed(n).u64(0..300_000));
            tokio::time::timeout(patience, api::send(asked.json(&body))).await.is_err()
        }
    };
    let mut gone = 0;
    for batch in (0..CLIENTS).collect::<Vec<_>>().chunks(20) {
        let clients: Vec<_> = batch.iter().map(|n| tokio::spawn(request(*n))).collect();
        for client in clients {
            gone += u32::from(client.await.unwrap());
        }
    }
    assert!(gone > 100, "only {gone} went away");
    let begun: Vec<String> =
        world.db.one("SELECT coalesce(array_agg('ses_' || replace(session_id::text, '-', '')), '{}') FROM sessions").await;
    assert!(begun.len() > 20, "only {} got as far as the ledger", begun.len());
    let downs: Vec<_> = begun
        .iter()
        .cloned()
        .map(|session| {
            let api = world.api("ann");
            tokio::spawn(async move {
                let asked = api.request(Method::POST, &format!("/v1/sessions/{session}/down")).json(&json!({}));
                let _ = tokio::time::timeout(Duration::from_micros(fastrand::u64(0..60_000)), api::send(asked)).await;
            })
        })
        .collect();
    for down in downs {
        down.await.unwrap();
    }
    alpine_tests::until("no request is in flight", LIMIT, || async {
        // The one that asks is in flight itself.
        (world.server.metric("alpine_http_requests_in_flight", &[]).await? <= 1.0).then_some(())
    })
    .await;
    no_transaction_stays_open(&world.db).await;
    // Every key leads to one session, whole: its key, its lease, its first transition, its one live operation.
    for n in 0..CLIENTS {
        world.api("ann").up(&format!("k{n}"), REPO, "main").await;
    }
    let keys = i64::try_from(CLIENTS).unwrap();
    for table in ["sessions", "idempotency_keys", "leases", "operations WHERE kind = 'up'", "transitions WHERE seq = 1"] {
        assert_eq!(world.db.count(table).await, keys, "{table}");
    }
    assert_eq!(world.db.count("operations WHERE finished_at IS NULL").await, keys);
}
