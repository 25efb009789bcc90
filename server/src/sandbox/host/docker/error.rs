//! What Docker answers when it does not do what it is asked.

use bollard::errors::Error;

use crate::sandbox::ProviderError;

#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Call {
    what: String,
    #[source]
    error: Error,
}

impl Call {
    pub fn new(what: &str, error: Error) -> Self {
        Self { what: what.to_owned(), error }
    }

    fn status(&self) -> Option<u16> {
        match &self.error {
            Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
            _ => None,
        }
    }

    /// There is no such thing.
    pub fn is_absent(&self) -> bool {
        self.status() == Some(404)
    }

    /// The name is taken, or the container is not in the state that this needs.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// There is none, or it does not run.
    pub fn is_of_none(&self) -> bool {
        self.is_absent() || self.is_conflict()
    }
}

impl From<Call> for ProviderError {
    fn from(call: Call) -> Self {
        let what = format!("{}: {}", call.what, call.error);
        // What it does not understand it will not understand the next time.
        if call.status() == Some(400) { Self::Permanent { what, source: None } } else { Self::Transient { what, source: None } }
    }
}
