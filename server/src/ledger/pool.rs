//! A pool that tells how long its connections are waited for, and keeps at hand those that are in use all the time.
//!
//! sqlx asks the database once more each time that a connection comes back to its pool (a `Sync`, and its answer): a second round trip
//! for each statement. A connection that has just done a whole statement well needs no such look; it is kept here and given to the next, as
//! long as nobody waits at the pool itself. One that rests, has been kept for long, failed, or was left half way goes back to sqlx.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

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
use tokio::runtime::Handle;

use crate::metrics::Metrics;

/// What has not been used for so long is looked at before it is used again: by sqlx, where it goes back to.
pub(super) const RESTED: Duration = Duration::from_secs(1);
/// After this a connection goes back all the same, so that sqlx's bound on its life applies.
const KEPT: Duration = Duration::from_secs(60);

/// Statements run on it as on sqlx's own.
#[derive(Debug, Clone)]
pub struct Pool {
    pool: PgPool,
    at_hand: Arc<Mutex<AtHand>>,
    metrics: Arc<Metrics>,
    /// Where connections are opened, whoever wants one: each is watched by the runtime that it was opened on, and ends with it.
    home: Handle,
}

#[derive(Debug, Default)]
struct AtHand {
    /// The one used last is at the end, and is the next to be used.
    connections: Vec<Taken>,
    /// Who wait at sqlx's pool: whatever comes free is theirs.
    seekers: usize,
    /// Nothing is kept any more.
    closed: bool,
}

impl AtHand {
    /// One that was just in use; otherwise the caller is a seeker from here on, and has to drop what rested.
    fn next(&mut self) -> Result<Taken, Option<Taken>> {
        match self.connections.pop() {
            Some(taken) if !taken.has_rested() => Ok(taken),
            none => {
                self.seekers += 1;
                Err(none)
            }
        }
    }
}

/// A connection out of sqlx's pool. Dropped, it goes back there.
#[derive(Debug)]
pub(super) struct Taken {
    connection: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

impl Taken {
    fn has_rested(&self) -> bool {
        self.used.elapsed() > RESTED
    }
}

/// Somebody who waits at sqlx's pool, until they have a connection or go away.
struct Seeker<'p>(&'p Pool);

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.at_hand().seekers -= 1;
    }
}

impl Pool {
    /// On the runtime that lasts.
    pub(super) fn new(pool: PgPool, metrics: Arc<Metrics>) -> Self {
        Self { pool, at_hand: Arc::default(), metrics, home: Handle::current() }
    }

    /// A connection for more than one statement.
    pub(super) async fn acquire(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        Ok(self.take().await?.connection)
    }

    /// The wait is told with `BEGIN`, which waits for nothing but the network.
    pub(super) async fn begin(&self) -> sqlx::Result<PgTransaction<'static>> {
        let pool = self.pool.clone();
        self.measure(self.at_home(Box::pin(async move { pool.begin().await }))).await
    }

    /// For what sqlx does with a pool of its own accord.
    pub(super) const fn inner(&self) -> &PgPool {
        &self.pool
    }

    /// Connections open, and of those the ones that nobody uses. What rests is given back by the way.
    pub(super) fn usage(&self) -> (u32, usize) {
        let (rested, at_hand) = {
            let mut at_hand = self.at_hand();
            let fresh = at_hand.connections.iter().position(|taken| !taken.has_rested()).unwrap_or(at_hand.connections.len());
            (at_hand.connections.drain(..fresh).collect::<Vec<_>>(), at_hand.connections.len())
        };
        let unused = rested.len() + at_hand;
        drop(rested);
        (self.pool.size(), self.pool.num_idle() + unused)
    }

    pub(super) async fn close(&self) {
        let kept = {
            let mut at_hand = self.at_hand();
            at_hand.closed = true;
            std::mem::take(&mut at_hand.connections)
        };
        drop(kept);
        self.pool.close().await;
    }

    async fn take(&self) -> sqlx::Result<Taken> {
        let begun = Instant::now();
        let last = self.at_hand().next();
        match last {
            Ok(taken) => {
                self.metrics.connection_acquired(true, begun.elapsed());
                return Ok(taken);
            }
            Err(rested) => drop(rested),
        }
        let _seeker = Seeker(self);
        let connection = self.measure(self.at_home(Box::pin(self.pool.acquire()))).await?;
        let now = Instant::now();
        Ok(Taken { connection, since: now, used: now })
    }

    /// After a statement that was done whole and well.
    fn keep(&self, mut taken: Taken) {
        taken.used = Instant::now();
        if taken.used - taken.since > KEPT {
            return;
        }
        let mut at_hand = self.at_hand();
        if at_hand.seekers == 0 && !at_hand.closed {
            at_hand.connections.push(taken);
        }
    }

    fn at_hand(&self) -> MutexGuard<'_, AtHand> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn at_home<T: Send + 'static>(&self, wait: BoxFuture<'static, sqlx::Result<T>>) -> sqlx::Result<T> {
        if Handle::current().id() == self.home.id() {
            return wait.await;
        }
        // Given up, it is finished there, and what it got goes back.
        self.home.spawn(wait).await.unwrap_or_else(|ended| Err(sqlx::Error::Io(ended.into())))
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
            let mut taken = pool.take().await?;
            let all: Vec<_> = taken.connection.fetch_many(query).try_collect().await?;
            pool.keep(taken);
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
        Box::pin(async move {
            let mut taken = pool.take().await?;
            let row = taken.connection.fetch_optional(query).await?;
            pool.keep(taken);
            Ok(row)
        })
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
