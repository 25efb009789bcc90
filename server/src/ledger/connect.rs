//! Connections: pools with one purpose and one database role each.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{
    Error,
    pool::{Pool, RESTED},
};
use crate::metrics::Metrics;

/// Connections for heartbeats.
const VITAL: u32 = 2;

#[derive(Debug, Clone)]
pub struct PoolSettings {
    pub database_url: SecretString,
    /// For the single statements of requests; and as many for those of a worker.
    pub statements: u32,
    /// For the few transactions of several statements, of each too.
    pub transactions: u32,
    pub acquire_timeout: Duration,
    /// Whether this process serves requests. One that only works need not be able to take on the API's role.
    pub serves: bool,
    /// Whether it has a worker.
    pub works: bool,
}

impl PoolSettings {
    /// The most connections that a process with these settings opens.
    const fn most(&self) -> u32 {
        let pair = self.statements + self.transactions;
        (if self.serves { pair } else { 0 }) + (if self.works { pair + VITAL } else { 0 })
    }
}

/// The database role of requests: one tenant at a time, by row-level security.
const API: &str = "alpine_api";
/// The database role of a worker.
const WORKER: &str = "alpine_worker";

/// Pools by purpose, so that none starves another. Connections are made when they are first needed: a server that
/// serves no requests, or does no work, never takes on that role.
#[derive(Debug, Clone)]
pub struct Pools {
    pub(super) api: Pair,
    pub(super) worker: Pair,
    /// Heartbeats, and nothing else.
    pub(super) vital: Pool,
    serves: bool,
}

/// Connections under one role.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub statements: Pool,
    pub transactions: Pool,
}

/// sqlx 0.9.0: a `begin()` that is dropped half way can leave its transaction open on the pooled connection
/// (launchbadge/sqlx#4393). Outside a transaction now() is the statement's own time; asked in the
/// simple protocol, where a statement is one message and so has one time.
async fn is_idle(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(connection).await?.try_get(0)
}

/// A pooler in between may drop what a connection begins with. Without the role there would be one wall between tenants, not two, and
/// without the timeouts none of them.
async fn is_under(connection: &mut PgConnection, role: &'static str) -> sqlx::Result<()> {
    let current: String = sqlx::raw_sql("SELECT current_user::text").fetch_one(connection).await?.try_get(0)?;
    if current == role {
        return Ok(());
    }
    let why =
        format!("a connection is under the role {current} and not {role}: something in between drops the settings that it begins with");
    Err(sqlx::Error::Configuration(why.into()))
}

/// Whether it says where a database is; nothing is asked of it.
pub fn check_url(database_url: &SecretString) -> Result<(), Error> {
    read_url(database_url).map(drop).map_err(Error::DatabaseUrl)
}

/// sqlx takes every scheme, and what stands behind one that was forgotten for the database's name: a password may be in it.
pub(super) fn read_url(database_url: &SecretString) -> sqlx::Result<PgConnectOptions> {
    let text = database_url.expose_secret();
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Err(sqlx::Error::Configuration("it begins with neither postgres:// nor postgresql://".into()));
    }
    text.parse()
}

impl Pools {
    /// Does not wait for the database: a server starts, and is not ready, while it is away.
    pub fn connect(settings: &PoolSettings, metrics: &Arc<Metrics>) -> Result<Self, Error> {
        let options = read_url(&settings.database_url)
            .map_err(Error::DatabaseUrl)?
            .application_name("alpine-server")
            // A server that is frozen in a transaction holds its locks no longer than this.
            .options([("lock_timeout", "5s"), ("statement_timeout", "20s"), ("idle_in_transaction_session_timeout", "5s")])
            // All statements are short. A plan for unknown parameters may look expensive, and compiling it took a second at each sweep.
            .options([("jit", "off")]);
        let (api, worker) = (options.clone().options([("role", API)]), options.options([("role", WORKER)]));
        // A ping costs as much as a query: only connections that have rested are tried first.
        let pool = |max: u32, role: &'static str| {
            let options = PgPoolOptions::new().max_connections(max).acquire_timeout(settings.acquire_timeout).test_before_acquire(false);
            options.after_connect(move |connection, _| Box::pin(is_under(connection, role))).before_acquire(|connection, meta| {
                Box::pin(async move { if meta.idle_for > RESTED { connection.ping().await.map(|()| true) } else { Ok(true) } })
            })
        };
        let guarded = |role| pool(settings.transactions, role).after_release(|connection, _| Box::pin(is_idle(connection)));
        let measured = |pool: PgPool| Pool::new(pool, Arc::clone(metrics));
        let pair = |options: PgConnectOptions, role| Pair {
            statements: measured(pool(settings.statements, role).connect_lazy_with(options.clone())),
            transactions: measured(guarded(role).connect_lazy_with(options)),
        };
        metrics.set_pool_max(settings.most());
        let vital = measured(pool(VITAL, WORKER).connect_lazy_with(worker.clone()));
        Ok(Self { vital, api: pair(api, API), worker: pair(worker, WORKER), serves: settings.serves })
    }

    /// For what belongs to no tenant, under whichever role this process has.
    pub(super) const fn any(&self) -> &Pool {
        if self.serves { &self.api.statements } else { &self.worker.statements }
    }

    /// The newest migration that is applied.
    #[expect(clippy::disallowed_methods, reason = "the table is sqlx's own and not in the schema that queries are checked against")]
    pub(super) async fn schema_version(pool: &Pool) -> Result<Option<i64>, Error> {
        let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(pool).await;
        match newest {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
            other => Ok(other?),
        }
    }

    /// Connections open, and of those idle.
    #[must_use]
    pub fn usage(&self) -> (u32, usize) {
        self.all().into_iter().map(Pool::usage).fold((0, 0), |(open, idle), (its, unused)| (open + its, idle + unused))
    }

    pub async fn close(&self) {
        for pool in self.all() {
            pool.close().await;
        }
    }

    const fn all(&self) -> [&Pool; 5] {
        [&self.api.statements, &self.api.transactions, &self.worker.statements, &self.worker.transactions, &self.vital]
    }
}
