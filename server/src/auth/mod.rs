//! From a request's headers to a principal. There is no anonymous caller and no fallback.

mod access_token;
mod claims;
mod error;
mod issuer;
mod keys;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName},
};
use serde_json::Value;

use crate::{clock::Clock, domain::principal::Principal};
use claims::Claims;
use issuer::Trusted;

pub use access_token::access_token;
pub use error::{AuthError, SetupError};
pub use issuer::Issuer;
pub use keys::{Algorithm, KeySource, UnknownAlgorithm};

/// Where Cloudflare Access puts its token.
pub const CLOUDFLARE_ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");

const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// Knows the issuers that are trusted, and the time.
pub struct Authenticator {
    issuers: Vec<Trusted>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<_> = self.issuers.iter().map(|i| i.issuer.as_str()).collect();
        f.debug_struct("Authenticator").field("issuers", &issuers).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Reads every key file; what cannot be used is refused here and not at the first request.
    pub fn new(issuers: Vec<Issuer>, clock: Arc<dyn Clock>) -> Result<Self, SetupError> {
        let mut trusted: Vec<Trusted> = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            if trusted.iter().any(|known| known.issuer == issuer.issuer) {
                return Err(SetupError::Twice { issuer: issuer.issuer });
            }
            trusted.push(Trusted::load(issuer)?);
        }
        Ok(Self { issuers: trusted, clock })
    }

    /// The caller that a request's headers prove.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        if let Some(credentials) = only(headers, &AUTHORIZATION)? {
            return self.verify(bearer(credentials)?, |_| true);
        }
        match only(headers, &CLOUDFLARE_ASSERTION)? {
            Some(token) if self.issuers.iter().any(|issuer| issuer.cloudflare) => self.verify(token, |issuer| issuer.cloudflare),
            _ => Err(AuthError::Missing),
        }
    }

    /// The issuer is the one that the token names; from then on only that issuer's word counts.
    fn verify(&self, token: &str, eligible: impl Fn(&Trusted) -> bool) -> Result<Principal, AuthError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(AuthError::TooLarge);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Malformed)?;
        // Critical extensions must be understood or the token refused (RFC 7515, 4.1.11); none is.
        let plain = header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt"));
        if header.crit.is_some() || !plain {
            return Err(AuthError::Malformed);
        }
        let unverified: Claims = jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| AuthError::Malformed)?;
        let named = unverified.get("iss").and_then(Value::as_str).ok_or(AuthError::Claim("iss"))?;
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer == named && eligible(issuer)).ok_or(AuthError::Issuer)?;
        let now = self.clock.now().timestamp_millis() as f64 / 1000.0;
        issuer.verify(token, &header, now)
    }
}

/// The header's value if it stands exactly once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| AuthError::Malformed),
        (Some(_), Some(_)) => Err(AuthError::Several),
    }
}

fn bearer(credentials: &str) -> Result<&str, AuthError> {
    let (scheme, token) = credentials.split_once(' ').ok_or(AuthError::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_start_matches(' ')) } else { Err(AuthError::Scheme) }
}
