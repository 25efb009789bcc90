//! Who is told when something happens: waiting requests when an operation ends, workers when there is
//! work. In the same process at once; in another replica by a coalesced NOTIFY that is sent after the
//! commit, never in it; and if that is lost, by one poll a second for all waiters together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alpine_api::{OperationId, SessionId};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::domain::principal::TenantId;

const CHANNEL: &str = "alpine_hints";
/// A NOTIFY's payload is at most 8000 bytes.
const IDS_PER_HINT: usize = 200;
const COALESCE: Duration = Duration::from_millis(3);
const POLL: Duration = Duration::from_secs(1);

type Waiters = HashMap<OperationId, (TenantId, watch::Sender<u64>)>;

#[derive(Debug)]
enum Hint {
    Work,
    Ended(OperationId),
    /// A session has a new event.
    Happened(SessionId),
    /// A session's log has grown.
    Logged(SessionId),
}

#[derive(Debug, Clone)]
pub struct Hub {
    waiters: Arc<Mutex<Waiters>>,
    work: Arc<Notify>,
    outgoing: mpsc::UnboundedSender<Hint>,
    inbox: Arc<Mutex<Option<mpsc::UnboundedReceiver<Hint>>>>,
    pool: PgPool,
}

/// Resolves when its operation has ended. It may also wake for nothing: read the operation again.
#[derive(Debug)]
pub struct Watch {
    operation: OperationId,
    waiters: Arc<Mutex<Waiters>>,
    receiver: Option<watch::Receiver<u64>>,
}

impl Watch {
    pub async fn ended(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            // An error means that the sender was dropped, which is how an end is told.
            let _ = receiver.changed().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.receiver = None;
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters.get(&self.operation).is_some_and(|(_, sender)| sender.receiver_count() == 0) {
            waiters.remove(&self.operation);
        }
    }
}

impl Hub {
    pub(super) fn new(pool: PgPool) -> Self {
        let (outgoing, inbox) = mpsc::unbounded_channel();
        Self { waiters: Arc::default(), work: Arc::default(), outgoing, inbox: Arc::new(Mutex::new(Some(inbox))), pool }
    }

    pub(super) fn watch(&self, tenant: &TenantId, operation: OperationId) -> Watch {
        let mut waiters = self.lock();
        let (_, sender) = waiters.entry(operation).or_insert_with(|| (tenant.clone(), watch::Sender::new(0)));
        Watch { operation, waiters: Arc::clone(&self.waiters), receiver: Some(sender.subscribe()) }
    }

    /// How many operations are waited for.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.lock().len()
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
        self.wake(operation);
        let _ = self.outgoing.send(Hint::Ended(operation));
    }

    /// A session has a new event, its commit done.
    pub(super) fn happened(&self, session: SessionId) {
        let _ = self.outgoing.send(Hint::Happened(session));
    }

    /// A session's log has grown, its commit done.
    pub(super) fn logged(&self, session: SessionId) {
        let _ = self.outgoing.send(Hint::Logged(session));
    }

    /// Resolves when there may be something to claim.
    pub async fn work_hinted(&self) {
        self.work.notified().await;
    }

    fn wake(&self, operation: OperationId) {
        // Dropping the sender wakes every receiver.
        self.lock().remove(&operation);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carry hints to and from the other replicas until `stop`. Run it once a process.
    pub async fn run(&self, stop: CancellationToken) {
        let Some(mut inbox) = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        tokio::join!(self.send(&mut inbox, &stop), async { while stop.run_until_cancelled(self.listen()).await.is_some() {} }, async {
            while stop.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
                self.poll().await.unwrap_or_else(|error| tracing::debug!(%error, "poll for ended operations"));
            }
        },);
    }

    async fn send(&self, inbox: &mut mpsc::UnboundedReceiver<Hint>, stop: &CancellationToken) {
        let mut batch = Vec::new();
        while let Some(1..) = stop.run_until_cancelled(inbox.recv_many(&mut batch, IDS_PER_HINT)).await {
            tokio::time::sleep(COALESCE).await;
            while batch.len() < IDS_PER_HINT
                && let Ok(hint) = inbox.try_recv()
            {
                batch.push(hint);
            }
            let payload = render(&batch);
            batch.clear();
            if let Err(error) = sqlx::query!("SELECT pg_notify($1, $2)", CHANNEL, payload).execute(&self.pool).await {
                // The others poll.
                tracing::debug!(%error, "hint not sent");
            }
        }
    }

    async fn listen(&self) {
        let heard: Result<(), sqlx::Error> = async {
            let mut listener = PgListener::connect_with(&self.pool).await?;
            listener.listen(CHANNEL).await?;
            loop {
                let hint = listener.recv().await?;
                for word in hint.payload().split(',') {
                    match word.parse::<OperationId>() {
                        Ok(operation) => self.wake(operation),
                        Err(_) => self.work.notify_one(),
                    }
                }
            }
        }
        .await;
        if let Err(error) = heard {
            tracing::debug!(%error, "hints not heard; polling");
        }
        tokio::time::sleep(POLL).await;
    }

    /// One query for all that are waited for.
    async fn poll(&self) -> Result<(), Error> {
        let (tenants, operations): (Vec<_>, Vec<_>) =
            self.lock().iter().map(|(operation, (tenant, _))| (tenant.as_str().to_owned(), operation.uuid())).unzip();
        if operations.is_empty() {
            return Ok(());
        }
        let ended = sqlx::query_scalar!(r#"SELECT ended AS "ended!" FROM ended_operations($1, $2) AS ended"#, &tenants, &operations)
            .fetch_all(&self.pool)
            .await?;
        for operation in ended {
            self.wake(OperationId::from_uuid(operation));
        }
        Ok(())
    }
}

/// Ended operations by id, and one word for "work" however often it was hinted.
fn render(batch: &[Hint]) -> String {
    let mut words: Vec<String> = batch
        .iter()
        .filter_map(|hint| match hint {
            Hint::Ended(operation) => Some(operation.to_string()),
            Hint::Work | Hint::Happened(_) | Hint::Logged(_) => None,
        })
        .collect();
    if batch.iter().any(|hint| matches!(hint, Hint::Work)) {
        words.push("work".to_owned());
    }
    words.join(",")
}
