//! `Prefer: wait=N` (RFC 7240).

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    response::Response,
};
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::Type,
    },
};

use crate::http::AppState;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The header as it is documented. By hand: the derive lets a header be null.
#[derive(Debug)]
pub struct Prefer;

impl IntoParams for Prefer {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let prefer = ParameterBuilder::new()
            .name("Prefer")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("`wait=N`: hold the answer up to N seconds (at most 60)"))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .example(Some("wait=60".into()));
        vec![prefer.build()]
    }
}

/// How long the caller is willing to wait for an operation's end, cut to what the server allows.
/// A preference that is malformed is ignored, as preferences are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(Option<Duration>);

impl Wait {
    pub fn of(headers: &HeaderMap, max: Duration) -> Self {
        let preferences = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        let seconds = preferences.filter_map(|preference| preference.split(';').next()?.split_once('=')).find_map(|(name, value)| {
            let value = value.trim().trim_matches('"');
            // Digits only: `parse` also takes a sign.
            let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            // More than fits a number is more than the maximum.
            (name.trim().eq_ignore_ascii_case("wait") && digits).then(|| value.parse().unwrap_or(u64::MAX))
        });
        Self(seconds.map(|seconds| Duration::from_secs(seconds).min(max)))
    }

    /// Zero where nothing was asked for.
    pub fn duration(self) -> Duration {
        self.0.unwrap_or_default()
    }

    /// Tell the caller what was honoured.
    pub fn applied(self, mut response: Response) -> Response {
        if let Some(value) = self.0.and_then(|wait| HeaderValue::from_str(&format!("wait={}", wait.as_secs())).ok()) {
            response.headers_mut().insert(PREFERENCE_APPLIED, value);
        }
        response
    }
}

impl FromRequestParts<AppState> for Wait {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, state.settings.max_wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(values: &[&'static str]) -> Option<u64> {
        let headers = values.iter().map(|v| (PREFER, HeaderValue::from_static(v))).collect();
        Wait::of(&headers, Duration::from_secs(60)).0.map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_taken_from_among_other_preferences_and_cut_to_the_maximum() {
        for (values, expected) in [
            (&["wait=5"][..], Some(5)),
            (&["Wait = 5"], Some(5)),
            (&["respond-async, wait=7"], Some(7)),
            (&["return=minimal", "wait=8; x=y"], Some(8)),
            (&["wait=\"9\""], Some(9)),
            (&["wait=600"], Some(60)),
            (&["wait=99999999999999999999999"], Some(60)),
            (&["wait=0"], Some(0)),
            (&["wait=x, wait=3"], Some(3)),
        ] {
            assert_eq!(wait(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_malformed_wait_is_no_wait() {
        for value in ["wait", "wait=", "wait=-1", "wait=+1", "wait=1.5", "wait=1s", "await=5", "wait 5", ""] {
            assert_eq!(wait(&[value]), None, "{value}");
        }
    }
}
