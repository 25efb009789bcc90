//! Who waits for operations. Nobody asks the database for itself: those that are told of are read together, and each is
//! handed its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alpine_api::{Operation, OperationId};
use tokio::sync::{Notify, watch};

use crate::domain::principal::TenantId;

/// How many of the latest ends are remembered: one that came between the look at an operation and the waiting for it.
const REMEMBERED: usize = 4096;

type Latest = Option<Arc<Operation>>;

#[derive(Debug, Default)]
pub(super) struct Ends {
    state: Mutex<State>,
    /// There is something to read.
    pub due: Notify,
}

#[derive(Debug, Default)]
struct State {
    waited: HashMap<OperationId, (TenantId, watch::Sender<Latest>)>,
    told: HashMap<OperationId, (TenantId, watch::Sender<()>)>,
    due: HashSet<OperationId>,
    remembered: HashSet<OperationId>,
    in_order: VecDeque<OperationId>,
}

impl State {
    fn remember(&mut self, operation: OperationId) {
        if self.remembered.insert(operation) {
            self.in_order.push_back(operation);
        }
        if self.in_order.len() > REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
    }
}

impl Ends {
    /// For one whose right to see the operation is established.
    pub fn wait(self: &Arc<Self>, tenant: &TenantId, operation: OperationId) -> Waiter {
        let mut state = self.lock();
        let (_, sender) = state.waited.entry(operation).or_insert_with(|| (tenant.clone(), watch::Sender::new(None)));
        let latest = Some(sender.subscribe());
        if state.remembered.contains(&operation) {
            state.due.insert(operation);
            self.due.notify_one();
        }
        Waiter { operation, ends: Arc::clone(self), latest }
    }

    pub fn watch(self: &Arc<Self>, tenant: &TenantId, operation: OperationId) -> Watch {
        let mut state = self.lock();
        let (_, sender) = state.told.entry(operation).or_insert_with(|| (tenant.clone(), watch::Sender::new(())));
        Watch { operation, ends: Arc::clone(self), told: Some(sender.subscribe()) }
    }

    /// An operation has ended, or may have.
    pub fn told(&self, operation: OperationId) {
        let mut state = self.lock();
        state.remember(operation);
        // Dropping the sender wakes every receiver.
        state.told.remove(&operation);
        if state.waited.contains_key(&operation) {
            state.due.insert(operation);
            self.due.notify_one();
        }
    }

    /// What is to be read now: each once, whoever waits for it.
    pub fn take_due(&self) -> (Vec<String>, Vec<uuid::Uuid>) {
        let mut state = self.lock();
        let due = std::mem::take(&mut state.due);
        due.into_iter().filter_map(|id| Some((state.waited.get(&id)?.0.as_str().to_owned(), id.uuid()))).unzip()
    }

    /// All that somebody waits for.
    pub fn all(&self) -> (Vec<String>, Vec<uuid::Uuid>) {
        let state = self.lock();
        let waited = state.waited.iter().map(|(id, (tenant, _))| (tenant, id));
        let told = state.told.iter().filter(|(id, _)| !state.waited.contains_key(id)).map(|(id, (tenant, _))| (tenant, id));
        waited.chain(told).map(|(tenant, id)| (tenant.as_str().to_owned(), id.uuid())).unzip()
    }

    /// Hand an operation, as it was just read, to all who wait for it.
    pub fn publish(&self, operation: Operation) {
        let mut state = self.lock();
        let (id, over) = (operation.operation_id, operation.status.is_terminal());
        if let Some((_, sender)) = state.waited.get(&id) {
            sender.send_replace(Some(Arc::new(operation)));
        }
        if over {
            state.waited.remove(&id);
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().waited.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one operation's end.
#[derive(Debug)]
pub struct Waiter {
    operation: OperationId,
    ends: Arc<Ends>,
    latest: Option<watch::Receiver<Latest>>,
}

impl Waiter {
    /// The operation when it has ended.
    pub async fn ended(&mut self) -> Arc<Operation> {
        let over = |latest: &Latest| latest.as_ref().is_some_and(|operation| operation.status.is_terminal());
        if let Some(latest) = &mut self.latest
            && let Ok(latest) = latest.wait_for(over).await
            && let Some(operation) = latest.as_ref()
        {
            return Arc::clone(operation);
        }
        std::future::pending().await
    }

    /// The operation as it stands, read together with what others ask for. Waits for as long as it cannot be read.
    pub async fn now(&mut self) -> Arc<Operation> {
        let Some(latest) = &mut self.latest else { return std::future::pending().await };
        latest.mark_unchanged();
        {
            let mut state = self.ends.lock();
            // One that is not waited for any more has ended, and its end is here.
            if state.waited.contains_key(&self.operation) {
                state.due.insert(self.operation);
                self.ends.due.notify_one();
            } else {
                latest.mark_changed();
            }
        }
        if latest.changed().await.is_ok()
            && let Some(operation) = latest.borrow().as_ref()
        {
            return Arc::clone(operation);
        }
        std::future::pending().await
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.latest = None;
        let mut state = self.ends.lock();
        if state.waited.get(&self.operation).is_some_and(|(_, sender)| sender.receiver_count() == 0) {
            state.waited.remove(&self.operation);
        }
    }
}

/// Resolves when its operation has ended. It may also wake for nothing: look again.
#[derive(Debug)]
pub struct Watch {
    operation: OperationId,
    ends: Arc<Ends>,
    told: Option<watch::Receiver<()>>,
}

impl Watch {
    pub async fn ended(&mut self) {
        if let Some(told) = &mut self.told {
            // An error means that the sender was dropped, which is how an end is told.
            let _ = told.changed().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.told = None;
        let mut state = self.ends.lock();
        if state.told.get(&self.operation).is_some_and(|(_, sender)| sender.receiver_count() == 0) {
            state.told.remove(&self.operation);
        }
    }
}
