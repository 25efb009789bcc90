//! How long a session may be ready, within what anybody may ask of any server.

use alpine_api::LIFETIME_SECONDS;

use super::ApiError;

pub(super) fn lifetime(asked: Option<i32>) -> Result<Option<i32>, ApiError> {
    checked("a lifetime", asked)
}

pub(super) fn idle(asked: Option<i32>) -> Result<Option<i32>, ApiError> {
    checked("an idle timeout", asked)
}

fn checked(what: &str, asked: Option<i32>) -> Result<Option<i32>, ApiError> {
    match asked {
        Some(seconds) if !LIFETIME_SECONDS.contains(&seconds) => {
            let (least, most) = (LIFETIME_SECONDS.start(), LIFETIME_SECONDS.end());
            Err(ApiError::value(format!("{what} is from {least} to {most} seconds")))
        }
        asked => Ok(asked),
    }
}
