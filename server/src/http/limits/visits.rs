//! How many requests for what sessions serve are under way: of one session, of one visitor, and of all.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    principals::{Principals, Turn},
    rates::{Bucket, Rate},
};
use crate::{
    http::ApiError,
    metrics::{InFlight, Metrics},
};

/// A page asks for some hundred things at most.
const OF_ONE: u32 = 256;
/// However many sessions somebody has.
const BY_ONE: u32 = 1024;
/// However many principals it has.
const BY_TENANT: u32 = 2048;
/// Of one session and of one tenant, by guests together: they shut out nobody who has a name.
const BY_GUESTS: [u32; 2] = [128, 1024];
/// A page that is opened asks for some hundred things at once, and then for little.
const PAGE: Rate = Rate::new(200, 2000);
/// Each takes a file of this process for the way to its sandbox.
pub const OF_ALL: usize = 4096;
/// Each takes a connection of those for transactions.
const SPENDING: usize = 2;

#[derive(Debug)]
pub struct Visits {
    of_one: Arc<Principals>,
    by_one: Arc<Principals>,
    by_tenant: Arc<Principals>,
    by_guests: [Arc<Principals>; 2],
    page: Option<Bucket>,
    of_all: Arc<Semaphore>,
    spending: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub struct VisitPlace {
    _turns: [Option<Turn>; 5],
    _permit: OwnedSemaphorePermit,
    _gauge: InFlight,
}

impl Visits {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let of_one = Arc::new(Principals::new(OF_ONE, "too many requests of this session are under way"));
        let by_one = Arc::new(Principals::new(BY_ONE, "too many requests of this caller for what sessions serve are under way"));
        let by_tenant = Arc::new(Principals::new(BY_TENANT, "too many requests of this tenant for what sessions serve are under way"));
        Self {
            of_one,
            by_one,
            by_tenant,
            by_guests: BY_GUESTS.map(|most| Arc::new(Principals::new(most, "too many requests of guests are under way"))),
            page: Bucket::new(PAGE),
            of_all: Arc::new(Semaphore::new(OF_ALL)),
            spending: Arc::new(Semaphore::new(SPENDING)),
            metrics,
        }
    }

    /// Whether a browser may ask for one thing more now.
    pub fn ask(&self, principal: u64) -> Result<(), ApiError> {
        match self.page.as_ref().and_then(|page| page.take(principal).1) {
            Some(retry_after) => Err(ApiError::Limited { what: "this browser has sent too many requests in a short time", retry_after }),
            None => Ok(()),
        }
    }

    pub fn enter(&self, session: u64, principal: u64, tenant: u64, guest: bool) -> Result<VisitPlace, ApiError> {
        let [of_one, of_all] = &self.by_guests;
        let guests = if guest { [of_one.enter(session)?, of_all.enter(tenant)?] } else { [None, None] };
        let [guests_of_one, guests_of_all] = guests;
        let turns =
            [guests_of_one, guests_of_all, self.of_one.enter(session)?, self.by_one.enter(principal)?, self.by_tenant.enter(tenant)?];
        let permit = Arc::clone(&self.of_all).try_acquire_owned().map_err(|_| self.shed("app"))?;
        Ok(VisitPlace { _turns: turns, _permit: permit, _gauge: self.metrics.app_request_begins() })
    }

    pub async fn spend(&self, patience: Duration) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(patience, Arc::clone(&self.spending).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.shed("code")),
        }
    }

    fn shed(&self, class: &'static str) -> ApiError {
        self.metrics.request_shed(class);
        ApiError::Busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_is_full_takes_nothing_from_another_and_nobody_has_all() {
        let visits = Visits::new(Arc::new(Metrics::new()));
        let fill =
            |session, principal| (0..OF_ONE).map(|_| visits.enter(session, principal, principal, false).unwrap()).collect::<Vec<_>>();
        let held = fill(1, 1);
        assert!(matches!(visits.enter(1, 2, 2, false), Err(ApiError::Limited { .. })), "whoever asks");
        let more = [fill(2, 1), fill(3, 1), fill(4, 1)];
        assert!(matches!(visits.enter(5, 1, 1, false), Err(ApiError::Limited { .. })), "in whichever session");
        assert!(visits.enter(5, 2, 2, false).is_ok());
        let of_tenant: Vec<_> =
            (0..u64::from(OF_ALL as u32)).map_while(|n| visits.enter(10 + n / 256, 10 + n / 256, 9, false).ok()).collect();
        assert_eq!(of_tenant.len(), 2048, "whoever asks of a tenant that has as many as it may");
        drop((held, more));
        assert!(visits.enter(1, 1, 1, false).is_ok());
    }

    #[test]
    fn guests_leave_room_for_those_who_have_a_name() {
        let visits = Visits::new(Arc::new(Metrics::new()));
        let held: Vec<_> = (0..1000).map_while(|link| visits.enter(1, 100 + link, 1, true).ok()).collect();
        assert_eq!(held.len(), 128);
        assert!(visits.enter(1, 1, 1, false).is_ok());
        let more: Vec<_> = (0..4096).map_while(|n| visits.enter(2 + n / 128, 100 + n, 1, true).ok()).collect();
        assert_eq!((held.len() + more.len(), visits.enter(1, 1, 1, false).is_ok()), (1024, true));
    }

    #[tokio::test]
    async fn who_guesses_at_codes_waits_behind_others_who_do() {
        let visits = Visits::new(Arc::new(Metrics::new()));
        let (_one, _two) = (visits.spend(Duration::ZERO).await.unwrap(), visits.spend(Duration::ZERO).await.unwrap());
        assert!(matches!(visits.spend(Duration::from_millis(10)).await, Err(ApiError::Busy)));
        assert!(visits.enter(1, 1, 1, false).is_ok(), "and nobody else does");
    }
}
