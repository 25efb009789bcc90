//! One issuer: what is configured of it, and how a token that names it is verified.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    Algorithm, AuthError, SetupError,
    claims::{self, Claims},
    keys::{self, Key},
    remote::{JwksUrl, Remote},
    ring::Ring,
    token::Token,
};
use crate::{
    clock::Clock,
    domain::principal::{Principal, TenantId},
    metrics::Metrics,
};

const SECRET_MIN_BYTES: usize = 32;

/// An issuer as it is configured.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The exact value of `iss`.
    pub issuer: String,
    /// `aud` must contain one of these.
    pub audiences: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    pub keys: KeySource,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The tenant of tokens without that claim.
    pub default_tenant: Option<String>,
    /// Its tokens are taken from `Cf-Access-Jwt-Assertion` too.
    pub cloudflare: bool,
    /// The tenants that its tokens may name; none: any. Of two issuers that may name one tenant, each can be anybody in it.
    pub tenants: Vec<String>,
    /// Whether its tokens may grant `alpine.operator`.
    pub operators: bool,
    pub login: LoginHints,
}

/// What a program needs that signs its user in at this issuer. Nothing here is secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginHints {
    /// The issuer's `iss`; its discovery document is below it.
    pub issuer: String,
    /// The public client of the device flow.
    pub device_client_id: Option<String>,
    pub device_scope: Option<String>,
    /// The value of the parameter `resource` (RFC 8707).
    pub resource: Option<String>,
}

/// Where an issuer's keys come from. Never from a token.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A public key in PEM.
    PemFile(PathBuf),
    /// A JWK set.
    JwksFile(PathBuf),
    /// A JWK set that the issuer publishes.
    JwksUrl(JwksUrl),
    /// The shared secret of HS256.
    Secret(SecretSlice<u8>),
}

impl Issuer {
    /// An issuer with the usual names of claims and nothing more.
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, algorithm: Algorithm, keys: KeySource) -> Self {
        let issuer = issuer.into();
        Self {
            login: LoginHints { issuer: issuer.clone(), ..LoginHints::default() },
            issuer,
            audiences: vec![audience.into()],
            algorithms: vec![algorithm],
            keys,
            tenant_claim: "tenant".to_owned(),
            roles_claim: "roles".to_owned(),
            default_tenant: None,
            cloudflare: false,
            tenants: Vec::new(),
            operators: false,
        }
    }
}

/// As `check-config` shows it.
impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.algorithms.iter().map(ToString::to_string).collect();
        write!(f, "issuer {}: audience={} algorithms={}", self.issuer, self.audiences.join(","), algorithms.join(","))?;
        write!(f, " keys={} tenant_claim={} roles_claim={}", self.keys, self.tenant_claim, self.roles_claim)?;
        write!(f, " default_tenant={} cloudflare={}", self.default_tenant.as_deref().unwrap_or("(unset)"), self.cloudflare)?;
        write!(
            f,
            " tenants={} operators={}",
            if self.tenants.is_empty() { "(any)".to_owned() } else { self.tenants.join(",") },
            self.operators
        )?;
        write!(f, " device_client_id={}", self.login.device_client_id.as_deref().unwrap_or("(unset)"))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PemFile(path) | Self::JwksFile(path) => write!(f, "{}", path.display()),
            Self::JwksUrl(source) => {
                let JwksUrl { url, refresh, keep_removed, .. } = source;
                write!(f, "{url} (every {} s, removed ones kept {} s)", refresh.as_secs(), keep_removed.as_secs())
            }
            Self::Secret(_) => f.write_str("[redacted]"),
        }
    }
}

/// An issuer with its keys.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    pub(super) tenant_claim: String,
    pub(super) roles_claim: String,
    pub(super) default_tenant: Option<TenantId>,
    pub(super) cloudflare: bool,
    /// Those that it may speak for; none: any.
    pub(super) tenants: Vec<TenantId>,
    pub(super) operators: bool,
    pub(super) login: LoginHints,
    keys: Keys,
    /// One an algorithm: the library takes a list only where all are of one family.
    validations: Vec<(Algorithm, Validation)>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
enum Keys {
    /// The only one, whatever key id a token names.
    One(Arc<Key>),
    Fixed(Ring),
    Remote(Arc<Remote>),
}

impl Trusted {
    pub(super) fn load(issuer: Issuer, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Result<Self, SetupError> {
        let blank = issuer.issuer.is_empty() || issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty);
        if blank || issuer.algorithms.is_empty() {
            return Err(SetupError::Blank);
        }
        let default_tenant = match issuer.default_tenant {
            None => None,
            Some(name) => match TenantId::parse(&name) {
                Ok(tenant) => Some(tenant),
                Err(_) => return Err(SetupError::DefaultTenant { issuer: issuer.issuer, value: name }),
            },
        };
        let tenants: Result<Vec<TenantId>, SetupError> = issuer
            .tenants
            .iter()
            .map(|name| TenantId::parse(name).map_err(|_| SetupError::DefaultTenant { issuer: issuer.issuer.clone(), value: name.clone() }))
            .collect();
        Ok(Self {
            tenants: tenants?,
            operators: issuer.operators,
            keys: load(&issuer.issuer, &issuer.algorithms, &issuer.keys, Arc::clone(&clock), metrics)?,
            validations: issuer.algorithms.iter().map(|one| (*one, validation(*one, &issuer.issuer, &issuer.audiences))).collect(),
            issuer: issuer.issuer,
            audiences: issuer.audiences,
            tenant_claim: issuer.tenant_claim,
            roles_claim: issuer.roles_claim,
            default_tenant,
            cloudflare: issuer.cloudflare,
            login: issuer.login,
            clock,
        })
    }

