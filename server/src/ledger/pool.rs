//! A pool that tells how long its connections are waited for.

use std::{sync::Arc, time::Instant};

use futures_util::{
    TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgPool, PgTransaction, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use crate::metrics::Metrics;

/// Statements run on it as on sqlx's own.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    metrics: Arc<Metrics>,
}

impl Pool {
    pub(super) const fn new(pool: PgPool, metrics: Arc<Metrics>) -> Self {
        Self { pool, metrics }
    }

    pub(super) async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        self.measure(self.pool.acquire()).await
    }

    /// The wait is told with `BEGIN`, which waits for nothing but the network.
    pub(super) async fn begin(&self) -> sqlx::Result<PgTransaction<'static>> {
        self.measure(self.pool.begin()).await
    }

    /// For what sqlx does with a pool of its own accord.
    pub(super) const fn inner(&self) -> &PgPool {
        &self.pool
    }

    async fn measure<T>(&self, wait: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let begun = Instant::now();
        let had = wait.await;
        match &had {
            Ok(_) => self.metrics.connection_acquired(true, begun.elapsed()),
            Err(sqlx::Error::PoolTimedOut) => self.metrics.connection_acquired(false, begun.elapsed()),
            // Of a database that cannot be reached the pool asks again until the same time is up, which counts as that.
            Err(_) => {}
        }
        had
    }
}

impl<'p> Executor<'p> for &Pool {
    type Database = Postgres;

    /// What the ledger reads by this is all wanted: it is read whole, so that its connection is back in the pool before it is
    /// looked at.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let mut connection = pool.acquire().await?;
            let all: Vec<_> = connection.fetch_many(query).try_collect().await?;
            Ok::<_, sqlx::Error>(stream::iter(all.into_iter().map(Ok)))
        };
        Box::pin(stream::once(all).try_flatten())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    /// Asked for by sqlx's macros only, and required of every executor.
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}
