//! A server that is about to go gets rid of its HTTP/1 connections one answer at a time: closed later, while nothing is said on
//! them, one could close just as its client sends. HTTP/2 has GOAWAY for that.

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, Version, header},
    response::Response,
};

use super::Within;
use crate::http::AppState;

pub async fn leave<N: Within>(State(state): State<AppState>, request: Request, next: N) -> Response {
    let version = request.version();
    let mut response = next.run(request).await;
    if version < Version::HTTP_2 && response.status() != StatusCode::SWITCHING_PROTOCOLS && state.leaving.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
