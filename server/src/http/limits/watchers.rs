//! How many streams are open: of one principal, and of all.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::principals::{Principals, Turn};
use crate::{
    http::ApiError,
    metrics::{InFlight, Metrics},
};

#[derive(Debug)]
pub struct Watchers {
    of_one: Arc<Principals>,
    of_all: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A stream that is open, until it is dropped.
#[derive(Debug)]
pub struct WatchPlace {
    _turn: Option<Turn>,
    _permit: OwnedSemaphorePermit,
    _gauge: InFlight,
}

impl Watchers {
    pub fn new(of_one: u32, of_all: usize, metrics: Arc<Metrics>) -> Self {
        let of_one = Arc::new(Principals::new(of_one, "too many streams of this caller are open"));
        Self { of_one, of_all: Arc::new(Semaphore::new(of_all)), metrics }
    }

    pub fn enter(&self, principal: u64) -> Result<WatchPlace, ApiError> {
        let turn = self.of_one.enter(principal)?;
        let permit = Arc::clone(&self.of_all).try_acquire_owned().map_err(|_| {
            self.metrics.request_shed("stream");
            ApiError::Busy
        })?;
        Ok(WatchPlace { _turn: turn, _permit: permit, _gauge: self.metrics.watcher_begins() })
    }
}
