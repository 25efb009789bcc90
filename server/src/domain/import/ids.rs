//! Ids of what had others before: the same again each time, and another in every tenant.

use alpine_api::{OperationId, SessionId};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

use crate::domain::principal::TenantId;

fn derived(parts: &[&str]) -> Uuid {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.finalize()[..16]);
    // Version 8: by our own rule.
    Builder::from_custom_bytes(bytes).into_uuid()
}

#[must_use]
pub fn derived_session(tenant: &TenantId, original: &str) -> SessionId {
    SessionId::from_uuid(derived(&["import/session", tenant.as_str(), original]))
}

/// `what`: its id in the other ledger, or its place in the session where it had none.
#[must_use]
pub fn derived_operation(tenant: &TenantId, session: &str, what: &str) -> OperationId {
    OperationId::from_uuid(derived(&["import/operation", tenant.as_str(), session, what]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_each_time_and_others_for_another_tenant_or_session() {
        let [a, b] = ["a", "b"].map(|name| TenantId::parse(name).unwrap());
        assert_eq!(derived_session(&a, "s-1"), derived_session(&a, "s-1"));
        assert_ne!(derived_session(&a, "s-1"), derived_session(&b, "s-1"));
        assert_ne!(derived_session(&a, "s-1"), derived_session(&a, "s-2"));
        assert_ne!(derived_operation(&a, "s-1", "x"), derived_operation(&a, "s-2", "x"));
        assert_eq!(derived_session(&a, "s-1").uuid().get_version_num(), 8);
    }
}
