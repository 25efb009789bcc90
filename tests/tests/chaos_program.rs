//! The chaos program's parts: each network fault does what its name says, and a seed is a plan.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_tests::{
    chaos::{
        proxy::{Network, Proxy},
        schedule::{Kind, plan},
    },
    postgres::Postgres,
};
use sqlx::{Connection, PgConnection};

const SHORT: Duration = Duration::from_millis(300);

struct Net {
    postgres: Postgres,
    proxy: Proxy,
}

impl Net {
    async fn start() -> Self {
        let postgres = Postgres::start(&["synchronous_commit=on"]).await;
        postgres.execute("postgres", "CREATE TABLE facts (n int)").await;
        let proxy = Proxy::start(postgres.socket()).await.unwrap();
        Self { postgres, proxy }
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.proxy.port)).await
    }

    async fn facts(&self) -> i64 {
        let mut direct = PgConnection::connect(&self.postgres.url("postgres")).await.unwrap();
        sqlx::query_scalar("SELECT count(*) FROM facts").fetch_one(&mut direct).await.unwrap()
    }
}

async fn insert(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO facts VALUES ($1)").bind(1).execute(connection).await.map(|_| ())
}

async fn read(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM facts").fetch_one(connection).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_commit_is_done_and_not_told_and_a_read_is_not_taken_for_one() {
    let mut net = Net::start().await;
    let mut connection = net.connect().await.unwrap();
    net.proxy.lose_commits(1);
    assert_eq!(read(&mut connection).await.unwrap(), 0);
    insert(&mut connection).await.unwrap_err();
    assert_eq!((net.facts().await, net.proxy.lost_commits()), (1, 1));

    let mut connection = net.connect().await.unwrap();
    net.proxy.lose_commits(1);
    let mut transaction = connection.begin().await.unwrap();
    insert(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap_err();
    assert_eq!((net.facts().await, net.proxy.lost_commits()), (2, 2));
    net.postgres.stop_immediately();
    net.postgres.start_again().await;
    assert_eq!(net.facts().await, 2, "what was committed outlives a crash");
    insert(&mut net.connect().await.unwrap()).await.unwrap();
    net.postgres.stop_immediately();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_or_refused_fails_at_once() {
    let mut net = Net::start().await;
    let mut connection = net.connect().await.unwrap();
    net.proxy.set(Network::Refusing);
    assert_eq!(read(&mut connection).await.unwrap(), 0, "what is there goes on");
    net.connect().await.unwrap_err();
    net.proxy.cut_all();
    read(&mut connection).await.unwrap_err();
    net.proxy.set(Network::Open);
    net.connect().await.unwrap();
    net.postgres.stop_immediately();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stalled_comes_later_and_what_a_black_hole_took_never_does() {
    let mut net = Net::start().await;
    let mut connection = net.connect().await.unwrap();
    net.proxy.set(Network::Slow(SHORT));
    let asked = Instant::now();
    read(&mut connection).await.unwrap();
    assert!(asked.elapsed() >= SHORT, "{:?}", asked.elapsed());

    net.proxy.set(Network::Stalled);
    let late = tokio::spawn(async move { insert(&mut connection).await.map(|()| connection) });
    tokio::time::sleep(SHORT).await;
    assert!(!late.is_finished() && net.facts().await == 0);
    net.proxy.set(Network::Open);
    let mut connection = late.await.unwrap().unwrap();
    assert_eq!(net.facts().await, 1);

    net.proxy.set(Network::BlackHole);
    let lost = tokio::spawn(async move { insert(&mut connection).await });
    tokio::time::sleep(SHORT).await;
    assert!(!lost.is_finished());
    net.proxy.set(Network::Open);
    lost.await.unwrap().unwrap_err();
    assert_eq!(net.facts().await, 1);
    net.postgres.stop_immediately();
}

#[test]
fn a_seed_is_a_plan_and_two_minutes_have_every_fault() {
    let planned = plan(7, Duration::from_secs(120), 3);
    assert_eq!(planned, plan(7, Duration::from_secs(120), 3));
    assert_ne!(planned, plan(8, Duration::from_secs(120), 3));
    assert!(planned.iter().all(|fault| fault.replica < 3 && fault.at < Duration::from_secs(120)));
    for seed in 0..20 {
        let planned = plan(seed, Duration::from_secs(120), 3);
        let missing: Vec<_> = Kind::ALL.iter().filter(|kind| planned.iter().all(|fault| fault.kind != **kind)).collect();
        assert!(missing.is_empty(), "seed {seed} has no {missing:?}");
    }
}
