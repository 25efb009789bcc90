//! Keys that an issuer signs with, read from PEM and from JWK sets. Both are as strict, wherever the bytes are from.

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

use super::{Algorithm, error::JwksError};

/// More than any issuer has.
const SET_MAX_KEYS: usize = 100;

/// A key and the one algorithm that it is for.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The public key of a PEM text, for the first of the algorithms that it can be for.
pub(super) fn from_pem(text: &[u8], algorithms: &[Algorithm]) -> Option<Key> {
    algorithms.iter().find_map(|algorithm| {
        let decoding = match algorithm {
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(text),
            Algorithm::Es256 => DecodingKey::from_ec_pem(text),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(text),
            Algorithm::Hs256 => return None,
        };
        decoding.ok().map(|decoding| Key { id: None, algorithm: *algorithm, decoding })
    })
}

/// The keys of a set that are for one of the algorithms; a set may hold others, and those for encryption.
pub(super) fn from_set(json: &[u8], algorithms: &[Algorithm]) -> Result<Vec<Key>, JwksError> {
    let set: JwkSet = serde_json::from_slice(json)?;
    if set.keys.len() > SET_MAX_KEYS {
        return Err(JwksError::TooMany);
    }
    let mut keys: Vec<Key> = Vec::new();
    for jwk in &set.keys {
        let Some(algorithm) = algorithms.iter().copied().find(|algorithm| fits(jwk, *algorithm)) else { continue };
        let id = jwk.common.key_id.clone();
        if let Some(id) = id.as_ref().filter(|id| keys.iter().any(|known| known.id.as_ref() == Some(*id))) {
            return Err(JwksError::KeyIdTwice(id.clone()));
        }
        keys.push(Key { id, algorithm, decoding: DecodingKey::from_jwk(jwk)? });
    }
    Ok(keys)
}

fn fits(jwk: &Jwk, algorithm: Algorithm) -> bool {
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
    let (kind, named) = match algorithm {
        Algorithm::Rs256 => (matches!(jwk.algorithm, AlgorithmParameters::RSA(_)), KeyAlgorithm::RS256),
        Algorithm::Es256 => {
            let p256 = matches!(&jwk.algorithm, AlgorithmParameters::EllipticCurve(p) if p.curve == EllipticCurve::P256);
            (p256, KeyAlgorithm::ES256)
        }
        Algorithm::EdDsa => {
            let ed25519 = matches!(&jwk.algorithm, AlgorithmParameters::OctetKeyPair(p) if p.curve == EllipticCurve::Ed25519);
            (ed25519, KeyAlgorithm::EdDSA)
        }
        Algorithm::Hs256 => (false, KeyAlgorithm::HS256),
    };
    signs && kind && common.key_algorithm.is_none_or(|stated| stated == named)
}
