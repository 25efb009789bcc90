//! From the claims of a token whose signature is verified to a principal.

use chrono::DateTime;
use serde_json::{Map, Value};

use super::{AuthError, issuer::Trusted};
use crate::domain::principal::{ADMIN, OPERATOR, Principal, PrincipalId, Roles, SYSTEM_ACTOR, TenantId};

pub(super) type Claims = Map<String, Value>;

/// Clocks of issuer and server may differ by this much.
const LEEWAY_SECONDS: f64 = 30.0;

/// `now` in seconds since 1970.
pub(super) fn principal(claims: &Claims, trusted: &Trusted, now: f64) -> Result<Principal, AuthError> {
    if claims.get("iss").and_then(Value::as_str) != Some(&trusted.issuer) {
        return Err(AuthError::Claim("iss"));
    }
    check_audience(claims, &trusted.audiences)?;
    check_times(claims, now)?;
    let subject = claims.get("sub").and_then(Value::as_str).ok_or(AuthError::Claim("sub"))?;
    let id = PrincipalId::parse(subject).map_err(|_| AuthError::Subject)?;
    // That name stands for the control plane itself in every history.
    if id.as_str() == SYSTEM_ACTOR {
        return Err(AuthError::Subject);
    }
    #[expect(clippy::cast_possible_truncation, reason = "a date that does not fit is none")]
    let expires_at = numeric_date(claims, "exp")?.and_then(|exp| DateTime::from_timestamp(exp as i64, 0));
    let roles = roles(claims, &trusted.roles_claim);
    let roles = Roles { operator: roles.operator && trusted.operators, ..roles };
    Ok(Principal { expires_at, ..Principal::new(tenant(claims, trusted)?, id, roles) })
}

fn check_audience(claims: &Claims, wanted: &[String]) -> Result<(), AuthError> {
    let named = match claims.get("aud") {
        Some(Value::String(one)) => wanted.contains(one),
        Some(Value::Array(several)) if several.iter().all(Value::is_string) => several.iter().any(|aud| wanted.iter().any(|w| aud == w)),
        _ => return Err(AuthError::Claim("aud")),
    };
    if named { Ok(()) } else { Err(AuthError::Audience) }
}

fn check_times(claims: &Claims, now: f64) -> Result<(), AuthError> {
    let exp = numeric_date(claims, "exp")?.ok_or(AuthError::Claim("exp"))?;
    if now >= exp + LEEWAY_SECONDS {
        return Err(AuthError::Expired);
    }
    match numeric_date(claims, "nbf")? {
        Some(nbf) if now < nbf - LEEWAY_SECONDS => Err(AuthError::NotYetValid),
        _ => Ok(()),
    }
}

/// Seconds since 1970, whole or not (RFC 7519). Absent is `None`; anything else is refused.
fn numeric_date(claims: &Claims, name: &'static str) -> Result<Option<f64>, AuthError> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|n| n.is_finite() && *n >= 0.0).map(Some).ok_or(AuthError::Claim(name)),
    }
}

/// A tenant that is stated badly is not replaced by the default one.
fn tenant(claims: &Claims, trusted: &Trusted) -> Result<TenantId, AuthError> {
    let tenant = match claims.get(&trusted.tenant_claim) {
        None => trusted.default_tenant.clone(),
        Some(stated) => stated.as_str().and_then(|name| TenantId::parse(name).ok()),
    };
    // Nobody speaks for the tenants of another issuer.
    let within = |tenant: &TenantId| trusted.tenants.is_empty() || trusted.tenants.contains(tenant);
    tenant.filter(within).ok_or(AuthError::Tenant)
}

/// A list of strings, or one string with spaces between (as OAuth scopes). Anything else grants nothing.
pub(super) fn roles(claims: &Claims, claim: &str) -> Roles {
    let has = |role: &str| match claims.get(claim) {
        Some(Value::String(words)) => words.split(' ').any(|word| word == role),
        Some(Value::Array(list)) => list.iter().any(|word| word == role),
        _ => false,
    };
    Roles { admin: has(ADMIN), operator: has(OPERATOR) }
}
