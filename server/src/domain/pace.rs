//! How often the progress of one operation is told.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_secs(1);
/// What one worker tells of one operation.
const MOST: u32 = 600;

/// Shared by all that has progress to tell of an operation: the first at once, the next a second later.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    count: u32,
}

impl Pace {
    /// When the next may be told; `None`: enough was.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (told.count < MOST).then(|| told.last.map_or(now, |last| last + PAUSE))
    }

    pub fn told(&self, now: Instant) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *told = Told { last: Some(now), count: told.count + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_the_next_after_a_second_and_in_the_end_none() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(now), Some(now));
        pace.told(now);
        let other = pace.clone();
        assert_eq!(other.next(now + PAUSE / 2), Some(now + PAUSE), "whoever asks");
        (1..MOST).for_each(|_| pace.told(now));
        assert_eq!(other.next(now + PAUSE * 9), None);
    }
}
