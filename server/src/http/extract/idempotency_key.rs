//! The header that names an `up`.

use alpine_api::IDEMPOTENCY_KEY;
use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{domain::idempotency::IdempotencyKey, http::ApiError};

#[derive(Debug, Clone)]
pub struct Key(pub IdempotencyKey);

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(ApiError::malformed("exactly one Idempotency-Key header is required"));
        };
        let key = IdempotencyKey::parse(value.to_str().unwrap_or_default()).map_err(|bad| ApiError::malformed(bad.to_string()))?;
        Ok(Self(key))
    }
}
