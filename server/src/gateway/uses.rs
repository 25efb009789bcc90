//! That sessions are used, kept here until it is written down: no request waits for the database because of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alpine_api::SessionId;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::principal::TenantId,
    ledger::{Ledger, Use},
};

/// How often they are written down.
const FLUSH: Duration = Duration::from_secs(5);
/// Of the last ones, when this server goes.
const LAST: Duration = Duration::from_secs(3);
/// More sessions than a machine has.
const KEPT: usize = 65_536;
/// What moves in an exchange is one use in this time.
const MOVES: Duration = Duration::from_secs(1);

/// The last use of each session that this process has seen and the ledger has not.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<SessionId, (TenantId, Instant)>>);

impl Uses {
    fn note(&self, tenant: &TenantId, session: SessionId, at: Instant) {
        let mut seen = self.seen();
        if let Some((_, last)) = seen.get_mut(&session) {
            *last = at.max(*last);
        } else if seen.len() < KEPT {
            seen.insert(session, (tenant.clone(), at));
        }
    }

    /// Write them down every few seconds, and once more at the end.
    pub async fn keep(&self, ledger: &Ledger, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(FLUSH)).await.is_some() {
            self.flush(ledger, false).await;
        }
        if timeout(LAST, self.flush(ledger, true)).await.is_err() {
            tracing::warn!("the last uses of sessions are lost");
        }
    }

    /// What is not written down is there for the next time.
    async fn flush(&self, ledger: &Ledger, last: bool) {
        let taken = std::mem::take(&mut *self.seen());
        if taken.is_empty() {
            return;
        }
        let told = |(session, (tenant, at)): (&SessionId, &(TenantId, Instant))| Use {
            tenant: tenant.clone(),
            session: *session,
            ago: at.elapsed(),
        };
        let uses: Vec<Use> = taken.iter().map(told).collect();
        let again = ledger.note_uses(&uses, last).await;
        if let Err(error) = &again {
            tracing::debug!(error = error as &dyn std::error::Error, "uses of sessions wait for the ledger");
        }
        self.put_back(taken, again.ok().map(HashSet::from_iter).as_ref());
    }

    /// `again`: those of them alone.
    fn put_back(&self, taken: HashMap<SessionId, (TenantId, Instant)>, again: Option<&HashSet<SessionId>>) {
        for (session, (tenant, at)) in taken {
            if again.is_none_or(|again| again.contains(&session)) {
                self.note(&tenant, session, at);
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<SessionId, (TenantId, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange with a session, as it is a use of it.
#[derive(Debug, Clone)]
pub struct Used {
    uses: Arc<Uses>,
    tenant: TenantId,
    session: SessionId,
    last: Option<Instant>,
}

impl Used {
    pub const fn new(uses: Arc<Uses>, tenant: TenantId, session: SessionId) -> Self {
        Self { uses, tenant, session, last: None }
    }

    /// Something of it has moved.
    pub fn now(&mut self) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last >= MOVES) {
            self.last = Some(now);
            self.uses.note(&self.tenant, self.session, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn at(uses: &Uses, session: SessionId) -> Option<Instant> {
        uses.seen().get(&session).map(|(_, at)| *at)
    }

    #[test]
    fn the_last_use_of_each_session_is_kept_and_only_so_many() {
        let (uses, session, now) = (Uses::default(), SessionId::generate(), Instant::now());
        for ago in [2, 0, 1] {
            uses.note(&tenant(), session, now - Duration::from_secs(ago));
        }
        assert_eq!(at(&uses, session), Some(now));
        for _ in 0..KEPT {
            uses.note(&tenant(), SessionId::generate(), now);
        }
        assert_eq!(uses.seen().len(), KEPT);
        uses.note(&tenant(), session, now + MOVES);
        assert_eq!(at(&uses, session), Some(now + MOVES), "one that is there goes on");
    }

    #[test]
    fn what_is_not_written_down_comes_again_and_never_hides_a_later_use() {
        let (uses, now) = (Uses::default(), Instant::now());
        let [written, refused, used] = [(); 3].map(|()| SessionId::generate());
        let taken = || [written, refused, used].map(|session| (session, (tenant(), now))).into();
        uses.note(&tenant(), used, now + MOVES);
        uses.put_back(taken(), Some(&HashSet::from([refused, used])));
        assert_eq!([written, refused, used].map(|session| at(&uses, session)), [None, Some(now), Some(now + MOVES)]);
        uses.put_back(taken(), None);
        assert_eq!(at(&uses, written), Some(now), "where the ledger does not answer all do");
    }

    #[test]
    fn what_moves_all_the_time_is_one_use_a_second() {
        let (uses, session) = (Arc::new(Uses::default()), SessionId::generate());
        let mut used = Used::new(Arc::clone(&uses), tenant(), session);
        used.now();
        let first = at(&uses, session).unwrap();
        used.now();
        assert_eq!(at(&uses, session), Some(first));
        used.last = Some(first - MOVES);
        used.now();
        assert!(at(&uses, session).unwrap() > first);
    }
}
