//! The tests' PostgreSQL: one cluster a test process, one database a test.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

use crate::postgres::Postgres;

static CLUSTER: OnceCell<Postgres> = OnceCell::const_new();
const TEMPLATE: &str = "alpine_template";

/// A new, migrated database; its URL.
pub async fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    create(&format!("alpine_{}", COUNT.fetch_add(1, Ordering::Relaxed)), &format!(" TEMPLATE {TEMPLATE}")).await
}

/// A new database without a single table; its URL.
pub async fn empty_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    create(&format!("empty_{}", COUNT.fetch_add(1, Ordering::Relaxed)), "").await
}

/// A database as another of the cluster is now; its URL. Whoever is connected there is cut off.
pub async fn copy_of(url: &str, name: &str) -> String {
    let (_, from) = url.split_once("localhost/").unwrap();
    let from = from.split('?').next().unwrap();
    let ended = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
    shared().await.execute("postgres", &ended).await;
    create(name, &format!(" TEMPLATE {from}")).await
}

async fn create(name: &str, from: &str) -> String {
    let cluster = shared().await;
    cluster.execute("postgres", &format!("CREATE DATABASE {name}{from}")).await;
    cluster.url(name)
}

async fn shared() -> &'static Postgres {
    CLUSTER.get_or_init(|| Box::pin(start())).await
}

async fn start() -> Postgres {
    let cluster = Postgres::start(&["synchronous_commit=off", "max_connections=400", "log_min_messages=error"]).await;
    cluster.create_migrated(TEMPLATE).await;
    cluster
}
