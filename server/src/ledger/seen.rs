//! Keys that this process was asked for not long ago: a repeated one is looked up first, in one round trip. No more than a hint, which
//! the database alone confirms.

use std::hash::{BuildHasher as _, RandomState};

use crate::{
    domain::{
        idempotency::IdempotencyKey,
        principal::{PrincipalId, TenantId},
    },
    recent::Recent,
};

const KEPT: usize = 8_192;

/// By a hash that nobody outside can aim at.
#[derive(Debug)]
pub(super) struct Seen {
    hasher: RandomState,
    keys: Recent<u64, ()>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { hasher: RandomState::new(), keys: Recent::new(KEPT) }
    }
}

impl Seen {
    /// Whether it was there already.
    pub fn note(&self, tenant: &TenantId, principal: &PrincipalId, key: &IdempotencyKey) -> bool {
        self.keys.put(self.hasher.hash_one((tenant.as_str(), principal.as_str(), key.as_str())), ()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_principals() {
        let seen = Seen::default();
        let note = |principal: &str, key: &str| {
            let tenant = TenantId::parse("acme").unwrap();
            seen.note(&tenant, &PrincipalId::parse(principal).unwrap(), &IdempotencyKey::parse(key).unwrap())
        };
        assert!(!note("ann", "k") && note("ann", "k"));
        assert!(!note("bob", "k"));
    }
}
