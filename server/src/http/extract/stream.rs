//! Whether a page or a stream is asked for (`Accept`), and from where on (`Last-Event-ID`).

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{KnownFormat, SchemaFormat, Type},
    },
};

use crate::http::ApiError;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The header as it is documented. By hand: the derive lets a header be null.
#[derive(Debug)]
pub struct LastEventId;

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let number = ObjectBuilder::new().schema_type(Type::Integer).format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
        let header = ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Of a stream: the `id` of the last message that came; it goes on after it. Counts before `after`"))
            .schema(Some(number.minimum(Some(0.0))))
            .example(Some(7.into()));
        vec![header.build()]
    }
}

/// What the caller takes: a stream where it says so, else JSON, whatever else it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantsStream(pub bool);

impl WantsStream {
    /// A stream must be wanted more than JSON is: by its weight, and with the same weight by how closely it is named.
    pub fn of(headers: &HeaderMap) -> Self {
        let (stream, json) = (liking(headers, "text", "event-stream"), liking(headers, "application", "json"));
        Self(stream.0 > 0 && stream > json)
    }
}

/// How much a media type is wanted: its weight in thousandths, and how closely it is named.
fn liking(headers: &HeaderMap, kind: &str, subtype: &str) -> (u16, u8) {
    let ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let of_range = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let closeness = match (main.eq_ignore_ascii_case(kind), sub.eq_ignore_ascii_case(subtype)) {
            (true, true) => 2,
            (true, false) if sub == "*" => 1,
            _ if main == "*" && sub == "*" => 0,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q")));
        Some((closeness, weight.map_or(1000, |(_, value)| thousandths(value.trim()))))
    };
    // The closest range is the one that counts.
    ranges.filter_map(of_range).max().map_or((0, 0), |(closeness, weight)| (weight, closeness))
}

/// RFC 9110: from 0 to 1 with at most three digits. What is not of that form is not wanted.
fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return 0;
    }
    let part: u16 = format!("{part:0<3}").parse().unwrap_or_default();
    if whole == "1" { 1000 } else { part }
}

impl<S: Send + Sync> FromRequestParts<S> for WantsStream {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// The number after which a stream goes on, if the header names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume(pub Option<i64>);

impl Resume {
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(LAST_EVENT_ID).into_iter();
        let number = |value: &axum::http::HeaderValue| {
            let text = value.to_str().ok()?;
            // Digits only: `parse` also takes a sign.
            text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
        };
        let after = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => number(value),
            (Some(_), Some(_)) => None,
        };
        let refused =
            || ApiError::malformed("Last-Event-ID must be the id of a message of this stream, once: a number that is not negative");
        after.map(|after| Self(Some(after))).ok_or_else(refused)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Resume {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn wants(accept: &[&'static str]) -> bool {
        WantsStream::of(&accept.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value))).collect()).0
    }

    #[test]
    fn a_stream_is_sent_to_those_who_want_it_more_than_json() {
        for accept in [
            &["text/event-stream"][..],
            &["Text/Event-Stream;q=0.1"],
            &["text/event-stream, */*"],
            &["text/event-stream", "*/*;q=0.1"],
            &["application/json;q=0.5, text/event-stream"],
            &["text/*"],
            &["text/event-stream; charset=utf-8; Q = 1.000"],
            &["application/json;q=0, */*"],
        ] {
            assert!(wants(accept), "{accept:?}");
        }
    }

    #[test]
    fn a_page_is_sent_to_all_others() {
        for accept in [
            &[][..],
            &["*/*"],
            &["application/json"],
            &["application/json, text/event-stream"],
            &["text/event-stream;q=0"],
            &["text/event-stream;q=0, */*"],
            &["text/event-stream;q=0.5, application/*"],
            &["text/event-stream;q=2"],
            &["text/event-stream;q=x"],
            &["text/event-stream;q=0.1234"],
            &["image/png"],
            &["text/html, */*;q=0.8"],
            &["event-stream"],
            &[""],
        ] {
            assert!(!wants(accept), "{accept:?}");
        }
    }

    #[test]
    fn a_stream_resumes_after_a_number_and_after_nothing_else() {
        let resume = |values: &[&'static str]| {
            Resume::of(&values.iter().map(|v| (LAST_EVENT_ID, HeaderValue::from_static(v))).collect()).ok().map(|resume| resume.0)
        };
        assert_eq!(resume(&[]), Some(None));
        assert_eq!(resume(&["0"]), Some(Some(0)));
        assert_eq!(resume(&["9223372036854775807"]), Some(Some(i64::MAX)));
        for bad in [&["-1"][..], &["+1"], &[""], &[" "], &["x"], &["1.0"], &["9223372036854775808"], &["1", "1"], &["1,2"]] {
            assert_eq!(resume(bad), None, "{bad:?}");
        }
    }
}
