//! Ids in paths. One that is malformed is answered exactly as one that is not there.

use alpine_api::{CredentialId, OperationId, SessionId, ShareId, TokenId};
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    domain::{Fault, principal::TenantId},
    http::ApiError,
};

macro_rules! ids {
    ($($name:ident ($id:ident) or $fault:expr;)+) => {$(
        #[derive(Debug, Clone, Copy)]
        pub struct $name(pub $id);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
                let found = Path::<$id>::from_request_parts(parts, state).await;
                Ok(Self(found.map_err(|_| $fault)?.0))
            }
        }
    )+};
}

ids! {
    SessionPath(SessionId) or Fault::SessionNotFound;
    OperationPath(OperationId) or Fault::OperationNotFound;
    TokenPath(TokenId) or Fault::NotFound("token");
    CredentialPath(CredentialId) or Fault::NotFound("credential");
}

/// A share and its session, from a path.
#[derive(Debug, Clone, Copy)]
pub struct SharePath(pub SessionId, pub ShareId);

impl<S: Send + Sync> FromRequestParts<S> for SharePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<(String, String)>::from_request_parts(parts, state).await.ok();
        let Path((session, share)) = found.ok_or(Fault::SessionNotFound)?;
        let session = session.parse().map_err(|_| Fault::SessionNotFound)?;
        Ok(Self(session, share.parse().map_err(|_| Fault::NotFound("share"))?))
    }
}

/// A tenant's name from a path. One that is no tenant's form is no tenant.
#[derive(Debug, Clone)]
pub struct TenantPath(pub TenantId);

impl<S: Send + Sync> FromRequestParts<S> for TenantPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<String>::from_request_parts(parts, state).await.ok();
        let tenant = found.and_then(|Path(name)| TenantId::parse(&name).ok());
        Ok(Self(tenant.ok_or(Fault::NotFound("tenant"))?))
    }
}
