//! Commands of the predecessor, which say by what they were replaced, whatever follows them.

use crate::error::CliError;

/// The answer to an old command's name; none for any other name.
pub fn error(name: &str) -> Option<CliError> {
    let (old, new) = match name {
        "create" => ("create", "alpine up <git-repo> --branch <b>"),
        "teardown" => ("teardown", "alpine down <session-id>"),
        _ => return None,
    };
    Some(CliError::Replaced { old, new })
}
