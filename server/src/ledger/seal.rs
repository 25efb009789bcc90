//! Sealing of secrets that must wait in the database: AES-256-GCM. What a secret is for is bound to it: sealed for one
//! row it opens for no other.

use alpine_api::{CredentialId, OperationId, SessionId};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::{apps::App, principal::TenantId};

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("a credential key is 32 bytes")]
    KeyLength,
    /// The id is a digest of the key and no secret.
    #[error("the credential is sealed with key {key_id}, which this server does not have")]
    UnknownKey { key_id: String },
    #[error("the credential is not what was sealed for this place")]
    NotOurs,
    #[error("the credential is not text")]
    NotText,
}

/// What a secret is sealed for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// The token that came with a request.
    Request { tenant: &'a TenantId, operation: OperationId },
    /// A stored credential, with all that says whose it is and where it may be sent: who can write into the database
    /// cannot have it sent elsewhere.
    Stored {
        tenant: &'a TenantId,
        credential: CredentialId,
        principal: Option<&'a str>,
        host: &'a str,
        kind: &'a str,
        known_hosts: Option<&'a str>,
    },
    /// The password of a session's own server.
    Session { tenant: &'a TenantId, session: SessionId },
    /// Who may use a host of a session: what a browser keeps, and what it gets that for. Not kept here.
    Pass { app: App, kind: PassKind },
}

/// One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassKind {
    /// Good once, and not for long.
    Code,
    Cookie,
    /// In a link: whoever comes with it is let in as a guest.
    Share,
}

impl Place<'_> {
    /// No two places have the same: the first form begins with a UUID of version 7, whose seventh byte is of the 7x row,
    /// and the others with texts of their own whose seventh is `/`. Parts of varying length stand behind their length, or last.
    fn associated(&self) -> Aad<Vec<u8>> {
        match *self {
            Self::Request { tenant, operation } => Aad::from([operation.uuid().as_bytes(), tenant.as_str().as_bytes()].concat()),
            Self::Stored { tenant, credential, principal, host, kind, known_hosts } => {
                let mut bytes = b"alpine/stored-credential/1".to_vec();
                bytes.extend(credential.uuid().as_bytes());
                for part in [Some(tenant.as_str()), principal, Some(host), Some(kind), known_hosts] {
                    // No part is not an empty one.
                    bytes.extend(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
                    bytes.extend(part.unwrap_or_default().as_bytes());
                }
                Aad::from(bytes)
            }
            Self::Session { tenant, session } => {
                Aad::from([b"alpine/session-password/1".as_slice(), session.uuid().as_bytes(), tenant.as_str().as_bytes()].concat())
            }
            Self::Pass { app, kind } => {
                let name: &[u8] = match kind {
                    PassKind::Code => b"alpine/session-code/1",
                    PassKind::Cookie => b"alpine/session-cookie/1",
                    PassKind::Share => b"alpine/session-share/1",
                };
                let port = app.port.map(|port| port.get().to_be_bytes());
                Aad::from([name, app.session.uuid().as_bytes(), port.as_ref().map_or(&[], |port| port.as_slice())].concat())
            }
        }
    }
}

struct Key {
    key: RandomizedNonceKey,
    id: String,
}

impl Key {
    fn new(bytes: &[u8]) -> Result<Self, SealError> {
        let digest = Sha256::digest([b"alpine/credential-key-id/".as_slice(), bytes].concat());
        let id = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| SealError::KeyLength)?;
        Ok(Self { key, id })
    }
}

/// Seals with the current key; opens with it and with those that were current before. A key's id is a digest of it, so
/// that a missing key is told from a torn secret.
pub struct Sealer {
    current: Key,
    old: Vec<Key>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("key_id", &self.current.id).field("old", &self.old.len()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Seals and opens with this key of 32 bytes.
    pub fn new(current: &[u8]) -> Result<Self, SealError> {
        Ok(Self { current: Key::new(current)?, old: Vec::new() })
    }

    /// Opens with this one too.
    pub fn and_old(mut self, key: &[u8]) -> Result<Self, SealError> {
        self.old.push(Key::new(key)?);
        Ok(self)
    }

    /// Of the key that seals.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.current.id
    }

    pub(super) fn seal(&self, place: Place<'_>, secret: &SecretString) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        let nonce = self.current.key.seal_in_place_append_tag(place.associated(), &mut sealed).map_err(|_| SealError::NotOurs)?;
        sealed.extend_from_slice(nonce.as_ref());
        Ok(sealed)
    }