    /// Whose `text` is, and the key that it is signed with. `verified`: with that key it is known to be.
    pub(super) async fn verify(&self, text: &str, token: &Token, verified: Option<&Arc<Key>>) -> Result<(Principal, Arc<Key>), AuthError> {
        let pinned = self.validations.iter().find(|(algorithm, _)| jsonwebtoken::Algorithm::from(*algorithm) == token.header.alg);
        let (algorithm, validation) = pinned.ok_or(AuthError::Algorithm)?;
        let key = self.key(token, *algorithm).await?;
        if !verified.is_some_and(|known| Arc::ptr_eq(known, &key)) {
            jsonwebtoken::decode::<Claims>(text, &key.decoding, validation).map_err(|error| refusal(error.kind()))?;
        }
        Ok((claims::principal(&token.claims, self, self.now())?, key))
    }

    async fn key(&self, token: &Token, algorithm: Algorithm) -> Result<Arc<Key>, AuthError> {
        let id = token.header.kid.as_deref();
        match &self.keys {
            Keys::One(key) => Some(Arc::clone(key)).filter(|key| key.algorithm == algorithm).ok_or(AuthError::Key),
            Keys::Fixed(ring) => ring.find(id, algorithm, self.clock.now()).ok_or(AuthError::Key),
            Keys::Remote(remote) => match remote.known(id, algorithm) {
                Some(key) => Ok(key),
                None => {
                    // A token that would be refused with any key is no reason to ask for one.
                    claims::principal(&token.claims, self, self.now())?;
                    remote.unknown(id, algorithm).await
                }
            },
        }
    }

    pub(super) const fn remote(&self) -> Option<&Arc<Remote>> {
        match &self.keys {
            Keys::Remote(remote) => Some(remote),
            Keys::One(_) | Keys::Fixed(_) => None,
        }
    }

    /// In seconds since 1970.
    fn now(&self) -> f64 {
        self.clock.now().timestamp_millis() as f64 / 1000.0
    }
}

fn validation(algorithm: Algorithm, issuer: &str, audiences: &[String]) -> Validation {
    let mut validation = Validation::new(algorithm.into());
    validation.set_issuer(&[issuer]);
    validation.set_audience(audiences);
    // A claim that is not required is skipped where it is malformed.
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // The crate reads the machine's clock; times are checked against ours, in `claims`.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn load(
    issuer: &str,
    algorithms: &[Algorithm],
    source: &KeySource,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
) -> Result<Keys, SetupError> {
    let shared = algorithms.contains(&Algorithm::Hs256);
    if shared != matches!(source, KeySource::Secret(_)) || (shared && algorithms.len() > 1) {
        return Err(SetupError::WrongKind { issuer: issuer.to_owned() });
    }
    let read = |path: &PathBuf| fs::read(path).map_err(|source| SetupError::Read { path: path.clone(), source });
    match source {
        KeySource::Secret(secret) => {
            let secret = secret.expose_secret();
            if secret.len() < SECRET_MIN_BYTES {
                return Err(SetupError::ShortSecret { issuer: issuer.to_owned() });
            }
            let key = Key { id: None, algorithm: Algorithm::Hs256, decoding: DecodingKey::from_secret(secret) };
            Ok(Keys::One(Arc::new(key)))
        }
        KeySource::PemFile(path) => {
            let key = keys::from_pem(&read(path)?, algorithms).ok_or_else(|| SetupError::Pem { path: path.clone() })?;
            Ok(Keys::One(Arc::new(key)))
        }
        KeySource::JwksFile(path) => {
            let set = keys::from_set(&read(path)?, algorithms).map_err(|source| SetupError::Jwks { path: path.clone(), source })?;
            if set.is_empty() { Err(SetupError::NoKey { path: path.clone() }) } else { Ok(Keys::Fixed(Ring::fixed(set))) }
        }
        KeySource::JwksUrl(url) => Ok(Keys::Remote(Arc::new(Remote::new(issuer, algorithms, url, clock, metrics)?))),
    }
}

fn refusal(kind: &ErrorKind) -> AuthError {
    match kind {
        ErrorKind::InvalidSignature => AuthError::Signature,
        ErrorKind::InvalidAlgorithm => AuthError::Algorithm,
        ErrorKind::InvalidAudience => AuthError::Audience,
        ErrorKind::InvalidIssuer => AuthError::Claim("iss"),
        ErrorKind::MissingRequiredClaim(name) => AuthError::Claim(match name.as_str() {
            "exp" => "exp",
            "iss" => "iss",
            "aud" => "aud",
            _ => "sub",
        }),
        _ => AuthError::Malformed,
    }
}
