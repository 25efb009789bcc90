//! What a `down` comes to, in each state. Pure, so that the whole table is tested without a database.

use alpine_api::{OperationId, OperationKind, OperationStatus, SessionState};

use crate::domain::{Fault, operation::Phase};

/// An operation of the session, as far as the decision needs it.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub id: OperationId,
    pub kind: OperationKind,
    pub status: OperationStatus,
}

/// The session as the transaction sees it, its lease locked.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    pub state: SessionState,
    pub persist_attempt: i32,
    /// The one operation that has not ended, if there is one.
    pub live: Option<Known>,
    /// The latest `down`.
    pub last_down: Option<Known>,
    /// The latest operation of any kind.
    pub latest: OperationId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The same operation again, under way or done.
    Same(OperationId),
    /// A new operation.
    Begin {
        /// The live operation that it ends.
        cancel: Option<OperationId>,
        /// The state that the session goes to in the same commit, unless it is there already.
        to: Option<SessionState>,
        phase: Phase,
        persist_attempt: i32,
    },
}

pub fn decide(now: &Situation, retry_persist: bool) -> Result<Decision, Fault> {
    use SessionState::*;
    if let Some(live) = now.live.filter(|op| op.kind == OperationKind::Down) {
        return Ok(Decision::Same(live.id));
    }
    let cancel = now.live.map(|op| op.id);
    let begin = |to: Option<SessionState>, phase: Phase| Ok(Decision::Begin { cancel, to, phase, persist_attempt: now.persist_attempt });
    match now.state {
        Requested | Provisioning | RepoSyncing | Installing | CleanupFailed => begin(Some(Failing), Phase::Cleanup),
        Failing => begin(None, Phase::Cleanup),
        Ready | CloseFailed => begin(Some(Stopping), Phase::Stop),
        // Without a live operation these are interrupted; a new one carries on.
        Stopping => begin(None, Phase::Stop),
        Persisting => begin(None, Phase::Persist),
        PersistFailed | StoppedUnpersisted if retry_persist => {
            Ok(Decision::Begin { cancel, to: Some(Persisting), phase: Phase::Persist, persist_attempt: now.persist_attempt + 1 })
        }
        PersistFailed | StoppedUnpersisted => Err(Fault::NotPersisted { operation: now.last_down.map(|op| op.id) }),
        Stopped => Ok(Decision::Same(now.last_down.map_or(now.latest, |op| op.id))),
        Failed => Err(Fault::AlreadyFailed { operation: now.latest }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle;

    fn known(kind: OperationKind, status: OperationStatus) -> Known {
        Known { id: OperationId::generate(), kind, status }
    }

    fn situation(state: SessionState) -> Situation {
        Situation { state, persist_attempt: 1, live: None, last_down: None, latest: OperationId::generate() }
    }

    #[test]
    fn down_is_accepted_in_every_state_that_is_not_final() {
        for state in SessionState::ALL.iter().copied().filter(|s| !lifecycle::is_final(*s)) {
            let Ok(Decision::Begin { to, phase, .. }) = decide(&situation(state), true) else { panic!("refused in {state}") };
            let after = to.unwrap_or(state);
            assert!(to.is_none() || lifecycle::allowed(Some(state), after), "{state} to {after}");
            assert_eq!(phase.state(), after);
        }
    }

    #[test]
    fn down_during_up_ends_it() {
        let up = known(OperationKind::Up, OperationStatus::Running);
        let now = Situation { live: Some(up), ..situation(SessionState::Installing) };
        let Ok(Decision::Begin { cancel, .. }) = decide(&now, false) else { panic!() };
        assert_eq!(cancel, Some(up.id));
    }

    #[test]
    fn a_second_down_is_the_first() {
        let down = known(OperationKind::Down, OperationStatus::Running);
        for state in [SessionState::Stopping, SessionState::Persisting, SessionState::Failing] {
            let now = Situation { live: Some(down), ..situation(state) };
            assert_eq!(decide(&now, false), Ok(Decision::Same(down.id)));
        }
        let done = known(OperationKind::Down, OperationStatus::Succeeded);
        let now = Situation { last_down: Some(done), ..situation(SessionState::Stopped) };
        assert_eq!(decide(&now, true), Ok(Decision::Same(done.id)));
    }

    #[test]
    fn an_unpersisted_session_waits_for_an_explicit_retry_and_only_that_raises_the_attempt() {
        for state in [SessionState::PersistFailed, SessionState::StoppedUnpersisted] {
            assert!(matches!(decide(&situation(state), false), Err(Fault::NotPersisted { .. })));
            let Ok(Decision::Begin { persist_attempt, .. }) = decide(&situation(state), true) else { panic!() };
            assert_eq!(persist_attempt, 2);
        }
        let Ok(Decision::Begin { persist_attempt, .. }) = decide(&situation(SessionState::Ready), true) else { panic!() };
        assert_eq!(persist_attempt, 1);
    }

    #[test]
    fn a_failed_session_has_nothing_to_stop() {
        assert!(matches!(decide(&situation(SessionState::Failed), true), Err(Fault::AlreadyFailed { .. })));
    }
}
