//! What a claim looks for: everything now and then, and in between only what has just come.

use std::time::{Duration, Instant};

/// What one claim looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// All that is due, and what somebody has begun before all others: it was given back, or its worker is dead.
    All,
    /// What waits for its first worker and came within this time.
    ///
    /// What is claimed leaves an entry in the index of the queue until a vacuum, at its beginning: where nothing can
    /// wait any more is not read again with each claim.
    Within(Duration),
}

/// What a worker has looked for, and so what it looks for next.
#[derive(Debug, Default)]
pub struct Looks {
    /// When all was last looked for, and how long the oldest that was found had waited.
    last: Option<(Instant, Duration)>,
}

impl Looks {
    /// Between two looks for all that is due: each reads past everything that runs, and a hint comes with every job that ends.
    pub const ALL: Duration = Duration::from_millis(200);
    /// For who was accepted before the last look and committed after it. Whoever took longer is found by the next look for all.
    const COMMITS_WITHIN: Duration = Duration::from_secs(2);

    #[must_use]
    pub fn next(&self) -> Look {
        match self.last {
            Some((at, waited)) if at.elapsed() < Self::ALL => Look::Within(waited + at.elapsed() + Self::COMMITS_WITHIN),
            _ => Look::All,
        }
    }

    /// Until all is to be looked for, whether a hint comes or not.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |(at, _)| Self::ALL.saturating_sub(at.elapsed()))
    }

    /// All was looked for, and of what was found the oldest had waited so long. Nothing older is left that nobody has claimed.
    pub fn looked_for_all(&mut self, waited: Duration) {
        self.last = Some((Instant::now(), waited));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_looked_for_at_first_and_every_while() {
        let mut looks = Looks::default();
        assert_eq!((looks.next(), looks.pause()), (Look::All, Duration::ZERO));
        looks.looked_for_all(Duration::from_secs(60));
        let Look::Within(within) = looks.next() else { panic!("all, again at once") };
        assert!((Duration::from_secs(62)..Duration::from_secs(63)).contains(&within), "{within:?}");
        assert!(looks.pause() > Duration::ZERO);
        looks.last = Instant::now().checked_sub(Looks::ALL).map(|at| (at, Duration::ZERO));
        assert_eq!((looks.next(), looks.pause()), (Look::All, Duration::ZERO));
    }
}
