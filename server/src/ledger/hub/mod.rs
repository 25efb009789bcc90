//! Who is told when something happens: those who wait for an operation's end, those who watch a session, workers when
//! there is work. In the same process at once; in another replica by a coalesced NOTIFY that is sent after the commit,
//! never in it; and if that is lost, by one poll a second for all of them together. What they are told is read once for
//! all of them too: nobody who waits or watches asks the database for itself.

mod ends;
mod feeds;
mod follower;
mod hint;
mod joint;
mod read;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alpine_api::{OperationId, SessionId};
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub use ends::{Waiter, Watch};
pub use feeds::Told;
pub use follower::{Follower, Next, Page};

use self::{
    ends::Ends,
    feeds::Feeds,
    hint::{HINTS_AT_ONCE, Hint, parse, render},
};
use super::pool::Pool;
use crate::{domain::principal::TenantId, metrics::Metrics};

const CHANNEL: &str = "alpine_hints";
const COALESCE: Duration = Duration::from_millis(3);
/// Where so many have come since the last telling, others are told less often: each telling costs the database a transaction, and every
/// replica a wake-up.
const MANY: usize = 4;
const COALESCE_MANY: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Hub {
    ends: Arc<Ends>,
    feeds: Arc<Feeds>,
    work: Arc<Notify>,
    outgoing: mpsc::UnboundedSender<Hint>,
    inbox: Arc<Mutex<Option<mpsc::UnboundedReceiver<Hint>>>>,
    pool: Pool,
    /// By which this process knows its own hints.
    name: u64,
}

impl Hub {
    pub(super) fn new(pool: Pool) -> Self {
        let (outgoing, inbox) = mpsc::unbounded_channel();
        let inbox = Arc::new(Mutex::new(Some(inbox)));
        Self { ends: Arc::default(), feeds: Arc::default(), work: Arc::default(), outgoing, inbox, pool, name: fastrand::u64(..) }
    }

    pub(super) fn watch(&self, tenant: &TenantId, operation: OperationId) -> Watch {
        self.ends.watch(tenant, operation)
    }

    pub(super) fn wait(&self, tenant: &TenantId, operation: OperationId) -> Waiter {
        self.ends.wait(tenant, operation)
    }

    /// There may be something to claim.
    pub(super) fn work(&self) {
        self.work.notify_one();
        let _ = self.outgoing.send(Hint::Work);
    }

    /// There may be more for this process to claim.
    pub fn wake_local(&self) {
        self.work.notify_one();
    }

    /// An operation has ended, its commit done.
    pub(super) fn ended(&self, operation: OperationId) {
        self.ends.told(operation);
        let _ = self.outgoing.send(Hint::Ended(operation));
    }

    /// A session has a new event, its commit done.
    pub(super) fn happened(&self, session: SessionId) {
        self.feeds.happened(session);
        let _ = self.outgoing.send(Hint::Happened(session));
    }

    /// A session's log has grown, its commit done.
    pub(super) fn logged(&self, session: SessionId) {
        self.feeds.logged(session);
        let _ = self.outgoing.send(Hint::Logged(session));
    }

    /// Resolves when there may be something to claim.
    pub async fn work_hinted(&self) {
        self.work.notified().await;
    }

    /// Carry hints to and from the other replicas, and read what those who wait and watch are told, until `stop`. Run it
    /// once a process.
    pub async fn run(&self, metrics: Arc<Metrics>, stop: CancellationToken) {
        let Some(mut inbox) = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let read = async {
            tokio::join!(self.read_ends(&metrics), self.read_feeds(&metrics), self.poll(&metrics), self.listen());
        };
        tokio::join!(self.send(&mut inbox, &stop), stop.run_until_cancelled(read));
    }

    async fn send(&self, inbox: &mut mpsc::UnboundedReceiver<Hint>, stop: &CancellationToken) {
        let mut batch = Vec::new();
        while let Some(1..) = stop.run_until_cancelled(inbox.recv_many(&mut batch, HINTS_AT_ONCE)).await {
            let payload = render(self.name, &batch);
            let pause = if batch.len() < MANY { COALESCE } else { COALESCE_MANY };
            batch.clear();
            if let Err(error) = sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload).execute(&self.pool).await {
                // The others poll.
                tracing::debug!(%error, "hint not sent");
            }
            // The first is not kept waiting; what comes meanwhile goes together.
            tokio::time::sleep(pause).await;
        }
    }

    async fn listen(&self) {
        loop {
            let heard: Result<(), sqlx::Error> = async {
                let mut listener = PgListener::connect_with(self.pool.inner()).await?;
                listener.listen(CHANNEL).await?;
                loop {
                    self.hear(listener.recv().await?.payload());
                }
            }
            .await;
            if let Err(error) = heard {
                tracing::debug!(%error, "hints not heard; polling");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn hear(&self, payload: &str) {
        let (sender, hints) = parse(payload);
        let own = sender == Some(self.name);
        for hint in hints {
            match hint {
                Hint::Work => self.work.notify_one(),
                // Told when it happened.
                _ if own => {}
                Hint::Ended(operation) => self.ends.told(operation),
                Hint::Happened(session) => self.feeds.happened(session),
                Hint::Logged(session) => self.feeds.logged(session),
            }
        }
    }
}

#[cfg(test)]
mod tests;
