//! Personal access tokens among a request's headers. Whose they are is in the ledger.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{AuthError, bearer, only};
use crate::domain::access_token::{AccessToken, Void};

impl From<Void> for AuthError {
    fn from(void: Void) -> Self {
        match void {
            Void::Unknown => Self::UnknownToken,
            Void::Expired => Self::Expired,
            Void::Revoked => Self::Revoked,
        }
    }
}

/// The access token that a request carries, if that is what its bearer token is. One that was not made here is refused by
/// its checksum. Only as a bearer: in `Cf-Access-Jwt-Assertion` it is no JWT.
pub fn access_token(headers: &HeaderMap) -> Result<Option<AccessToken>, AuthError> {
    let Some(credentials) = only(headers, &AUTHORIZATION)? else { return Ok(None) };
    let token = bearer(credentials)?;
    if !token.starts_with(AccessToken::PREFIX) {
        return Ok(None);
    }
    AccessToken::parse(token).map(Some).map_err(|_| AuthError::UnknownToken)
}
