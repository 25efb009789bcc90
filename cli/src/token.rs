//! Who the caller is, and the bearer token that proves it.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use alpine_api::ErrorCode;
use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::{
    clock::Now,
    error::Report,
    login::{LoginError, Saved},
};

const ISSUER: &str = "alpine-dev";
const AUDIENCE: &str = "alpine";
const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// A token is renewed this long before its end, so that it outlives the longest request.
const RENEWAL: TimeDelta = TimeDelta::minutes(2);

/// What the configuration says of the caller.
#[derive(Clone, Default)]
pub struct Credential {
    /// A token that is sent as it is; wins over the rest.
    pub token: Option<String>,
    /// Where it was found, for people.
    pub token_from: &'static str,
    /// The key that signs development tokens.
    pub key_file: Option<PathBuf>,
    pub principal: Option<String>,
    pub tenant: String,
    pub roles: Vec<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("principal", &self.principal).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("caller identity is required")]
    NoPrincipal,
    #[error("caller identity is required")]
    NoCredential,
    /// It has what no header can carry.
    #[error("caller identity is required")]
    Malformed,
    #[error("caller identity is required")]
    Key { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("the development token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

impl TokenError {
    /// Whether a token may be had in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Login(error) if error.is_transient())
    }

    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::NoPrincipal => "set ALPINE_PRINCIPAL_ID to your name, or ALPINE_TOKEN to a token of the server".to_owned(),
            Self::NoCredential => "run alpine login, set ALPINE_TOKEN, or start alpine-server dev on this machine".to_owned(),
            Self::Malformed => {
                "ALPINE_TOKEN (or the profile's token) is no token: it has spaces, line breaks or letters that no token has".to_owned()
            }
            Self::Key { path, source } => {
                format!("cannot read the signing key {} ({source}); start alpine-server dev again, or set ALPINE_TOKEN", path.display())
            }
            Self::Login(error) => return error.report(),
            Self::Sign(source) => return Report::new(ErrorCode::Internal, format!("{self}: {source}"), "set ALPINE_TOKEN"),
        };
        Report::new(ErrorCode::CallerIdentityRequired, self, next_step)
    }
}

/// The caller's identity: a bearer token that is always good for a while yet.
pub struct Identity {
    source: Source,
    now: Now,
}

enum Source {
    /// For what anybody may ask.
    Nobody,
    Login(Box<Saved>),
    Fixed {
        token: String,
        from: &'static str,
    },
    Dev {
        key: EncodingKey,
        principal: String,
        tenant: String,
        roles: Vec<String>,
        last: Mutex<Option<(String, DateTime<Utc>)>>,
    },
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'static str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    tenant: &'a str,
    roles: &'a [String],
}

impl Identity {
    pub fn nobody(now: Now) -> Self {
        Self { source: Source::Nobody, now }
    }

    pub fn fixed(token: String, from: &'static str, now: Now) -> Self {
        Self { source: Source::Fixed { token, from }, now }
    }

    pub fn login(saved: Saved, now: Now) -> Self {
        Self { source: Source::Login(Box::new(saved)), now }
    }

    /// From a token or the development key.
    pub fn new(credential: Credential, now: Now) -> Result<Self, TokenError> {
        let Credential { token, token_from: from, key_file, principal, tenant, roles } = credential;
        if let Some(token) = token {
            let fits = token.bytes().all(|byte| byte.is_ascii_graphic());
            return if fits { Ok(Self { source: Source::Fixed { token, from }, now }) } else { Err(TokenError::Malformed) };
        }
        let path = key_file.ok_or(TokenError::NoCredential)?;
        let principal = principal.ok_or(TokenError::NoPrincipal)?;
        let key = match fs::read(&path) {
            Ok(key) if !key.is_empty() => EncodingKey::from_secret(&key),
            Ok(_) => return Err(TokenError::Key { path, source: io::Error::new(io::ErrorKind::InvalidData, "it is empty") }),
            Err(source) => return Err(TokenError::Key { path, source }),
        };
        Ok(Self { source: Source::Dev { key, principal, tenant, roles, last: Mutex::new(None) }, now })
    }

    /// A token for the next request; none for nobody.
    pub async fn bearer(&self) -> Result<Option<String>, TokenError> {
        match &self.source {
            Source::Nobody => Ok(None),
            Source::Login(saved) => Ok(Some(saved.bearer().await?)),
            Source::Fixed { token, .. } => Ok(Some(token.clone())),
            Source::Dev { .. } => self.signed().map(Some),
        }
    }

