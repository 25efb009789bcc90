//! Who watches sessions. Each session that anybody watches has a feed of its events and one of its log; what is new is read
//! once for all who watch, and told to each by a channel of bounded length: whoever is too slow loses it and reads pages.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alpine_api::{Event, EventKind, LogChunk, SessionId, SessionState};
use tokio::sync::{Notify, broadcast, watch};

use crate::domain::{lifecycle, principal::TenantId};

/// What is told in a feed, numbered without gaps.
pub trait Told: Send + Sync + Sized + 'static {
    /// How much may wait for the slowest watcher of a session.
    const KEPT: usize;

    fn seq(&self) -> i64;

    /// Nothing comes after it.
    fn is_last(&self) -> bool;

    #[doc(hidden)]
    fn feed(topic: &mut Topic) -> &mut Option<Feed<Self>>;

    #[doc(hidden)]
    fn due(topics: &mut Topics) -> &mut HashSet<SessionId>;
}

impl Told for Event {
    const KEPT: usize = 128;

    fn seq(&self) -> i64 {
        self.seq
    }

    fn is_last(&self) -> bool {
        self.kind == EventKind::Transition && lifecycle::is_final(self.to_state)
    }

    fn feed(topic: &mut Topic) -> &mut Option<Feed<Self>> {
        &mut topic.events
    }

    fn due(topics: &mut Topics) -> &mut HashSet<SessionId> {
        &mut topics.events_due
    }
}

impl Told for LogChunk {
    // Of at most 64 KiB each.
    const KEPT: usize = 16;

    fn seq(&self) -> i64 {
        self.seq
    }

    fn is_last(&self) -> bool {
        false
    }

    fn feed(topic: &mut Topic) -> &mut Option<Feed<Self>> {
        &mut topic.log
    }

    fn due(topics: &mut Topics) -> &mut HashSet<SessionId> {
        &mut topics.log_due
    }
}

#[derive(Debug)]
pub struct Feed<T> {
    /// All up to this number was told, or was there before the feed.
    last: i64,
    sender: broadcast::Sender<Arc<T>>,
}

/// A session that is watched.
#[derive(Debug)]
pub struct Topic {
    tenant: TenantId,
    events: Option<Feed<Event>>,
    log: Option<Feed<LogChunk>>,
    /// Its state is final.
    over: watch::Sender<bool>,
}

#[derive(Debug, Default)]
pub struct Topics {
    by_session: HashMap<SessionId, Topic>,
    events_due: HashSet<SessionId>,
    log_due: HashSet<SessionId>,
    heads_due: HashSet<SessionId>,
}

#[derive(Debug, Default)]
pub(super) struct Feeds {
    topics: Mutex<Topics>,
    /// There is something to read.
    pub due: Notify,
}

/// How far a session is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub session: SessionId,
    pub state: SessionState,
    pub event_seq: i64,
    pub log_seq: i64,
}

/// Of each session, from which number on something is read.
pub(super) type Due = Vec<(SessionId, TenantId, i64)>;

impl Feeds {
    /// For one whose right to see the session is established. `head`: a number that was read in the ledger. Everything
    /// after the number that comes back is told; all up to it is committed.
    pub fn subscribe<T: Told>(self: &Arc<Self>, tenant: &TenantId, session: SessionId, head: i64) -> (Subscription<T>, i64) {
        let mut topics = self.lock();
        let topic = topics.by_session.entry(session).or_insert_with(|| Topic {
            tenant: tenant.clone(),
            events: None,
            log: None,
            over: watch::Sender::new(false),
        });
        let over = topic.over.subscribe();
        let feed = T::feed(topic);
        let is_new = feed.is_none();
        let feed = feed.get_or_insert_with(|| Feed { last: head, sender: broadcast::Sender::new(T::KEPT) });
        let (receiver, last) = (feed.sender.subscribe(), feed.last);
        if is_new {
            // What was committed since `head` was read, and was not told to anybody.
            topics.heads_due.insert(session);
            self.due.notify_one();
        }
        (Subscription { session, feeds: Arc::clone(self), receiver: Some(receiver), over }, last)
    }

    /// A session has a new event.
    pub fn happened(&self, session: SessionId) {
        let mut topics = self.lock();
        let Some(topic) = topics.by_session.get(&session) else { return };
        let (events, log) = (topic.events.is_some(), topic.log.is_some());
        if events {
            topics.events_due.insert(session);
        }
        if log {
            // It may have been the last one.
            topics.heads_due.insert(session);
        }
        self.due.notify_one();
    }

