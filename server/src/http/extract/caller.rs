//! Who asks.

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    domain::principal::Principal,
    http::{ApiError, AppState},
};

/// An authenticated caller. A handler that takes none is public.
#[derive(Debug, Clone)]
pub struct Caller(pub Principal);

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let principal = state.auth.authenticate(&parts.headers)?;
        let span = tracing::Span::current();
        span.record("tenant", principal.tenant.as_str()).record("principal", principal.id.as_str());
        state.limits.admit(parts, principal.tenant.as_str(), principal.id.as_str()).await?;
        Ok(Self(principal))
    }
}
