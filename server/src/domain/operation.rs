//! Phases: what a worker does of an operation between two commits.

use std::{fmt, str::FromStr, time::Duration};

use alpine_api::{OperationKind, SessionState};

macro_rules! phases {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $state:ident since $schema:literal;)*) => {
        /// One step of an operation. It is idempotent: after a crash it runs again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Phase {
            $($(#[$doc])* $variant,)*
        }

        impl Phase {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The state that a session is in while this phase runs.
            #[must_use]
            pub const fn state(self) -> SessionState {
                match self { $(Self::$variant => SessionState::$state,)* }
            }

            /// The number of the set of phases that this one came with.
            #[must_use]
            pub const fn schema(self) -> i16 {
                match self { $(Self::$variant => $schema,)* }
            }
        }

        impl FromStr for Phase {
            type Err = UnknownPhase;

            fn from_str(text: &str) -> Result<Self, UnknownPhase> {
                match text { $($name => Ok(Self::$variant),)* _ => Err(UnknownPhase(text.to_owned())) }
            }
        }
    };
}

/// A phase that this version does not know: a newer one wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown phase `{0}`")]
pub struct UnknownPhase(String);

phases! {
    /// Find the branch's commit and pin it.
    Resolve = "resolve" in Provisioning since 1;
    /// Make the sandbox.
    Provision = "provision" in Provisioning since 1;
    /// Clone at the pinned commit.
    Sync = "sync" in RepoSyncing since 1;
    /// Install the dependencies.
    Install = "install" in Installing since 1;
    /// Start the web app and prove the session ready.
    Start = "start" in Installing since 1;
    /// Remove whatever a failed session left.
    Cleanup = "cleanup" in Failing since 1;
    /// Stop the sandbox gracefully.
    Stop = "stop" in Stopping since 1;
    /// Store the record and verify it.
    Persist = "persist" in Persisting since 1;
    /// Remove the sandbox and confirm that it is gone.
    Destroy = "destroy" in Persisting since 1;
}

impl Phase {
    /// What follows when this phase succeeds; `None` when the operation is then done.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Resolve => Some(Self::Provision),
            Self::Provision => Some(Self::Sync),
            Self::Sync => Some(Self::Install),
            Self::Install => Some(Self::Start),
            Self::Stop => Some(Self::Persist),
            Self::Persist => Some(Self::Destroy),
            Self::Start | Self::Cleanup | Self::Destroy => None,
        }
    }

    /// Where an operation goes on whose own phase nobody knows: what is begun is ended, in a way that every
    /// version can. `None`: nothing works on a session in that state.
    #[must_use]
    pub const fn that_ends(state: SessionState) -> Option<Self> {
        use SessionState as S;
        match state {
            S::Requested | S::Provisioning | S::RepoSyncing | S::Installing | S::Failing => Some(Self::Cleanup),
            S::Stopping => Some(Self::Stop),
            S::Persisting => Some(Self::Persist),
            S::Ready | S::Failed | S::CleanupFailed | S::CloseFailed | S::PersistFailed | S::StoppedUnpersisted | S::Stopped => None,
        }
    }

    /// The session's state once the operation has ended well with this phase.
    #[must_use]
    pub const fn outcome(self) -> SessionState {
        match self {
            Self::Cleanup => SessionState::Failed,
            Self::Stop | Self::Persist | Self::Destroy => SessionState::Stopped,
            Self::Resolve | Self::Provision | Self::Sync | Self::Install | Self::Start => SessionState::Ready,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which phases a program knows. They are numbered by sets: a phase that is new, or that means something else than before, comes
/// with the next number. An operation carries the highest number of the phases it was in, and a worker that does not know that
/// many leaves it to one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseSchema(i16);

impl PhaseSchema {
    /// This program's. 2: sandboxes have sizes of their own, which workers of before would make like all others.
    pub const CURRENT: Self = Self(2);
    const SIZES: i16 = 2;

    /// A later program's: for tests of what an earlier one does with its operations.
    #[must_use]
    pub const fn later(number: i16) -> Self {
        if number > Self::CURRENT.0 { Self(number) } else { Self::CURRENT }
    }

    /// The highest number that is known.
    #[must_use]
    pub const fn known(self) -> i16 {
        self.0
    }

    /// What a new `up` carries.
    #[must_use]
    pub const fn of_up(self, sized: bool) -> i16 {
        let phase = self.of(Phase::Resolve);
        if sized && phase < Self::SIZES { Self::SIZES } else { phase }
    }

    /// What an operation in this phase carries. A later program's phases stand for new ones, all of them.
    #[must_use]
    pub const fn of(self, phase: Phase) -> i16 {
        if self.0 > Self::CURRENT.0 { self.0 } else { phase.schema() }
    }
}

/// How long things may take, and how often a phase is tried.
#[derive(Debug, Clone)]
pub struct Deadlines {
    pub provision: Duration,
    pub sync: Duration,
    pub install: Duration,
    pub persist: Duration,
    pub up: Duration,
    pub down: Duration,
    /// Between the polite signal and the kill.
    pub stop_grace: Duration,
    pub tries: i32,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            provision: Duration::from_secs(90),
            sync: Duration::from_secs(5 * 60),
            install: Duration::from_secs(10 * 60),
            persist: Duration::from_secs(60),
            up: Duration::from_secs(12 * 60),
            down: Duration::from_secs(3 * 60),
            stop_grace: Duration::from_secs(30),
            tries: 3,
        }
    }
}

