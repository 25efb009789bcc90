//! Why something is done, in the caller's words.

use super::ApiError;

const MAX_CHARS: usize = 500;

/// Without the space around it; a blank one is none.
pub(super) fn checked(reason: Option<String>) -> Result<Option<String>, ApiError> {
    // As it was sent, which is what the document bounds; control characters around it are space.
    let too_long = reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_CHARS);
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if too_long || reason.as_ref().is_some_and(|reason| reason.chars().any(char::is_control)) {
        return Err(ApiError::malformed("reason must be at most 500 characters, without control characters"));
    }
    Ok(reason)
}
