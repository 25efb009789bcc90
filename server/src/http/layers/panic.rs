//! A panic in a handler is one caller's internal error and nobody else's.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;

use super::Within;
use crate::http::ApiError;

/// The payload is left alone: it may hold anything. The panic hook has written where it happened.
pub async fn caught<N: Within + Send>(request: Request, next: N) -> Response {
    let answered = AssertUnwindSafe(async { next.run(request).await }).catch_unwind().await;
    answered.unwrap_or_else(|_payload| ApiError::Panicked.into_response())
}
