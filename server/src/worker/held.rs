//! The leases that this worker holds, and the way to tell a job that it has lost its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use tokio_util::sync::CancellationToken;

use crate::ledger::Lease;

type Key = (SessionId, i64);

#[derive(Debug)]
struct Entry {
    lease: Lease,
    /// Asked for before the last renewal that went well.
    renewed: Instant,
    lost: CancellationToken,
    hand_over: CancellationToken,
}

#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<HashMap<Key, Entry>>>);

/// A job's own view of its lease. Forgotten when dropped.
#[derive(Debug)]
pub struct Hold {
    key: Key,
    held: Held,
    /// The lease is another's or has run out.
    pub lost: CancellationToken,
    /// The server stops: give the job back.
    pub hand_over: CancellationToken,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.lock().remove(&self.key);
    }
}

impl Held {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `asked`: when the lease was asked for, which is before it began.
    pub fn insert(&self, lease: Lease, asked: Instant) -> Hold {
        let key = (lease.session, lease.fence);
        let (lost, hand_over) = (CancellationToken::new(), CancellationToken::new());
        let entry = Entry { lease, renewed: asked, lost: lost.clone(), hand_over: hand_over.clone() };
        self.lock().insert(key, entry);
        Hold { key, held: self.clone(), lost, hand_over }
    }

    pub fn leases(&self) -> Vec<Lease> {
        self.lock().values().map(|entry| entry.lease.clone()).collect()
    }

    /// Of the leases that were asked for at that time, those in `still` were renewed and the others are lost.
    pub fn keep_only(&self, leases: &[Lease], still: &[Key], asked: Instant) {
        let mut entries = self.lock();
        for lease in leases {
            let key = (lease.session, lease.fence);
            if let Some(entry) = entries.get_mut(&key) {
                if still.contains(&key) {
                    entry.renewed = asked;
                } else {
                    entry.lost.cancel();
                }
            }
        }
    }

    /// Give up what was not renewed for too long: before the leases run out, not after.
    pub fn drop_overdue(&self, lease: Duration) {
        for entry in self.lock().values() {
            if entry.renewed.elapsed() > lease * 2 / 3 {
                entry.lost.cancel();
            }
        }
    }

    pub fn hand_over_all(&self) {
        for entry in self.lock().values() {
            entry.hand_over.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::TenantId;

    fn lease(fence: i64) -> Lease {
        Lease { tenant: TenantId::parse("t").unwrap(), session: SessionId::generate(), fence, owner: "w".into() }
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_lost_and_the_others_are_not() {
        let held = Held::default();
        let (kept, gone) = (held.insert(lease(1), Instant::now()), held.insert(lease(2), Instant::now()));
        let asked = held.leases();
        let late = held.insert(lease(3), Instant::now());
        held.keep_only(&asked, &[kept.key], Instant::now());
        assert!(!kept.lost.is_cancelled() && gone.lost.is_cancelled());
        assert!(!late.lost.is_cancelled(), "it was not asked for yet");
        drop(gone);
        assert_eq!(held.leases().len(), 2);
    }

    #[test]
    fn without_a_database_leases_are_given_up_before_they_run_out() {
        let held = Held::default();
        let hold = held.insert(lease(1), Instant::now());
        held.drop_overdue(Duration::from_secs(60));
        assert!(!hold.lost.is_cancelled());
        held.drop_overdue(Duration::ZERO);
        assert!(hold.lost.is_cancelled());
    }
}