    pub(super) fn open(&self, place: Place<'_>, key_id: &str, sealed: &[u8]) -> Result<SecretString, SealError> {
        let key = std::iter::once(&self.current).chain(&self.old).find(|key| key.id == key_id);
        let key = key.ok_or_else(|| SealError::UnknownKey { key_id: key_id.to_owned() })?;
        let (sealed, nonce) = sealed.split_last_chunk::<NONCE_LEN>().ok_or(SealError::NotOurs)?;
        let mut buffer = sealed.to_vec();
        let opened =
            key.key.open_in_place(Nonce::assume_unique_for_key(*nonce), place.associated(), &mut buffer).map_err(|_| SealError::NotOurs)?;
        String::from_utf8(opened.to_vec()).map(SecretString::from).map_err(|_| SealError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 32] = [7; 32];
    const NEW: [u8; 32] = [8; 32];

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_secret_opens_for_its_own_operation_and_tenant_only() {
        let sealer = Sealer::new(&OLD).unwrap();
        let (own, other) = (tenant("a"), tenant("b"));
        let operation = OperationId::generate();
        let sealed = sealer.seal(Place::Request { tenant: &own, operation }, &"t0ken".into()).unwrap();
        let open = |tenant, operation, sealed: &[u8]| sealer.open(Place::Request { tenant, operation }, sealer.key_id(), sealed);
        assert_eq!(open(&own, operation, &sealed).unwrap().expose_secret(), "t0ken");
        assert!(open(&other, operation, &sealed).is_err());
        assert!(open(&own, OperationId::generate(), &sealed).is_err());
        assert!(open(&own, operation, &sealed[1..]).is_err());
        assert!(open(&own, operation, &[]).is_err());
        for bit in 0..sealed.len() * 8 {
            let mut torn = sealed.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&own, operation, &torn).is_err(), "bit {bit}");
        }
        assert!(!sealed.windows(5).any(|w| w == b"t0ken"));
        assert!(Sealer::new(&[1; 31]).is_err());
    }

    #[test]
    fn a_stored_secret_opens_for_its_own_row_owner_host_and_host_keys_only_and_for_no_request() {
        let sealer = Sealer::new(&OLD).unwrap();
        let (own, other, id) = (tenant("a"), tenant("b"), CredentialId::generate());
        let place = |tenant, credential, principal, host, kind, known_hosts| Place::Stored {
            tenant,
            credential,
            principal,
            host,
            kind,
            known_hosts,
        };
        let sealed = sealer.seal(place(&own, id, Some("ann"), "h", "deploy_key", Some("h k")), &"s".into()).unwrap();
        let open = |place| sealer.open(place, sealer.key_id(), &sealed);
        assert!(open(place(&own, id, Some("ann"), "h", "deploy_key", Some("h k"))).is_ok());
        for wrong in [
            place(&other, id, Some("ann"), "h", "deploy_key", Some("h k")),
            place(&own, CredentialId::generate(), Some("ann"), "h", "deploy_key", Some("h k")),
            place(&own, id, Some("bob"), "h", "deploy_key", Some("h k")),
            place(&own, id, None, "h", "deploy_key", Some("h k")),
            place(&own, id, Some("ann"), "evil", "deploy_key", Some("h k")),
            place(&own, id, Some("ann"), "h", "token", Some("h k")),
            place(&own, id, Some("ann"), "h", "deploy_key", Some("h other")),
            place(&own, id, Some("ann"), "h", "deploy_key", None),
            place(&own, id, Some("annh"), "", "deploy_key", Some("h k")),
            Place::Request { tenant: &own, operation: OperationId::from_uuid(id.uuid()) },
        ] {
            assert!(matches!(open(wrong), Err(SealError::NotOurs)), "{wrong:?}");
        }
        let request = Place::Request { tenant: &own, operation: OperationId::from_uuid(id.uuid()) };
        let of_request = sealer.seal(request, &"s".into()).unwrap();
        assert!(sealer.open(place(&own, id, None, "h", "token", None), sealer.key_id(), &of_request).is_err());
    }

    #[test]
    fn a_pass_opens_for_its_own_session_and_kind_and_a_password_for_its_own_row() {
        let sealer = Sealer::new(&OLD).unwrap();
        let (session, other, own) = (SessionId::generate(), SessionId::generate(), tenant("a"));
        let pass = |session, kind| Place::Pass { app: App::of(session), kind };
        let port = |port| Place::Pass { app: App { session, port: std::num::NonZeroU16::new(port) }, kind: PassKind::Cookie };
        let password = |tenant, session| Place::Session { tenant, session };
        let stranger = tenant("b");
        let places = [
            pass(session, PassKind::Code),
            pass(session, PassKind::Cookie),
            pass(session, PassKind::Share),
            port(3000),
            port(3001),
            pass(other, PassKind::Code),
            password(&own, session),
            password(&own, other),
            password(&stranger, session),
            Place::Request { tenant: &own, operation: OperationId::from_uuid(session.uuid()) },
        ];
        for (at, place) in places.iter().enumerate() {
            let sealed = sealer.seal(*place, &"s".into()).unwrap();
            for (wrong, elsewhere) in places.iter().enumerate() {
                assert_eq!(sealer.open(*elsewhere, sealer.key_id(), &sealed).is_ok(), at == wrong, "{place:?} {elsewhere:?}");
            }
        }
    }

    #[test]
    fn old_keys_open_and_never_seal_and_a_missing_one_is_named() {
        let own = tenant("a");
        let place = Place::Request { tenant: &own, operation: OperationId::generate() };
        let before = Sealer::new(&OLD).unwrap();
        let sealed = before.seal(place, &"s".into()).unwrap();
        let both = Sealer::new(&NEW).unwrap().and_old(&OLD).unwrap();
        assert_eq!(both.open(place, before.key_id(), &sealed).unwrap().expose_secret(), "s");
        let after = Sealer::new(&NEW).unwrap();
        assert_eq!(both.key_id(), after.key_id());
        assert_ne!(both.key_id(), before.key_id());
        assert!(after.open(place, both.key_id(), &both.seal(place, &"s".into()).unwrap()).is_ok());
        let error = after.open(place, before.key_id(), &sealed).unwrap_err();
        assert!(error.to_string().contains(before.key_id()) && matches!(error, SealError::UnknownKey { .. }));
        assert!(matches!(after.open(place, after.key_id(), &sealed), Err(SealError::NotOurs)), "the id alone opens nothing");
    }
}
