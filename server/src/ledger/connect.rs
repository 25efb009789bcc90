//! Connections: three pools with one purpose each.

use std::{str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool, Row as _,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::Error;

/// The migrations, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

const RESTED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct PoolSettings {
    pub database_url: SecretString,
    /// For single statements: every read, and every write of a worker.
    pub statements: u32,
    /// For the few transactions of several statements.
    pub transactions: u32,
    pub acquire_timeout: Duration,
}

/// Pools by purpose, so that none starves another.
#[derive(Debug, Clone)]
pub struct Pools {
    pub(super) statements: PgPool,
    pub(super) transactions: PgPool,
    /// Heartbeats, and nothing else.
    pub(super) vital: PgPool,
}

/// sqlx 0.9.0: a `begin()` that is dropped half way can leave its transaction open on the pooled connection
/// (launchbadge/sqlx#4393). Outside a transaction now() is the statement's own time; asked in the
/// simple protocol, where a statement is one message and so has one time.
async fn is_idle(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(connection).await?.try_get(0)
}

impl Pools {
    /// Does not wait for the database: a server starts, and is not ready, while it is away.
    pub fn connect(settings: &PoolSettings) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(settings.database_url.expose_secret())
            .map_err(Error::Database)?
            .application_name("alpine-server")
            // A server that is frozen in a transaction holds its locks no longer than this.
            .options([("lock_timeout", "5s"), ("statement_timeout", "20s"), ("idle_in_transaction_session_timeout", "5s")]);
        // A ping costs as much as a query: only connections that have rested are tried first.
        let pool = |max: u32| {
            PgPoolOptions::new().max_connections(max).acquire_timeout(settings.acquire_timeout).test_before_acquire(false).before_acquire(
                |connection, meta| {
                    Box::pin(async move { if meta.idle_for > RESTED { connection.ping().await.map(|()| true) } else { Ok(true) } })
                },
            )
        };
        let guarded = pool(settings.transactions).after_release(|connection, _| Box::pin(is_idle(connection)));
        Ok(Self {
            statements: pool(settings.statements).connect_lazy_with(options.clone()),
            transactions: guarded.connect_lazy_with(options.clone()),
            vital: pool(2).connect_lazy_with(options),
        })
    }

    /// Bring the schema up to date, one server at a time (sqlx takes an advisory lock).
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        MIGRATOR.run(&self.statements).await
    }

    /// The newest migration that is applied.
    #[expect(clippy::disallowed_methods, reason = "the table is sqlx's own and not in the schema that queries are checked against")]
    pub(super) async fn schema_version(&self) -> Result<Option<i64>, Error> {
        let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(&self.statements).await;
        match newest {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
            other => Ok(other?),
        }
    }

    /// Connections open, and of those idle.
    #[must_use]
    pub fn usage(&self) -> (u32, usize) {
        let pools = [&self.statements, &self.transactions, &self.vital];
        (pools.iter().map(|p| p.size()).sum(), pools.iter().map(|p| p.num_idle()).sum())
    }

    pub async fn close(&self) {
        tokio::join!(self.statements.close(), self.transactions.close(), self.vital.close());
    }
}
