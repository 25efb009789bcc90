//! How many requests of one principal are under way, or streams open.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::http::ApiError;

/// Holds as many entries as there are principals with a request under way.
#[derive(Debug)]
pub struct Principals {
    at_once: u32,
    /// What a caller is told who has as many.
    full: &'static str,
    under_way: Mutex<HashMap<u64, u32>>,
}

/// A principal's request under way, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    of: Arc<Principals>,
    principal: u64,
}

impl Principals {
    pub fn new(at_once: u32, full: &'static str) -> Self {
        Self { at_once, full, under_way: Mutex::default() }
    }

    pub fn enter(self: &Arc<Self>, principal: u64) -> Result<Option<Turn>, ApiError> {
        if self.at_once == 0 {
            return Ok(None);
        }
        let mut under_way = self.lock();
        let count = under_way.entry(principal).or_default();
        if *count >= self.at_once {
            return Err(ApiError::Limited { what: self.full, retry_after: Duration::from_secs(1) });
        }
        *count += 1;
        Ok(Some(Turn { of: Arc::clone(self), principal }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.lock().len()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.of.lock();
        if let Some(count) = under_way.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.principal);
            }
        }
    }
}
