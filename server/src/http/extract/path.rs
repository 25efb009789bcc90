//! Ids in paths. One that is malformed is answered exactly as one that is not there.

use alpine_api::{CredentialId, OperationId, SessionId, TokenId};
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    domain::{Fault, principal::TenantId},
    http::ApiError,
};

#[derive(Debug, Clone, Copy)]
pub struct SessionPath(pub SessionId);

#[derive(Debug, Clone, Copy)]
pub struct OperationPath(pub OperationId);

#[derive(Debug, Clone, Copy)]
pub struct TokenPath(pub TokenId);

/// A tenant's name from a path. One that is no tenant's form is no tenant.
#[derive(Debug, Clone)]
pub struct TenantPath(pub TenantId);

#[derive(Debug, Clone, Copy)]
pub struct CredentialPath(pub CredentialId);

impl<S: Send + Sync> FromRequestParts<S> for CredentialPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<CredentialId>::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(|_| Fault::NotFound("credential"))?.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<SessionId>::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(|_| Fault::SessionNotFound)?.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OperationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<OperationId>::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(|_| Fault::OperationNotFound)?.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TokenPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<TokenId>::from_request_parts(parts, state).await;
        Ok(Self(found.map_err(|_| Fault::NotFound("token"))?.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TenantPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<String>::from_request_parts(parts, state).await.ok();
        let tenant = found.and_then(|Path(name)| TenantId::parse(&name).ok());
        Ok(Self(tenant.ok_or(Fault::NotFound("tenant"))?))
    }
}
