//! One who follows a session's events or its log: from any number on, everything once and in order.

use std::{collections::VecDeque, sync::Arc};

use alpine_api::SessionId;

use super::{
    Hub,
    feeds::{Feeds, Heard, Subscription, Told},
    joint::{Joint, Verdict},
};
use crate::domain::principal::TenantId;

/// A page of what there is, in its order.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// There was no more.
    pub short: bool,
    /// The number of the latest item of all.
    pub head: i64,
    /// The session's state is final: nothing more comes.
    pub over: bool,
}

/// What comes next.
#[derive(Debug)]
pub enum Next<T> {
    Item(Arc<T>),
    /// A page must be read, from this number on, before there is more.
    Read(i64),
    /// All was told, and nothing more comes.
    Over,
}

#[derive(Debug)]
pub struct Follower<T: Told> {
    subscription: Subscription<T>,
    joint: Joint,
    ready: VecDeque<Arc<T>>,
    over: bool,
}

impl Hub {
    /// Go on from a first page after number `after`, which was read by one who may.
    pub(in crate::ledger) fn follow<T: Told>(&self, tenant: &TenantId, session: SessionId, after: i64, first: Page<T>) -> Follower<T> {
        follow(&self.feeds, tenant, session, after, first)
    }
}

/// Subscribed before the rest of the history is read: what was committed since the first page is told or read.
pub(super) fn follow<T: Told>(feeds: &Arc<Feeds>, tenant: &TenantId, session: SessionId, after: i64, first: Page<T>) -> Follower<T> {
    let (subscription, from) = feeds.subscribe(tenant, session, first.head);
    let position = first.items.last().map_or(after, Told::seq);
    let mut follower = Follower { subscription, joint: Joint::new(position, from), ready: VecDeque::new(), over: false };
    follower.finish(first.over, first.short);
    follower.ready.extend(first.items.into_iter().map(Arc::new));
    follower
}

impl<T: Told> Follower<T> {
    /// What comes next, whenever that is. It may be dropped and called again.
    pub async fn next(&mut self) -> Next<T> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Next::Item(item);
            }
            if self.joint.is_behind() {
                return Next::Read(self.joint.position());
            }
            if self.over {
                return Next::Over;
            }
            match self.subscription.heard().await {
                Heard::Told(item) => match self.joint.heard(item.seq()) {
                    Verdict::Next => {
                        self.over |= item.is_last();
                        return Next::Item(item);
                    }
                    Verdict::Known | Verdict::Behind => {}
                },
                Heard::Lost => self.joint.lost(),
                Heard::Over => {
                    self.over = true;
                    self.joint.lost();
                }
            }
        }
    }

    /// A page that was read because it had to be.
    pub fn read(&mut self, page: Page<T>) {
        self.joint.read(page.items.last().map(Told::seq), page.short);
        self.finish(page.over, page.short);
        self.ready.extend(page.items.into_iter().map(Arc::new));
    }

    /// Nothing more comes, so what is there is read to its end; `short`: that was it.
    fn finish(&mut self, over: bool, short: bool) {
        self.over |= over;
        match (over, short) {
            (true, true) => self.joint.read(None, true),
            (true, false) => self.joint.lost(),
            (false, _) => {}
        }
    }

    /// There is nothing to tell and never will be.
    #[must_use]
    pub fn has_nothing(&self) -> bool {
        self.over && self.ready.is_empty() && !self.joint.is_behind()
    }
}