    /// Where a token that was given was found.
    pub fn given_by(&self) -> Option<&'static str> {
        match self.source {
            Source::Fixed { from, .. } => Some(from),
            _ => None,
        }
    }

    /// When a token that was given ended, if it says so and it has. Nothing else in it is believed.
    pub fn ended(&self) -> Option<DateTime<Utc>> {
        #[derive(serde::Deserialize)]
        struct End {
            exp: i64,
        }
        let Source::Fixed { token, .. } = &self.source else { return None };
        let End { exp } = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        DateTime::from_timestamp(exp, 0).filter(|end| *end <= (self.now)())
    }

    /// Another token than the one that was refused, if this identity can get one.
    pub async fn renew(&self, refused: &str) -> Result<Option<String>, TokenError> {
        match &self.source {
            Source::Login(saved) => Ok(Some(saved.renew(refused).await?)),
            Source::Nobody | Source::Fixed { .. } | Source::Dev { .. } => Ok(None),
        }
    }

    /// A token that is signed here.
    fn signed(&self) -> Result<String, TokenError> {
        let (key, principal, tenant, roles, last) = match &self.source {
            Source::Nobody | Source::Login(_) | Source::Fixed { .. } => return Err(TokenError::NoCredential),
            Source::Dev { key, principal, tenant, roles, last } => (key, principal, tenant, roles, last),
        };
        let now = (self.now)();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, ends)) = last.as_ref()
            && now + RENEWAL < *ends
        {
            return Ok(token.clone());
        }
        let ends = now + LIFETIME;
        let (issued, exp) = (now.timestamp(), ends.timestamp());
        let claims = Claims { iss: ISSUER, aud: AUDIENCE, sub: principal, iat: issued, nbf: issued, exp, tenant, roles };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, key)?;
        *last = Some((token.clone(), ends));
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::atomic::{AtomicI64, Ordering},
    };

    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    use super::*;
    use crate::{clock, testing::at};

    fn key_file(key: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(key).unwrap();
        file
    }

    fn tester(key: &tempfile::NamedTempFile) -> Credential {
        Credential {
            key_file: Some(key.path().to_owned()),
            principal: Some("tester".to_owned()),
            tenant: "dev".to_owned(),
            roles: vec!["alpine.admin".to_owned()],
            ..Credential::default()
        }
    }

    #[test]
    fn a_development_token_is_signed_with_the_raw_bytes_of_the_key() {
        let secret = b"\x00\xffraw bytes, no encoding\n\x01\x02\x03\x04\x05\x06\x07\x08";
        let key = key_file(secret);
        let token = Identity::new(tester(&key), clock::now).unwrap().signed().unwrap();
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&["alpine"]);
        rules.set_issuer(&["alpine-dev"]);
        rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        rules.validate_nbf = true;
        let claims = decode::<Value>(&token, &DecodingKey::from_secret(secret), &rules).unwrap().claims;
        assert_eq!(claims["sub"], "tester");
        assert_eq!(claims["tenant"], "dev");
        assert_eq!(claims["roles"][0], "alpine.admin");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    }

    static SECONDS: AtomicI64 = AtomicI64::new(0);

    #[test]
    fn a_token_is_kept_while_it_is_good_and_signed_anew_before_its_end() {
        fn now() -> DateTime<Utc> {
            at("2026-11-22T10:00:00Z") + TimeDelta::seconds(SECONDS.load(Ordering::SeqCst))
        }
        let key = key_file(&[7; 32]);
        let identity = Identity::new(tester(&key), now).unwrap();
        let first = identity.signed().unwrap();
        SECONDS.store(170, Ordering::SeqCst);
        assert_eq!(identity.signed().unwrap(), first);
        SECONDS.store(181, Ordering::SeqCst);
        assert_ne!(identity.signed().unwrap(), first);
    }

    #[tokio::test]
    async fn a_given_token_wins_and_needs_no_name() {
        let credential = Credential { token: Some("abc".to_owned()), ..Credential::default() };
        assert_eq!(Identity::new(credential, clock::now).unwrap().bearer().await.unwrap().as_deref(), Some("abc"));
    }

    #[test]
    fn without_a_name_or_a_key_there_is_no_identity() {
        let key = key_file(&[7; 32]);
        let nobody = Credential { principal: None, ..tester(&key) };
        let keyless = Credential { key_file: None, ..tester(&key) };
        let lost = Credential { key_file: Some("/nonexistent/key".into()), ..tester(&key) };
        let empty = key_file(b"");
        for credential in [nobody, keyless, lost, tester(&empty)] {
            let report = Identity::new(credential, clock::now).unwrap_err().report();
            assert_eq!(
                (report.error_code.known(), report.cause.as_str(), report.exit_code),
                (Some(ErrorCode::CallerIdentityRequired), "caller identity is required", 1)
            );
        }
    }
}
