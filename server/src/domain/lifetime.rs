//! How long a session may be ready, at most and without being used. In seconds, as the ledger keeps it.

use alpine_api::lifetime_shown;

/// What an operator has set of one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LifetimePolicy {
    /// Of a session for which nothing else was asked; `None`: for as long as somebody wants it, or `most`.
    pub standard: Option<i32>,
    /// The most that anybody can ask for.
    pub most: Option<i32>,
}

/// More than may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lifetime is at most {} here", lifetime_shown(*.0))]
pub struct TooLong(pub i32);

/// What ends a session that nobody stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndPolicy {
    pub lifetime: LifetimePolicy,
    /// Without a use.
    pub idle: LifetimePolicy,
}

impl EndPolicy {
    /// What this one says counts, and never for more than `all`.
    #[must_use]
    pub fn within(self, all: Self) -> Self {
        Self { lifetime: self.lifetime.within(all.lifetime), idle: self.idle.within(all.idle) }
    }
}

impl LifetimePolicy {
    fn within(self, all: Self) -> Self {
        Self { standard: self.standard.or(all.standard), most: self.most.into_iter().chain(all.most).min() }
    }

    /// Of a new session.
    pub fn of_new(self, asked: Option<i32>) -> Result<Option<i32>, TooLong> {
        match (asked, self.most) {
            (Some(asked), Some(most)) if asked > most => Err(TooLong(most)),
            (Some(asked), _) => Ok(Some(asked)),
            (None, most) => Ok(self.standard.into_iter().chain(most).min()),
        }
    }

    /// From now on, of one that was given `own` when it began.
    pub fn of_extended(self, asked: Option<i32>, own: i32) -> Result<i32, TooLong> {
        // What may be asked for may have become less since.
        let own = self.most.map_or(own, |most| most.min(own));
        Ok(self.of_new(asked)?.filter(|_| asked.is_some()).unwrap_or(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn policy(standard: Option<i32>, most: Option<i32>) -> LifetimePolicy {
        LifetimePolicy { standard, most }
    }

    #[test]
    fn what_is_asked_for_counts_up_to_the_most() {
        let free = policy(None, None);
        assert_eq!((free.of_new(None), free.of_new(Some(90))), (Ok(None), Ok(Some(90))));
        let bound = policy(Some(60), Some(600));
        assert_eq!((bound.of_new(None), bound.of_new(Some(600))), (Ok(Some(60)), Ok(Some(600))));
        assert_eq!(bound.of_new(Some(601)), Err(TooLong(600)));
        assert_eq!(policy(None, Some(600)).of_new(None), Ok(Some(600)), "without a standard it is the most");
        assert_eq!(policy(Some(900), Some(600)).of_new(None), Ok(Some(600)));
    }

    #[test]
    fn an_extension_is_what_is_asked_for_or_the_sessions_own() {
        let bound = policy(Some(60), Some(600));
        assert_eq!((bound.of_extended(None, 300), bound.of_extended(Some(120), 300)), (Ok(300), Ok(120)));
        assert_eq!(bound.of_extended(Some(601), 300), Err(TooLong(600)));
        assert_eq!(bound.of_extended(None, 900), Ok(600), "the most was more when it began");
    }
}
