//! Why a phase did not get done.

use alpine_api::{ErrorCode, Failure};

use crate::{
    domain::{Fault, failure, record::RecordError},
    ledger::{self, SealError},
    sandbox::ProviderError,
};

#[derive(Debug, thiserror::Error)]
pub enum PhaseError {
    /// Worth another try.
    #[error("{step}: {cause}")]
    Transient { step: &'static str, cause: String, first: Option<&'static str> },
    /// Another try would end the same.
    #[error("{step}: {cause}")]
    Permanent { step: &'static str, cause: String, first: Option<&'static str> },
    /// Already the operation's failure, word for word.
    #[error("{}", .0.cause)]
    Failed(Failure),
    /// The record cannot be stored as it stands.
    #[error("persist: {cause}")]
    Unstorable { code: ErrorCode, cause: String },
    #[error(transparent)]
    Ledger(ledger::Error),
}

impl PhaseError {
    pub fn permanent(step: &'static str, cause: impl Into<String>) -> Self {
        Self::Permanent { step, cause: cause.into(), first: None }
    }

    pub fn transient(step: &'static str, cause: impl Into<String>) -> Self {
        Self::Transient { step, cause: cause.into(), first: None }
    }

    /// What the caller had better do before the next try.
    #[must_use]
    pub fn first(mut self, what: &'static str) -> Self {
        if let Self::Transient { first, .. } | Self::Permanent { first, .. } = &mut self {
            *first = Some(what);
        }
        self
    }

    #[must_use]
    pub fn provider(step: &'static str, error: ProviderError) -> Self {
        match error {
            ProviderError::Transient { what, source } => Self::transient(step, with_source(what, source.as_ref())),
            ProviderError::Permanent { what, source } => Self::permanent(step, with_source(what, source.as_ref())),
            ProviderError::Gone => Self::permanent(step, "the sandbox is gone"),
            ProviderError::Fenced => Self::Ledger(ledger::Error::Fenced),
        }
    }

    /// Nobody may write any more: the lease is lost, and the phase is another's.
    #[must_use]
    pub const fn is_fenced(&self) -> bool {
        matches!(self, Self::Ledger(ledger::Error::Fenced))
    }

    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Transient { .. } => true,
            Self::Ledger(error) => error.is_passing() || matches!(error, ledger::Error::Database(_)),
            Self::Permanent { .. } | Self::Failed(_) | Self::Unstorable { .. } => false,
        }
    }

    /// As the failure of an `up`. The ledger's own faults stay in the log.
    #[must_use]
    pub fn up_failure(&self) -> Failure {
        match self {
            Self::Transient { step, cause, first: Some(first) } | Self::Permanent { step, cause, first: Some(first) } => {
                failure::after(first, failure::step(step, cause))
            }
            Self::Transient { step, cause, first: None } | Self::Permanent { step, cause, first: None } => failure::step(step, cause),
            Self::Failed(failure) => failure.clone(),
            Self::Unstorable { cause, .. } => failure::step("persist", cause),
            Self::Ledger(_) => failure::step("ledger", "the control plane could not record a step"),
        }
    }

    /// What went wrong, for a person, without what only operators may see.
    #[must_use]
    pub fn public_cause(&self) -> String {
        match self {
            Self::Transient { cause, .. } | Self::Permanent { cause, .. } | Self::Unstorable { cause, .. } => cause.clone(),
            Self::Failed(failure) => failure.cause.clone(),
            Self::Ledger(_) => "the control plane's store did not take it".to_owned(),
        }
    }
}

fn with_source(what: String, source: Option<&std::io::Error>) -> String {
    match source {
        Some(source) => format!("{what}: {source}"),
        None => what,
    }
}

impl From<ledger::Error> for PhaseError {
    fn from(error: ledger::Error) -> Self {
        match error {
            ledger::Error::Record(RecordError::TooLarge { .. }) => {
                Self::Unstorable { code: ErrorCode::PersistPayloadTooLarge, cause: error.to_string() }
            }
            ledger::Error::RecordDiffers | ledger::Error::Record(RecordError::Encode(_)) => {
                Self::Unstorable { code: ErrorCode::PersistenceVerificationFailed, cause: error.to_string() }
            }
            ledger::Error::Fault(fault @ (Fault::RepoAuthMissing | Fault::DeployKeyMissing)) => {
                Self::Failed(failure::credential_gone(&fault))
            }
            // A replica that has the key already may take it up next.
            ledger::Error::Seal(error @ SealError::UnknownKey { .. }) => Self::transient("credentials", error.to_string()),
            ledger::Error::Seal(error) => Self::permanent("credentials", error.to_string()),
            ledger::Error::Fault(Fault::IllegalTransition { .. }) => Self::permanent("ledger", error.to_string()),
            other => Self::Ledger(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_knows_a_newer_worker_ends_the_job_like_a_lost_lease() {
        let error = PhaseError::provider("sync", ProviderError::Fenced);
        assert!(error.is_fenced() && !error.is_transient());
        assert!(!PhaseError::provider("sync", ProviderError::Gone).is_fenced());
    }
}
