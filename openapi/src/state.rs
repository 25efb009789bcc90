//! The names of the states. Which may follow which is the server's `domain::lifecycle`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $wire:literal,)*) => {
        /// Where a session is in its life.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum SessionState {
            $($(#[$doc])* $variant,)*
        }

        impl SessionState {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }
        }

        impl FromStr for SessionState {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text { $($wire => Ok(Self::$variant),)* _ => Err(UnknownState) }
            }
        }
    };
}

/// A name that is no state's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such session state")]
pub struct UnknownState;

states! {
    /// Accepted, not yet begun.
    Requested = "requested",
    /// The branch's commit is being resolved and the sandbox made.
    Provisioning = "provisioning",
    /// The repository is being cloned at the pinned commit.
    RepoSyncing = "repo_syncing",
    /// Dependencies are being installed and the web app started.
    Installing = "installing",
    /// Verified ready for development.
    Ready = "ready",
    /// Being cleaned up after a failure.
    Failing = "failing",
    /// Failed, nothing left behind. Final.
    Failed = "failed",
    /// Failed, and the clean-up has not succeeded yet.
    CleanupFailed = "cleanup_failed",
    /// Being stopped.
    Stopping = "stopping",
    /// The sandbox did not stop.
    CloseFailed = "close_failed",
    /// The record is being stored and verified.
    Persisting = "persisting",
    /// The record cannot be stored as it stands.
    PersistFailed = "persist_failed",
    /// Stopped, and the record could not be stored now.
    StoppedUnpersisted = "stopped_unpersisted",
    /// Stopped, its record stored and verified. Final.
    Stopped = "stopped",
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fourteen_states_and_each_reads_back() {
        assert_eq!(SessionState::ALL.len(), 14);
        for state in SessionState::ALL {
            assert_eq!(state.as_str().parse(), Ok(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
