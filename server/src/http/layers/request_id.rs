//! A request's id: the caller's, if it is fit for logs and headers, else a new one. Beside it, which version answers: a
//! client that does not understand an answer can say so.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};
use uuid::Uuid;

use super::Within;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-alpine-version");

#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    fn of(headers: &HeaderMap) -> Self {
        let sane = |value: &&HeaderValue| {
            (1..=64).contains(&value.len()) && value.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b))
        };
        let new = || HeaderValue::from_str(&Uuid::now_v7().simple().to_string()).unwrap_or(HeaderValue::from_static("none"));
        Self(headers.get(HEADER).filter(sane).cloned().unwrap_or_else(new))
    }
}

pub async fn request_id<N: Within>(mut request: Request, next: N) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, id.0);
    response.headers_mut().insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    response
}
