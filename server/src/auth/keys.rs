//! The keys that an issuer signs with, read once at start.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use secrecy::{ExposeSecret, SecretSlice};

use super::SetupError;

/// The one algorithm that an issuer signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an algorithm is RS256, ES256, EdDSA or HS256")]
pub struct UnknownAlgorithm;

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        })
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::Rs256, Self::Es256, Self::EdDsa, Self::Hs256].into_iter().find(|a| a.to_string() == name).ok_or(UnknownAlgorithm)
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Es256 => Self::ES256,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Hs256 => Self::HS256,
        }
    }
}

/// Where an issuer's keys come from. Never from a token.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A public key in PEM.
    PemFile(PathBuf),
    /// A JWK set.
    JwksFile(PathBuf),
    /// The shared secret of HS256.
    Secret(SecretSlice<u8>),
}

/// Keys as they are looked up: by key id where there are several.
#[derive(Debug)]
pub(super) enum Keys {
    One(DecodingKey),
    Set(Vec<(Option<String>, DecodingKey)>),
}

impl Keys {
    pub(super) fn load(issuer: &str, algorithm: Algorithm, source: &KeySource) -> Result<Self, SetupError> {
        match (source, algorithm) {
            (KeySource::Secret(secret), Algorithm::Hs256) => {
                let secret = secret.expose_secret();
                if secret.len() < 32 {
                    return Err(SetupError::ShortSecret { issuer: issuer.to_owned() });
                }
                Ok(Self::One(DecodingKey::from_secret(secret)))
            }
            (KeySource::Secret(_), _) | (_, Algorithm::Hs256) => Err(SetupError::WrongKind { issuer: issuer.to_owned(), algorithm }),
            (KeySource::PemFile(path), _) => pem(path, algorithm).map(Self::One),
            (KeySource::JwksFile(path), _) => jwks(path, algorithm).map(Self::Set),
        }
    }

    /// The key with that id; without one, the only key there is.
    pub(super) fn select(&self, kid: Option<&str>) -> Option<&DecodingKey> {
        match (self, kid) {
            (Self::One(key), _) => Some(key),
            (Self::Set(keys), Some(kid)) => keys.iter().find(|(id, _)| id.as_deref() == Some(kid)).map(|(_, key)| key),
            (Self::Set(keys), None) => match keys.as_slice() {
                [(_, key)] => Some(key),
                _ => None,
            },
        }
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, SetupError> {
    fs::read(path).map_err(|source| SetupError::Read { path: path.clone(), source })
}

fn pem(path: &PathBuf, algorithm: Algorithm) -> Result<DecodingKey, SetupError> {
    let text = read(path)?;
    let key = match algorithm {
        Algorithm::Rs256 => DecodingKey::from_rsa_pem(&text),
        Algorithm::Es256 => DecodingKey::from_ec_pem(&text),
        Algorithm::EdDsa | Algorithm::Hs256 => DecodingKey::from_ed_pem(&text),
    };
    key.map_err(|source| SetupError::Pem { path: path.clone(), algorithm, source })
}

fn jwks(path: &PathBuf, algorithm: Algorithm) -> Result<Vec<(Option<String>, DecodingKey)>, SetupError> {
    let set: JwkSet = serde_json::from_slice(&read(path)?).map_err(|source| SetupError::JwkSet { path: path.clone(), source })?;
    let mut keys: Vec<(Option<String>, DecodingKey)> = Vec::new();
    for jwk in set.keys.iter().filter(|jwk| fits(jwk, algorithm)) {
        let kid = jwk.common.key_id.clone();
        if let Some(kid) = kid.as_ref().filter(|kid| keys.iter().any(|(known, _)| known.as_ref() == Some(*kid))) {
            return Err(SetupError::KeyIdTwice { path: path.clone(), kid: kid.clone() });
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|source| SetupError::Jwk { path: path.clone(), source })?;
        keys.push((kid, key));
    }
    if keys.is_empty() { Err(SetupError::NoKey { path: path.clone(), algorithm }) } else { Ok(keys) }
}

/// A set may hold keys for encryption and for other algorithms: those are left out.
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
