//! A panic in a handler is one caller's internal error and nobody else's.

use std::any::Any;

use axum::response::{IntoResponse, Response};

use crate::http::ApiError;

/// The payload is left alone: it may hold anything. The panic hook has written where it happened.
pub fn panicked(_payload: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Panicked.into_response()
}
