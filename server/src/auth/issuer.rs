//! One issuer: what is configured of it, and how a token that names it is verified.

use jsonwebtoken::{Header, Validation, errors::ErrorKind};

use super::{
    Algorithm, AuthError, KeySource, SetupError,
    claims::{self, Claims},
    keys::Keys,
};
use crate::domain::principal::{Principal, TenantId};

/// An issuer as it is configured.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The exact value of `iss`.
    pub issuer: String,
    /// A value that `aud` must contain.
    pub audience: String,
    pub algorithm: Algorithm,
    pub keys: KeySource,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists roles.
    pub roles_claim: String,
    /// The tenant of tokens without that claim.
    pub default_tenant: Option<String>,
    /// Its tokens are taken from `Cf-Access-Jwt-Assertion` too.
    pub cloudflare: bool,
}

/// An issuer with its keys loaded.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) tenant_claim: String,
    pub(super) roles_claim: String,
    pub(super) default_tenant: Option<TenantId>,
    pub(super) cloudflare: bool,
    keys: Keys,
    validation: Validation,
}

impl Trusted {
    pub(super) fn load(issuer: Issuer) -> Result<Self, SetupError> {
        if issuer.issuer.is_empty() || issuer.audience.is_empty() {
            return Err(SetupError::Blank);
        }
        let default_tenant = match issuer.default_tenant {
            None => None,
            Some(name) => match TenantId::parse(&name) {
                Ok(tenant) => Some(tenant),
                Err(_) => return Err(SetupError::DefaultTenant { issuer: issuer.issuer, value: name }),
            },
        };
        let mut validation = Validation::new(issuer.algorithm.into());
        validation.set_issuer(&[&issuer.issuer]);
        validation.set_audience(&[&issuer.audience]);
        // A claim that is not required is skipped where it is malformed.
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The crate reads the machine's clock; times are checked against ours, in `claims`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            keys: Keys::load(&issuer.issuer, issuer.algorithm, &issuer.keys)?,
            issuer: issuer.issuer,
            audience: issuer.audience,
            tenant_claim: issuer.tenant_claim,
            roles_claim: issuer.roles_claim,
            default_tenant,
            cloudflare: issuer.cloudflare,
            validation,
        })
    }

    pub(super) fn verify(&self, token: &str, header: &Header, now: f64) -> Result<Principal, AuthError> {
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(AuthError::Algorithm);
        }
        let key = self.keys.select(header.kid.as_deref()).ok_or(AuthError::Key)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|error| refusal(error.kind()))?;
        claims::principal(&decoded.claims, self, now)
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
