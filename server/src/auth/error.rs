//! Why nobody can be derived from a request, and why issuers cannot be set up.

use std::path::PathBuf;

/// No identity. What the caller is told stays general; the token itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no bearer token was sent")]
    Missing,
    #[error("more than one set of credentials was sent")]
    Several,
    #[error("the authorization scheme is not Bearer")]
    Scheme,
    #[error("the token is larger than 8 KiB")]
    TooLarge,
    #[error("the token is not a JWT that is understood here")]
    Malformed,
    #[error("the token's issuer is not trusted here")]
    Issuer,
    #[error("the token is signed with an algorithm that its issuer does not use")]
    Algorithm,
    #[error("the token names a key that its issuer does not have")]
    Key,
    #[error("the token's signature does not verify")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the access token was revoked")]
    Revoked,
    #[error("the access token is not one that was made here")]
    UnknownToken,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token's claim `{0}` is missing or not of its form")]
    Claim(&'static str),
    #[error("the token's subject cannot be a principal")]
    Subject,
    #[error("the token names no tenant")]
    Tenant,
}

impl AuthError {
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Missing => "sign in: send a token as `Authorization: Bearer <token>`",
            Self::Several => "send exactly one Authorization header",
            Self::Scheme => "send the token as `Authorization: Bearer <token>`",
            Self::TooLarge => "ask your identity provider for a token of at most 8 KiB",
            Self::Malformed => "send a signed JWT; the one that was sent cannot be read",
            Self::Issuer => "use a token of an issuer that this server trusts",
            Self::Algorithm | Self::Key | Self::Signature => "get a new token: the signature of this one does not verify",
            Self::Expired => "sign in again: the token has expired",
            Self::Revoked => "make a new token with alpine token create: this one was revoked",
            Self::UnknownToken => "check the access token: it is not one of this server's",
            Self::NotYetValid => "check the clock: the token is not valid yet",
            Self::Audience => "get a token for this server: the audience of this one is another",
            Self::Claim(_) => "get a token with well-formed iss, aud, sub and exp (and nbf, where there is one)",
            Self::Subject => "get a token whose subject names a person or a script",
            Self::Tenant => "get a token that names your tenant",
        }
    }

    /// The challenge of the 401 (RFC 6750).
    #[must_use]
    pub const fn challenge(self) -> &'static str {
        match self {
            Self::Missing => r#"Bearer realm="alpine""#,
            Self::Several | Self::Scheme => r#"Bearer realm="alpine", error="invalid_request""#,
            _ => r#"Bearer realm="alpine", error="invalid_token""#,
        }
    }
}

/// The configured issuers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is not a public key for {algorithm}", path.display())]
    Pem { path: PathBuf, algorithm: super::Algorithm, source: jsonwebtoken::errors::Error },
    #[error("{} is not a JWK set", path.display())]
    JwkSet { path: PathBuf, source: serde_json::Error },
    #[error("a key in {} cannot be used", path.display())]
    Jwk { path: PathBuf, source: jsonwebtoken::errors::Error },
    #[error("{} has no key for {algorithm}", path.display())]
    NoKey { path: PathBuf, algorithm: super::Algorithm },
    #[error("{} names the key id `{kid}` twice", path.display())]
    KeyIdTwice { path: PathBuf, kid: String },
    #[error("issuer {issuer}: {algorithm} does not go with this kind of key")]
    WrongKind { issuer: String, algorithm: super::Algorithm },
    #[error("issuer {issuer}: a secret for HS256 has at least 32 bytes")]
    ShortSecret { issuer: String },
    #[error("issuer {issuer} is configured twice")]
    Twice { issuer: String },
    #[error("issuer {issuer}: `{value}` cannot be the default tenant")]
    DefaultTenant { issuer: String, value: String },
    #[error("issuer and audience must not be empty")]
    Blank,
}
