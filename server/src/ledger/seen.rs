//! Keys that this process was asked for not long ago: a repeated one is looked up first, in one round trip. No more than a hint, which
//! the database alone confirms.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    mem,
    sync::{Mutex, PoisonError},
};

use crate::domain::{
    idempotency::IdempotencyKey,
    principal::{PrincipalId, TenantId},
};

/// How many of the latest are kept at least; twice as many at most.
const KEPT: usize = 8_192;

/// By a hash that nobody outside can aim at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    generations: Mutex<[HashSet<u64>; 2]>,
}

impl Seen {
    /// Whether it was there already.
    pub fn note(&self, tenant: &TenantId, principal: &PrincipalId, key: &IdempotencyKey) -> bool {
        let hash = self.hasher.hash_one((tenant.as_str(), principal.as_str(), key.as_str()));
        let [young, old] = &mut *self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let known = old.contains(&hash) | !young.insert(hash);
        if young.len() >= KEPT {
            *old = mem::take(young);
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(seen: &Seen, principal: &str, key: &str) -> bool {
        let tenant = TenantId::parse("acme").unwrap();
        seen.note(&tenant, &PrincipalId::parse(principal).unwrap(), &IdempotencyKey::parse(key).unwrap())
    }

    #[test]
    fn a_key_is_its_principals_and_is_known_for_a_while() {
        let seen = Seen::default();
        assert!(!note(&seen, "ann", "k") && note(&seen, "ann", "k"));
        assert!(!note(&seen, "bob", "k"));
        for number in 0..KEPT {
            note(&seen, "ann", &format!("n{number}"));
        }
        assert!(note(&seen, "ann", "k"), "one generation on");
        for number in 0..2 * KEPT {
            note(&seen, "ann", &format!("m{number}"));
        }
        assert!(!note(&seen, "ann", "k"), "and not for ever");
        assert!(seen.generations.lock().unwrap().iter().map(HashSet::len).sum::<usize>() <= 2 * KEPT);
    }
}
