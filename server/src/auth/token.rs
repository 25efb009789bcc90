//! What a token says, before any of it is believed.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::Header;

use super::{AuthError, claims::Claims, strict};

pub(super) const MAX_BYTES: usize = 8 * 1024;

/// Fields with which a token would name its own key, or be more than a signed set of claims. Critical extensions must be
/// understood or the token refused (RFC 7515, 4.1.11); none is.
const REFUSED_FIELDS: [&str; 9] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty"];

/// A token that can be read: three parts, no name twice.
pub(super) struct Token {
    pub(super) header: Header,
    /// Not verified.
    pub(super) claims: Claims,
}

impl Token {
    pub(super) fn read(text: &str) -> Result<Self, AuthError> {
        if text.len() > MAX_BYTES {
            return Err(AuthError::TooLarge);
        }
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(AuthError::Malformed);
        };
        let fields = object(header)?;
        if REFUSED_FIELDS.iter().any(|name| fields.contains_key(*name)) {
            return Err(AuthError::Malformed);
        }
        let header = jsonwebtoken::decode_header(text).map_err(|_| AuthError::Malformed)?;
        let plain = header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt"));
        if !plain {
            return Err(AuthError::Malformed);
        }
        Ok(Self { header, claims: object(claims)? })
    }
}

fn object(part: &str) -> Result<Claims, AuthError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| AuthError::Malformed)?;
    strict::object(&json).map_err(|_| AuthError::Malformed)
}
