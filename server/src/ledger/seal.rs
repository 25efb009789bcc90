//! Sealing of secrets that must wait in the database: AES-256-GCM, bound to tenant and operation.

use alpine_api::OperationId;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::principal::TenantId;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("a credential key is 32 bytes")]
    KeyLength,
    #[error("the secret was sealed with another key, or is not what was sealed")]
    NotOurs,
    #[error("the secret is not text")]
    NotText,
}

/// Seals and opens with one key; its id is a digest of it, so that a wrong key is told from a torn secret.
pub struct Sealer {
    key: RandomizedNonceKey,
    key_id: String,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn associated(tenant: &TenantId, operation: OperationId) -> Aad<Vec<u8>> {
    // The id is of fixed length, so the two cannot run together.
    Aad::from([operation.uuid().as_bytes(), tenant.as_str().as_bytes()].concat())
}

impl Sealer {
    pub fn new(key: &[u8]) -> Result<Self, SealError> {
        let digest = Sha256::digest([b"alpine/credential-key-id/".as_slice(), key].concat());
        let key_id = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| SealError::KeyLength)?;
        Ok(Self { key, key_id })
    }

    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    pub fn seal(&self, tenant: &TenantId, operation: OperationId, secret: &SecretString) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        let nonce = self.key.seal_in_place_append_tag(associated(tenant, operation), &mut sealed).map_err(|_| SealError::NotOurs)?;
        sealed.extend_from_slice(nonce.as_ref());
        Ok(sealed)
    }

    pub fn open(&self, tenant: &TenantId, operation: OperationId, key_id: &str, sealed: &[u8]) -> Result<SecretString, SealError> {
        if key_id != self.key_id {
            return Err(SealError::NotOurs);
        }
        let (sealed, nonce) = sealed.split_last_chunk::<NONCE_LEN>().ok_or(SealError::NotOurs)?;
        let mut buffer = sealed.to_vec();
        let opened = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), associated(tenant, operation), &mut buffer)
            .map_err(|_| SealError::NotOurs)?;
        String::from_utf8(opened.to_vec()).map(SecretString::from).map_err(|_| SealError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_own_operation_and_tenant_only() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let (tenant, other) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        let operation = OperationId::generate();
        let sealed = sealer.seal(&tenant, operation, &"t0ken".into()).unwrap();
        let open = |tenant, operation, sealed: &[u8]| sealer.open(tenant, operation, sealer.key_id(), sealed);
        assert_eq!(open(&tenant, operation, &sealed).unwrap().expose_secret(), "t0ken");
        assert!(open(&other, operation, &sealed).is_err());
        assert!(open(&tenant, OperationId::generate(), &sealed).is_err());
        assert!(open(&tenant, operation, &sealed[1..]).is_err());
        assert!(!sealed.windows(5).any(|w| w == b"t0ken"));
        let stranger = Sealer::new(&[8; 32]).unwrap();
        assert!(stranger.open(&tenant, operation, stranger.key_id(), &sealed).is_err());
        assert!(Sealer::new(&[1; 31]).is_err());
    }
}
