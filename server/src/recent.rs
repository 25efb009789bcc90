//! What this process has come across not long ago, bounded.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    mem,
    sync::{Mutex, PoisonError},
};

/// In two generations: the latest `kept` are there for certain, and at most twice as many.
#[derive(Debug)]
pub struct Recent<K, V> {
    generations: Mutex<[HashMap<K, V>; 2]>,
    kept: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub fn new(kept: usize) -> Self {
        Self { generations: Mutex::default(), kept }
    }

    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let generations = &*self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.iter().find_map(|generation| generation.get(key).cloned())
    }

    /// What was there before, if it was.
    pub fn put(&self, key: K, value: V) -> Option<V> {
        let [young, old] = &mut *self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let before = old.get(&key).cloned();
        let before = young.insert(key, value).or(before);
        if young.len() >= self.kept {
            *old = mem::take(young);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_for_a_while_and_what_is_held_is_bounded() {
        const KEPT: usize = 100;
        let recent = Recent::new(KEPT);
        assert_eq!((recent.put(0, 'a'), recent.put(0, 'b'), recent.get(&0)), (None, Some('a'), Some('b')));
        for number in 1..KEPT {
            assert_eq!(recent.put(number, 'c'), None);
        }
        assert_eq!(recent.get(&0), Some('b'), "one generation on");
        for number in 0..2 * KEPT {
            recent.put(1_000 + number, 'd');
        }
        assert_eq!(recent.get(&0), None, "and not for ever");
        assert!(recent.generations.lock().unwrap().iter().map(HashMap::len).sum::<usize>() <= 2 * KEPT);
    }
}