impl Deadlines {
    #[must_use]
    pub const fn of(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Resolve | Phase::Provision | Phase::Start => self.provision,
            Phase::Sync => self.sync,
            Phase::Install => self.install,
            Phase::Persist => self.persist,
            Phase::Stop | Phase::Cleanup | Phase::Destroy => self.down,
        }
    }

    /// The whole operation's.
    #[must_use]
    pub const fn of_operation(&self, kind: OperationKind) -> Duration {
        match kind {
            OperationKind::Up => self.up,
            OperationKind::Down | OperationKind::Cleanup => self.down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lifecycle;

    #[test]
    fn phases_only_move_along_the_transition_table() {
        for phase in Phase::ALL {
            let to = phase.next().map_or(phase.outcome(), Phase::state);
            assert!(to == phase.state() || lifecycle::allowed(Some(phase.state()), to), "{phase} leads to {to}");
            assert_eq!(phase.as_str().parse(), Ok(*phase));
        }
    }

    #[test]
    fn every_phase_is_of_a_set_that_this_program_knows_and_the_newest_is_the_programs() {
        assert!(Phase::ALL.iter().all(|phase| phase.schema() <= PhaseSchema::CURRENT.known()));
        assert_eq!([false, true].map(|sized| PhaseSchema::CURRENT.of_up(sized)), [1, PhaseSchema::CURRENT.known()]);
        assert_eq!(PhaseSchema::later(7).of_up(true), 7);
        let later = PhaseSchema::later(7);
        assert!(
            Phase::ALL
                .iter()
                .all(|phase| phase.schema() >= 1 && later.of(*phase) == 7 && PhaseSchema::CURRENT.of(*phase) == phase.schema())
        );
    }

    #[test]
    fn what_nobody_knows_is_ended_along_the_transition_table_from_every_state_that_is_worked_on() {
        for state in SessionState::ALL.iter().copied() {
            let worked_on = state == SessionState::Requested || Phase::ALL.iter().any(|phase| phase.state() == state);
            let ends = Phase::that_ends(state);
            assert_eq!(ends.is_some(), worked_on, "{state}");
            assert!(ends.is_none_or(|phase| phase.state() == state || lifecycle::allowed(Some(state), phase.state())), "{state}");
        }
    }
}
