//! THE transition table. The database's check, the docs' diagram and the tests are derived from it.

use alpine_api::SessionState::{self, *};

/// Each state and those that may follow it.
pub const TRANSITIONS: &[(SessionState, &[SessionState])] = &[
    (Requested, &[Provisioning, Failing]),
    (Provisioning, &[RepoSyncing, Failing]),
    (RepoSyncing, &[Installing, Failing]),
    (Installing, &[Ready, Failing]),
    (Ready, &[Stopping, Failing]),
    (Failing, &[Failed, CleanupFailed]),
    (Failed, &[]),
    (CleanupFailed, &[Failing]),
    (Stopping, &[Persisting, StoppedUnpersisted, CloseFailed]),
    (CloseFailed, &[Stopping]),
    (Persisting, &[Stopped, PersistFailed, StoppedUnpersisted]),
    (PersistFailed, &[Persisting]),
    (StoppedUnpersisted, &[Persisting]),
    (Stopped, &[]),
];

/// The states that may follow `from`.
#[must_use]
pub fn successors(from: SessionState) -> &'static [SessionState] {
    TRANSITIONS.iter().find(|(state, _)| *state == from).map_or(&[], |(_, next)| next)
}

/// Whether a session may go from `from` to `to`; `None` is before its first state.
#[must_use]
pub fn allowed(from: Option<SessionState>, to: SessionState) -> bool {
    match from {
        None => to == Requested,
        Some(from) => successors(from).contains(&to),
    }
}

/// Nothing follows a final state.
#[must_use]
pub fn is_final(state: SessionState) -> bool {
    successors(state).is_empty()
}

/// The table as a Mermaid state diagram, as it stands in docs/lifecycle.md.
#[must_use]
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> requested\n");
    for (from, next) in TRANSITIONS {
        for to in *next {
            text.push_str(&format!("    {from} --> {to}\n"));
        }
        if next.is_empty() {
            text.push_str(&format!("    {from} --> [*]\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_in_the_table_once() {
        for state in SessionState::ALL {
            assert_eq!(TRANSITIONS.iter().filter(|(from, _)| from == state).count(), 1, "{state}");
        }
        assert_eq!(TRANSITIONS.len(), SessionState::ALL.len());
    }

    #[test]
    fn only_stopped_and_failed_are_final() {
        let finals: Vec<_> = SessionState::ALL.iter().copied().filter(|s| is_final(*s)).collect();
        assert_eq!(finals, [Failed, Stopped]);
    }

    #[test]
    fn every_state_is_reached_and_leads_to_an_end() {
        for state in SessionState::ALL {
            let reached = *state == Requested || TRANSITIONS.iter().any(|(_, next)| next.contains(state));
            assert!(reached, "{state} is never reached");
            let mut seen = vec![*state];
            let mut at = 0;
            while at < seen.len() {
                seen.extend(successors(seen[at]).iter().filter(|s| !seen.contains(s)).copied().collect::<Vec<_>>());
                at += 1;
            }
            assert!(seen.iter().any(|s| is_final(*s)), "{state} is a trap");
        }
    }

    #[test]
    fn a_session_begins_as_requested_only() {
        for state in SessionState::ALL {
            assert_eq!(allowed(None, *state), *state == Requested);
        }
    }

    #[test]
    fn the_lifecycle_page_shows_this_table() {
        let page = include_str!("../../../docs/lifecycle.md");
        assert!(page.contains(&diagram()), "put this into docs/lifecycle.md:\n{}", diagram());
    }
}
