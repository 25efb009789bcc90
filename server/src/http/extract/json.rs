//! JSON bodies.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_TYPE},
    },
};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::lent::Lent;
use crate::http::{ApiError, AppState, limits::Ticket};

/// A body that is JSON, of exactly this form.
#[derive(Debug, Clone, Copy)]
pub struct ApiJson<T>(pub T);

/// The same; a body that is not there is the default. So is `null`: what some generated clients send for it.
#[derive(Debug, Clone, Copy)]
pub struct ApiJsonOrDefault<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let typed = is_json(request.headers());
        let body = read(request, state).await?;
        if typed { parse(&body).map(Self) } else { Err(not_json()) }
    }
}

impl<T: DeserializeOwned + Default> FromRequest<AppState> for ApiJsonOrDefault<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let typed = is_json(request.headers());
        let body = read(request, state).await?;
        match (body.is_empty(), typed) {
            (true, _) => Ok(Self(T::default())),
            (false, true) if body.trim_ascii() == b"null" => Ok(Self(T::default())),
            (false, true) => parse(&body).map(Self),
            (false, false) => Err(not_json()),
        }
    }
}

/// The whole body, within its size and its time. One that is packed is not unpacked: it may be a bomb.
async fn read(mut request: Request, state: &AppState) -> Result<Bytes, ApiError> {
    let plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if !request.headers().get_all(CONTENT_ENCODING).iter().all(|coding| plain(coding.as_bytes())) {
        let cause = "the body must come as it is, without a Content-Encoding".to_owned();
        return Err(ApiError::Malformed { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, cause });
    }
    let ticket = Ticket::of(request.extensions_mut());
    let body = tokio::time::timeout(state.settings.body_timeout, within_its_size(request, state));
    let read = state.limits.while_sending(&ticket, body).await?.map_err(|_| ApiError::SlowBody)?;
    read.map_err(|rejection| {
        let status = rejection.status();
        let cause = if status == StatusCode::PAYLOAD_TOO_LARGE { "the body is too large" } else { "the body could not be read" };
        ApiError::Malformed { status, cause: cause.to_owned() }
    })
}

/// Of one that is too large the rest is read out, so that its sender comes to hear so.
async fn within_its_size(request: Request, state: &AppState) -> Result<Bytes, BytesRejection> {
    let (head, body) = request.into_parts();
    let body = Lent::new(body);
    let read = Bytes::from_request(Request::from_parts(head, Body::new(body.clone())), state).await;
    if read.as_ref().is_err_and(|rejection| rejection.status() == StatusCode::PAYLOAD_TOO_LARGE) {
        body.read_out().await;
    }
    read
}

fn not_json() -> ApiError {
    ApiError::Malformed { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, cause: "the body must be application/json".into() }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Only objects: serde would read a list as a structure too, field by field.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let object = body.trim_ascii_start().first() == Some(&b'{');
    if !object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        let cause = "the body must be a JSON object".to_owned();
        return Err(ApiError::Malformed { status: StatusCode::UNPROCESSABLE_ENTITY, cause });
    }
    serde_json::from_slice(body).map_err(|error| {
        let (status, what) = if error.is_data() {
            (StatusCode::UNPROCESSABLE_ENTITY, public(&error.to_string()))
        } else {
            (StatusCode::BAD_REQUEST, "the body is not JSON".to_owned())
        };
        ApiError::Malformed { status, cause: format!("{what} (line {}, column {})", error.line(), error.column()) }
    })
}

/// The parser's message without what was sent: that may be a credential in the wrong place.
fn public(message: &str) -> String {
    let named = |prefix: &str| {
        let name = message.strip_prefix(prefix)?.split('`').next()?;
        let word = (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        Some(if word { format!("{prefix}{name}`") } else { prefix.trim_end_matches([' ', '`']).to_owned() })
    };
    let expected = || {
        let (_, expected) = message.rsplit_once(", expected ")?;
        Some(format!("wrong type or value: expected {}", expected.split(" at line ").next()?))
    };
    named("unknown field `")
        .or_else(|| named("missing field `"))
        .or_else(|| named("duplicate field `"))
        .or_else(expected)
        .unwrap_or_else(|| "the body is not of its form".to_owned())
}

#[cfg(test)]
mod tests {
    use alpine_api::UpSession;

    use super::*;

    fn cause(body: &str) -> (u16, String) {
        match parse::<UpSession>(body.as_bytes()) {
            Err(ApiError::Malformed { status, cause }) => (status.as_u16(), cause),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_cause_names_the_fault_and_never_repeats_a_value() {
        for (body, status, said) in [
            ("", 400, "the body is not JSON"),
            ("{", 400, "the body is not JSON"),
            (r#"{"repo_url":"s3cr3t"#, 400, "the body is not JSON"),
            (r#"{"repo_url":"x"} s3cr3t"#, 400, "the body is not JSON"),
            (r#""https://user:s3cr3t@host/x""#, 422, "the body must be a JSON object"),
            (r#"["s3cr3t", 5]"#, 422, "the body must be a JSON object"),
            (r#"{"repo_url":"x","public":"s3cr3t"}"#, 422, "wrong type or value: expected a boolean"),
            (r#"{"repo_url":"x","public":", expected s3cr3t"}"#, 422, "wrong type or value: expected a boolean"),
            (r#"{"branch":"main"}"#, 422, "missing field `repo_url`"),
            (r#"{"repo_url":"x","tokne":"s3cr3t"}"#, 422, "unknown field `tokne`"),
            (r#"{"https://u:s3cr3t@h":"x"}"#, 422, "unknown field"),
            (r#"{"repo_url":"x","repo_url":"s3cr3t"}"#, 422, "duplicate field `repo_url`"),
        ] {
            let (got, cause) = cause(body);
            assert_eq!((got, cause.split(" (line").next().unwrap()), (status, said), "{body}");
            assert!(!cause.contains("s3cr3t"), "{cause}");
        }
    }
}
