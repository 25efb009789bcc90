//! What a person is told to do next.

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, SecondsFormat, Utc};

/// The next step for the owner of a session in this state.
#[must_use]
pub fn next_step(id: SessionId, state: SessionState) -> String {
    use SessionState::*;
    match state {
        Requested | Provisioning | RepoSyncing | Installing => format!("wait, or follow it with alpine events {id}"),
        Ready => format!("run alpine down {id} when work is complete"),
        Failing | CleanupFailed => "nothing to do: the control plane is removing the sandbox".to_owned(),
        Failed => "run alpine up with a new client-request-id".to_owned(),
        Stopping | Persisting => format!("wait, or run alpine down {id} to follow it"),
        CloseFailed => format!("run alpine down {id} again"),
        PersistFailed | StoppedUnpersisted => format!("run alpine down {id} --retry-persist"),
        Stopped => "nothing to do: the session is stopped and its record is stored".to_owned(),
    }
}

/// The next step for the owner of a session that is stopped soon if nobody uses it.
#[must_use]
pub fn idling(id: SessionId, at: DateTime<Utc>) -> String {
    format!(
        "nobody uses it, and it is stopped at {}: run alpine open {id} or alpine extend {id} to keep it",
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    )
}

/// The next step for the owner of a session whose time is nearly up.
#[must_use]
pub fn expiring(id: SessionId, at: DateTime<Utc>) -> String {
    format!("it is stopped at {}: run alpine extend {id} to keep it for longer", at.to_rfc3339_opts(SecondsFormat::Secs, true))
}
