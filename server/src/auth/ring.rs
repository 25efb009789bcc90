//! The keys of one issuer as they are held: those that it has, and for a while those that it had.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Algorithm, keys::Key};

/// Never changed: a new one takes its place.
#[derive(Debug)]
pub(super) struct Ring {
    held: Vec<Held>,
    /// How long a key that is gone from the issuer's set still counts.
    keep: TimeDelta,
    /// Whether the issuer has ever been heard.
    loaded: bool,
}

#[derive(Debug, Clone)]
struct Held {
    key: Arc<Key>,
    /// When a set without it was first seen.
    gone: Option<DateTime<Utc>>,
}

impl Ring {
    /// Of an issuer that has not been heard yet.
    pub(super) const fn empty(keep: TimeDelta) -> Self {
        Self { held: Vec::new(), keep, loaded: false }
    }

    /// Of keys that do not change.
    pub(super) fn fixed(keys: Vec<Key>) -> Self {
        Self { held: keys.into_iter().map(Held::new).collect(), keep: TimeDelta::zero(), loaded: true }
    }

    pub(super) const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The key with that id; without one, the only key that the issuer has for the algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm, now: DateTime<Utc>) -> Option<Arc<Key>> {
        let mut usable = self.held.iter().filter(|held| held.key.algorithm == algorithm && self.counts(held, now));
        let found = match id {
            Some(id) => usable.find(|held| held.key.id.as_deref() == Some(id))?,
            None => {
                let mut current = usable.filter(|held| held.gone.is_none());
                let only = current.next()?;
                if current.next().is_some() {
                    return None;
                }
                only
            }
        };
        Some(Arc::clone(&found.key))
    }

    /// After the issuer has shown this set. Keys that it lacks count from now on for as long as removed keys do;
    /// one without an id cannot be told from its successor and goes at once.
    pub(super) fn renewed(&self, set: Vec<Key>, now: DateTime<Utc>) -> Self {
        let named = |key: &Key| key.id.is_some() && !set.iter().any(|new| new.id == key.id);
        let gone = self.held.iter().filter(|held| named(&held.key));
        let gone = gone.map(|held| Held { gone: held.gone.or(Some(now)), ..held.clone() }).filter(|held| self.counts(held, now));
        let mut held: Vec<Held> = gone.collect();
        held.extend(set.into_iter().map(Held::new));
        Self { held, keep: self.keep, loaded: true }
    }

    fn counts(&self, held: &Held, now: DateTime<Utc>) -> bool {
        held.gone.is_none_or(|gone| now < gone + self.keep)
    }

    /// How many keys the issuer has, and how many it had.
    pub(super) fn size(&self) -> (usize, usize) {
        let gone = self.held.iter().filter(|held| held.gone.is_some()).count();
        (self.held.len() - gone, gone)
    }
}

impl Held {
    fn new(key: Key) -> Self {
        Self { key: Arc::new(key), gone: None }
    }
}