    /// A session's log has grown.
    pub fn logged(&self, session: SessionId) {
        let mut topics = self.lock();
        if topics.by_session.get(&session).is_some_and(|topic| topic.log.is_some()) {
            topics.log_due.insert(session);
            self.due.notify_one();
        }
    }

    /// Something of every session may have been missed.
    pub fn all_due(&self) {
        let mut topics = self.lock();
        let all: Vec<_> = topics.by_session.keys().copied().collect();
        if !all.is_empty() {
            topics.heads_due.extend(all);
            self.due.notify_one();
        }
    }

    /// Where to read what is new, each session once.
    pub fn take_due<T: Told>(&self) -> Due {
        let mut topics = self.lock();
        let due = std::mem::take(T::due(&mut topics));
        let place = |session| {
            let topic = topics.by_session.get_mut(&session)?;
            let last = T::feed(topic).as_ref()?.last;
            Some((session, topic.tenant.clone(), last))
        };
        due.into_iter().filter_map(place).collect()
    }

    pub fn take_heads_due(&self) -> (Vec<String>, Vec<uuid::Uuid>) {
        let mut topics = self.lock();
        let due = std::mem::take(&mut topics.heads_due);
        due.into_iter().filter_map(|id| Some((topics.by_session.get(&id)?.tenant.as_str().to_owned(), id.uuid()))).unzip()
    }

    /// Tell what was read, in its order; `more`: there was more than was read at once.
    pub fn publish<T: Told>(&self, session: SessionId, items: Vec<T>, more: bool) {
        let mut topics = self.lock();
        let Some(topic) = topics.by_session.get_mut(&session) else { return };
        let mut over = false;
        if let Some(feed) = T::feed(topic) {
            for item in items {
                if item.seq() <= feed.last {
                    continue;
                }
                feed.last = item.seq();
                over |= item.is_last();
                // Nobody there: the feed goes when the last subscription does.
                let _ = feed.sender.send(Arc::new(item));
            }
        }
        if over {
            topic.over.send_replace(true);
        }
        if more {
            T::due(&mut topics).insert(session);
            self.due.notify_one();
        }
    }

    /// Compare what was told with how far a session is.
    pub fn advance(&self, head: Head) {
        let mut topics = self.lock();
        let Some(topic) = topics.by_session.get_mut(&head.session) else { return };
        if lifecycle::is_final(head.state) {
            topic.over.send_replace(true);
        }
        let events = topic.events.as_ref().is_some_and(|feed| feed.last < head.event_seq);
        let log = topic.log.as_ref().is_some_and(|feed| feed.last < head.log_seq);
        if events {
            topics.events_due.insert(head.session);
        }
        if log {
            topics.log_due.insert(head.session);
        }
        if events || log {
            self.due.notify_one();
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().by_session.len()
    }

    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave<T: Told>(&self, session: SessionId) {
        let mut topics = self.lock();
        let Some(topic) = topics.by_session.get_mut(&session) else { return };
        let feed = T::feed(topic);
        if feed.as_ref().is_some_and(|feed| feed.sender.receiver_count() == 0) {
            *feed = None;
        }
        if topic.events.is_none() && topic.log.is_none() {
            topics.by_session.remove(&session);
        }
    }
}

/// Hears one feed until it is dropped.
#[derive(Debug)]
pub struct Subscription<T: Told> {
    session: SessionId,
    feeds: Arc<Feeds>,
    receiver: Option<broadcast::Receiver<Arc<T>>>,
    over: watch::Receiver<bool>,
}

#[derive(Debug)]
pub(super) enum Heard<T> {
    Told(Arc<T>),
    /// This watcher was too slow: some of it is gone.
    Lost,
    /// The session's state is final.
    Over,
}

impl<T: Told> Subscription<T> {
    /// What is told next. It may be dropped and called again; `Over` comes after what was told before it.
    pub async fn heard(&mut self) -> Heard<T> {
        let Some(receiver) = &mut self.receiver else { return std::future::pending().await };
        tokio::select! {
            biased;
            told = receiver.recv() => match told {
                Ok(item) => Heard::Told(item),
                Err(_) => Heard::Lost,
            },
            _ = self.over.wait_for(|over| *over) => Heard::Over,
        }
    }
}

impl<T: Told> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.receiver = None;
        self.feeds.leave::<T>(self.session);
    }
}
