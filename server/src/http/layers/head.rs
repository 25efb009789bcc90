//! A request's line and headers are bounded, however it came: what HTTP/1 counts, HTTP/2 does not.

use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::Within;
use crate::http::ApiError;

const TARGET_MAX_BYTES: usize = 8 * 1024;
const HEADERS_MAX: usize = 100;

pub async fn head<N: Within>(request: Request, next: N) -> Response {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let refused = |status, cause: &str| ApiError::Malformed { status, cause: cause.to_owned() }.into_response();
    if target > TARGET_MAX_BYTES {
        return refused(StatusCode::URI_TOO_LONG, "the path and query are too long");
    }
    if request.headers().len() > HEADERS_MAX {
        return refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many headers");
    }
    next.run(request).await
}
