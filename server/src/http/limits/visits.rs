//! How many requests for what sessions serve are under way: of one session, of one visitor, and of all.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::principals::{Principals, Turn};
use crate::{
    http::ApiError,
    metrics::{InFlight, Metrics},
};

/// A page asks for some hundred things at most.
const OF_ONE: u32 = 256;
/// However many sessions somebody has.
const BY_ONE: u32 = 1024;
/// Each takes a file of this process for the way to its sandbox.
pub const OF_ALL: usize = 4096;
/// Each takes a connection of those for transactions.
const SPENDING: usize = 2;

#[derive(Debug)]
pub struct Visits {
    of_one: Arc<Principals>,
    by_one: Arc<Principals>,
    of_all: Arc<Semaphore>,
    spending: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A request that is under way, until it is dropped.
#[derive(Debug)]
pub struct VisitPlace {
    _turns: [Option<Turn>; 2],
    _permit: OwnedSemaphorePermit,
    _gauge: InFlight,
}

impl Visits {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let of_one = Arc::new(Principals::new(OF_ONE, "too many requests of this session are under way"));
        let by_one = Arc::new(Principals::new(BY_ONE, "too many requests of this caller for what sessions serve are under way"));
        Self { of_one, by_one, of_all: Arc::new(Semaphore::new(OF_ALL)), spending: Arc::new(Semaphore::new(SPENDING)), metrics }
    }

    pub fn enter(&self, session: u64, principal: u64) -> Result<VisitPlace, ApiError> {
        let turns = [self.of_one.enter(session)?, self.by_one.enter(principal)?];
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
        let fill = |session, principal| (0..OF_ONE).map(|_| visits.enter(session, principal).unwrap()).collect::<Vec<_>>();
        let held = fill(1, 1);
        assert!(matches!(visits.enter(1, 2), Err(ApiError::Limited { .. })), "whoever asks");
        let more = [fill(2, 1), fill(3, 1), fill(4, 1)];
        assert!(matches!(visits.enter(5, 1), Err(ApiError::Limited { .. })), "in whichever session");
        assert!(visits.enter(5, 2).is_ok());
        drop((held, more));
        assert!(visits.enter(1, 1).is_ok());
    }

    #[tokio::test]
    async fn who_guesses_at_codes_waits_behind_others_who_do() {
        let visits = Visits::new(Arc::new(Metrics::new()));
        let (_one, _two) = (visits.spend(Duration::ZERO).await.unwrap(), visits.spend(Duration::ZERO).await.unwrap());
        assert!(matches!(visits.spend(Duration::from_millis(10)).await, Err(ApiError::Busy)));
        assert!(visits.enter(1, 1).is_ok(), "and nobody else does");
    }
}
