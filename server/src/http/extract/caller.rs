//! Who asks.

use axum::{
    extract::FromRequestParts,
    http::{Method, header::AUTHORIZATION, request::Parts},
};

use crate::{
    auth::{AuthError, access_token},
    domain::{
        Fault,
        principal::{self, Principal, Scope},
    },
    http::{ApiError, AppState, layers::RequestId, origin::is_own_page},
};

/// An authenticated caller whose credential is good for this method. A handler that takes none is public.
#[derive(Debug, Clone)]
pub struct Caller(pub principal::Caller);

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let principal = authenticate(parts, state).await?;
        // Together: each recording adds to the fields of a span's lines.
        tracing::record_all!(tracing::Span::current(), tenant = principal.tenant.as_str(), principal = principal.id.as_str());
        state.limits.admit(parts, principal.tenant.as_str(), principal.id.as_str()).await?;
        let scope = if matches!(parts.method, Method::GET | Method::HEAD) { Scope::SessionsRead } else { Scope::SessionsWrite };
        if !principal.scopes.has(scope) {
            return Err(Fault::ScopeMissing(scope).into());
        }
        let request_id = parts.extensions.get::<RequestId>().map_or_else(String::new, |id| id.as_str().to_owned());
        Ok(Self(principal::Caller { principal, request_id }))
    }
}

/// By the ledger if it is an access token, by its issuer's keys otherwise.
async fn authenticate(parts: &Parts, state: &AppState) -> Result<Principal, ApiError> {
    match access_token(&parts.headers)? {
        Some(token) => {
            let _place = state.limits.look_up().await?;
            Ok(state.ledger.use_access_token(&token).await?.map_err(AuthError::from)?)
        }
        None => {
            let principal = state.auth.authenticate(&parts.headers).await?;
            // Only a page that has the token can send `Authorization`; what Cloudflare adds comes with every page's requests.
            if !parts.headers.contains_key(AUTHORIZATION) && !is_own_page(&parts.uri, &parts.headers) {
                return Err(Fault::CrossSite.into());
            }
            Ok(principal)
        }
    }
}
