//! What a claim looks for: everything now and then, and in between only what waits for its first worker, from where the oldest may be.

use std::time::{Duration, Instant};

/// What one claim looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// All that is due, and what somebody has begun before all others: it was given back, or its worker is dead.
    All,
    /// What waits for its first worker; if so said, what came within this time.
    ///
    /// What is claimed leaves an entry at the beginning of the queue's index until a vacuum. Where nothing can wait any more
    /// is not read again with each claim.
    New { within: Option<Duration> },
}

/// What a worker has looked for, and so what it looks for next.
#[derive(Debug, Default)]
pub struct Looks {
    /// The last look for all that is due.
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    begun: Instant,
    ended: Instant,
    oldest_left: Option<Duration>,
}

impl Looks {
    /// Between two looks for all that is due: each reads past everything that runs, and a hint comes with every job that ends.
    pub const ALL: Duration = Duration::from_millis(200);
    /// For who was accepted before the last look and committed after it. Whoever took longer is found by the next look for all.
    const COMMITS_WITHIN: Duration = Duration::from_secs(2);

    #[must_use]
    pub fn next(&self) -> Look {
        self.next_at(Instant::now())
    }

    fn next_at(&self, now: Instant) -> Look {
        match self.last {
            Some(last) if now - last.ended < Self::ALL => {
                Look::New { within: last.oldest_left.map(|waited| waited + (now - last.begun) + Self::COMMITS_WITHIN) }
            }
            _ => Look::All,
        }
    }

    /// Until all is to be looked for, whether a hint comes or not.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| Self::ALL.saturating_sub(last.ended.elapsed()))
    }

    /// A look begun then has ended. It says how long whoever it has left behind had waited at most, if it knows.
    pub fn ended(&mut self, look: Look, begun: Instant, oldest_left: Option<Duration>) {
        if look == Look::All {
            self.last = Some(Last { begun, ended: Instant::now(), oldest_left });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn all_is_looked_for_at_first_and_every_while() {
        let mut looks = Looks::default();
        assert_eq!((looks.next(), looks.pause()), (Look::All, Duration::ZERO));
        let begun = Instant::now();
        looks.ended(Look::All, begun, Some(60 * SECOND));
        let ended = looks.last.unwrap().ended;
        assert_eq!(looks.next_at(ended), Look::New { within: Some(62 * SECOND + (ended - begun)) });
        assert!(matches!(looks.next_at(ended + Looks::ALL / 2), Look::New { .. }));
        assert_eq!(looks.next_at(ended + Looks::ALL), Look::All);
        assert!(looks.pause() <= Looks::ALL);
    }

    #[test]
    fn other_looks_do_not_count_and_what_is_not_known_is_no_bound() {
        let mut looks = Looks::default();
        looks.ended(Look::New { within: None }, Instant::now(), None);
        assert_eq!(looks.next(), Look::All);
        looks.ended(Look::All, Instant::now(), None);
        assert_eq!(looks.next_at(looks.last.unwrap().ended), Look::New { within: None });
    }
}
