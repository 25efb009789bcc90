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
    /// The token may be good: the one reason that is not its own.
    #[error("the keys of the token's issuer have not been had yet")]
    Unavailable,
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
            Self::Unavailable => "try again in a moment",
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
    #[error("{} is not a public key for an algorithm of its issuer", path.display())]
    Pem { path: PathBuf },
    #[error("{} cannot be used", path.display())]
    Jwks { path: PathBuf, source: JwksError },
    #[error("{} has no key for an algorithm of its issuer", path.display())]
    NoKey { path: PathBuf },
    #[error("issuer {issuer}: HS256 goes with a secret and with no other algorithm, the others with public keys")]
    WrongKind { issuer: String },
    #[error("issuer {issuer}: a secret for HS256 has at least 32 bytes")]
    ShortSecret { issuer: String },
    #[error("issuer {issuer} is configured twice")]
    Twice { issuer: String },
    #[error("issuer {issuer}: `{value}` cannot be a tenant")]
    DefaultTenant { issuer: String, value: String },
    #[error("issuer, audience and algorithms must not be empty")]
    Blank,
    #[error("issuer {issuer}: the JWKS URL {why}")]
    Url { issuer: String, why: &'static str },
    #[error("{} holds no certificate authority (PEM)", path.display())]
    Authority { path: PathBuf, source: reqwest::Error },
    #[error("the client that fetches keys cannot be made")]
    Client(#[source] reqwest::Error),
    #[error(transparent)]
    File(#[from] super::issuers_file::FileError),
}

/// Bytes that are not a set of keys.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("not a JWK set")]
    Json(#[from] serde_json::Error),
    #[error("a key in it cannot be used")]
    Key(#[from] jsonwebtoken::errors::Error),
    #[error("it names the key id `{0}` twice")]
    KeyIdTwice(String),
    #[error("it has more keys than any issuer needs")]
    TooMany,
}

/// An issuer's set of keys was not had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the JWKS URL was not reached")]
    Http(#[from] reqwest::Error),
    #[error("the JWKS URL answered {0}")]
    Status(u16),
    #[error("the JWKS is larger than 512 KiB")]
    TooLarge,
    #[error(transparent)]
    Set(#[from] JwksError),
}
