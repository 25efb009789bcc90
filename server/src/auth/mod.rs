//! From a request's headers to a principal. There is no anonymous caller and no fallback.

mod access_token;
mod algorithm;
mod claims;
mod error;
mod issuer;
mod issuers_file;
mod keys;
mod remote;
mod ring;
mod strict;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod verified;

use std::{fmt, sync::Arc};

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderName},
};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, domain::principal::Principal, metrics::Metrics};
use issuer::Trusted;
use token::Token;
use verified::Verified;

pub use access_token::access_token;
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use error::{AuthError, JwksError, SetupError};
pub use issuer::{Issuer, KeySource, LoginHints};
pub use issuers_file::FileError;
pub use remote::JwksUrl;

/// Where Cloudflare Access puts its token.
pub const CLOUDFLARE_ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");

/// Knows the issuers that are trusted, and the time.
pub struct Authenticator {
    issuers: Vec<Trusted>,
    verified: Verified,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers: Vec<_> = self.issuers.iter().map(|i| i.issuer.as_str()).collect();
        f.debug_struct("Authenticator").field("issuers", &issuers).finish()
    }
}

impl Authenticator {
    /// Reads every key file; what cannot be used is refused here and not at the first request. Keys behind a URL are
    /// fetched by [`Self::keep_fresh`], or when the first token needs them.
    pub fn new(issuers: Vec<Issuer>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, SetupError> {
        let mut trusted: Vec<Trusted> = Vec::with_capacity(issuers.len());
        for issuer in issuers {
            if trusted.iter().any(|known| known.issuer == issuer.issuer) {
                return Err(SetupError::Twice { issuer: issuer.issuer });
            }
            trusted.push(Trusted::load(issuer, Arc::clone(&clock), Arc::clone(&metrics))?);
        }
        Ok(Self { issuers: trusted, verified: Verified::default() })
    }

    /// Keeps the keys fresh that are behind URLs, until `stop`.
    pub async fn keep_fresh(&self, stop: CancellationToken) {
        let remotes = self.issuers.iter().filter_map(Trusted::remote);
        let tasks: JoinSet<()> = remotes.map(|remote| Arc::clone(remote).keep_fresh(stop.clone())).collect();
        tasks.join_all().await;
    }

    /// The issuers at which people can sign in with a program.
    pub fn login_hints(&self) -> impl Iterator<Item = &LoginHints> {
        self.issuers.iter().map(|issuer| &issuer.login).filter(|hints| hints.device_client_id.is_some())
    }

    /// The caller that a request's headers prove.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Principal, AuthError> {
        if let Some(credentials) = only(headers, &AUTHORIZATION)? {
            return self.verify(bearer(credentials)?, |_| true).await;
        }
        match only(headers, &CLOUDFLARE_ASSERTION)? {
            Some(token) if self.issuers.iter().any(|issuer| issuer.cloudflare) => self.verify(token, |issuer| issuer.cloudflare).await,
            _ => Err(AuthError::Missing),
        }
    }

    /// The issuer is the one that the token names; from then on only that issuer's word counts.
    async fn verify(&self, text: &str, eligible: impl Fn(&Trusted) -> bool) -> Result<Principal, AuthError> {
        let known = self.verified.find(text);
        let token = if let Some(known) = &known { Arc::clone(&known.token) } else { Arc::new(Token::read(text)?) };
        let named = token.claims.get("iss").and_then(Value::as_str).ok_or(AuthError::Claim("iss"))?;
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer == named && eligible(issuer)).ok_or(AuthError::Issuer)?;
        let before = known.as_ref().map(|known| &known.key);
        let (principal, key) = issuer.verify(text, &token, before).await?;
        if !before.is_some_and(|before| Arc::ptr_eq(before, &key)) {
            self.verified.keep(text, token, key);
        }
        Ok(principal)
    }
}

/// The header's value if it stands exactly once.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, AuthError> {
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
