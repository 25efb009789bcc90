//! Why something is done, in the caller's words.

use super::ApiError;

const MAX_CHARS: usize = 500;

/// Without the space around it; a blank one is none.
pub(super) fn checked(reason: Option<String>) -> Result<Option<String>, ApiError> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    match reason {
        Some(reason) if reason.chars().count() > MAX_CHARS || reason.chars().any(char::is_control) => {
            Err(ApiError::malformed("reason must be at most 500 characters, without control characters"))
        }
        reason => Ok(reason),
    }
}
