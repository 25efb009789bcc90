//! What is written when a phase is done, fails or is too late. Pure.

use std::time::Duration;

use alpine_api::{ErrorCode, Failure, OperationKind, OperationStatus, SessionState};

use crate::{
    domain::{
        failure,
        operation::{Deadlines, Phase},
    },
    ledger::{End, Findings, Job, Step},
    lifecycle::{Done, PhaseError},
};

const FIRST_SWEEP: Duration = Duration::from_secs(15);

/// What the phase has left: its own deadline's rest, and no more than the operation's. A clean-up has a
/// time of its own, since it begins when an operation's is over.
pub fn budget(job: &Job, deadlines: &Deadlines) -> Duration {
    let phase = deadlines.of(job.phase).saturating_sub(job.phase_age());
    if job.phase == Phase::Cleanup { phase } else { phase.min(job.remaining()) }
}

/// Exponential backoff with full jitter.
pub fn backoff(tries: i32) -> Duration {
    let ceiling = 500_u64 << tries.clamp(0, 6);
    Duration::from_millis(fastrand::u64(50..=ceiling))
}

pub fn after(job: &Job, done: Done) -> Step {
    let next = job.phase.next();
    let to = next.map_or(job.phase.outcome(), Phase::state);
    // An `up` that was cleaned up has failed; a `down` or clean-up that did so has done its work.
    let status =
        if job.kind == OperationKind::Up && job.phase == Phase::Cleanup { OperationStatus::Failed } else { OperationStatus::Succeeded };
    Step {
        to,
        reason: shown(&done.reason),
        phase: next.unwrap_or(job.phase),
        findings: done.findings,
        failure: None,
        end: next.is_none().then_some(End { status }),
        at: done.at,
        sweep_after: None,
    }
}

pub fn failed(job: &Job, error: &PhaseError) -> Step {
    let cause = error.public_cause();
    match job.phase {
        Phase::Resolve | Phase::Provision | Phase::Sync | Phase::Install | Phase::Start => clean_up(error.up_failure()),
        Phase::Cleanup => uncleaned(job, failure::not_cleaned(&cause)),
        Phase::Stop => unstopped(failure::not_stopped(&cause)),
        Phase::Persist => match error {
            PhaseError::Unstorable { code, .. } => {
                ended(SessionState::PersistFailed, Phase::Persist, failure::not_persisted(*code, Phase::Persist.as_str(), &cause))
            }
            _ => unpersisted(job.phase, &cause),
        },
        Phase::Destroy => unpersisted(job.phase, &cause),
    }
}

pub fn too_late(job: &Job, deadlines: &Deadlines) -> Step {
    let whole = job.phase != Phase::Cleanup && job.remaining() <= deadlines.of(job.phase).saturating_sub(job.phase_age());
    let (what, limit) =
        if whole { (job.kind.as_str(), deadlines.of_operation(job.kind)) } else { (job.phase.as_str(), deadlines.of(job.phase)) };
    let failure = failure::deadline(what, limit.as_secs());
    match job.phase {
        Phase::Resolve | Phase::Provision | Phase::Sync | Phase::Install | Phase::Start => clean_up(failure),
        Phase::Cleanup => uncleaned(job, failure),
        Phase::Stop => unstopped(Failure { next_step: "run alpine down <session-id> again".into(), ..failure }),
        Phase::Persist | Phase::Destroy => unpersisted(job.phase, &failure.cause),
    }
}

/// The operation has failed and goes on with removing what it made.
fn clean_up(failure: Failure) -> Step {
    Step { end: None, ..ended(SessionState::Failing, Phase::Cleanup, failure) }
}

fn uncleaned(job: &Job, failure: Failure) -> Step {
    let reason = shown(&failure.cause);
    // The operation's own error stays the one that it is known by.
    let failure = job.failure.clone().unwrap_or(failure);
    Step { reason, sweep_after: Some(FIRST_SWEEP), ..ended(SessionState::CleanupFailed, Phase::Cleanup, failure) }
}

fn unstopped(failure: Failure) -> Step {
    Step { sweep_after: Some(FIRST_SWEEP), ..ended(SessionState::CloseFailed, Phase::Stop, failure) }
}

fn unpersisted(phase: Phase, cause: &str) -> Step {
    let failure = failure::not_persisted(ErrorCode::PersistenceVerificationFailed, phase.as_str(), cause);
    ended(SessionState::StoppedUnpersisted, phase, failure)
}

/// Fit to be stored and shown: within bounds, and without control characters, which PostgreSQL refuses.
fn shown(text: &str) -> String {
    const LIMIT: usize = 1_000;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LIMIT).collect()
}

fn ended(to: SessionState, phase: Phase, failure: Failure) -> Step {
    // A cause may quote what a repository or its programs wrote.
    let failure = Failure { cause: shown(&failure.cause), ..failure };
    Step {
        to,
        reason: failure.cause.clone(),
        phase,
        findings: Findings::default(),
        failure: Some(failure),
        end: Some(End { status: OperationStatus::Failed }),
        at: None,
        sweep_after: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use alpine_api::{OperationId, SessionId};

    use super::*;
    use crate::{
        domain::{lifecycle, principal::TenantId},
        ledger::{JobSession, Lease},
        lifecycle::PhaseError,
    };

    fn job(kind: OperationKind, phase: Phase, left: Duration) -> Job {
        let lease = Lease { tenant: TenantId::parse("t").unwrap(), session: SessionId::generate(), fence: 1, owner: "w".into() };
        let session = JobSession {
            state: phase.state(),
            repo_url: "https://h/r".parse().unwrap(),
            branch: "main".parse().unwrap(),
            public: true,
            target: None,
            sandbox: None,
            size: Default::default(),
        };
        Job {
            lease,
            operation: OperationId::generate(),
            kind,
            phase,
            phase_attempt: 0,
            phase_began: Some(Instant::now()),
            deadline: Instant::now() + left,
            persist_attempt: 1,
            force: false,
            actor: "ann".into(),
            failure: None,
            traceparent: None,
            adopted: false,
            waited: Duration::ZERO,
            pace: Default::default(),
            session,
            repository: Default::default(),
        }
    }

    /// Every operation kind and phase that can meet.
    fn jobs() -> Vec<Job> {
        let kind = |phase: Phase| match phase {
            Phase::Resolve | Phase::Provision | Phase::Sync | Phase::Install | Phase::Start => OperationKind::Up,
            Phase::Cleanup | Phase::Stop | Phase::Persist | Phase::Destroy => OperationKind::Down,
        };
        Phase::ALL.iter().map(|phase| job(kind(*phase), *phase, Duration::from_secs(60))).collect()
    }

    #[test]
    fn every_outcome_is_a_legal_transition() {
        let deadlines = Deadlines::default();
        for job in jobs() {
            for step in [
                after(&job, Done::default()),
                failed(&job, &PhaseError::permanent("x", "y")),
                failed(&job, &PhaseError::Unstorable { code: ErrorCode::PersistPayloadTooLarge, cause: "y".into() }),
                too_late(&job, &deadlines),
            ] {
                let from = job.session.state;
                assert!(step.to == from || lifecycle::allowed(Some(from), step.to), "{} in {}: to {}", job.phase, from, step.to);
                let resting = step.end.is_some();
                assert_eq!(resting, step.to != step.phase.state(), "{}: an operation ends exactly when its session rests", job.phase);
            }
        }
    }

    #[test]
    fn an_up_that_fails_goes_on_to_clean_up_and_then_ends_as_failed() {
        let install = job(OperationKind::Up, Phase::Install, Duration::from_secs(60));
        let step = failed(&install, &PhaseError::permanent("install", "exit status 1"));
        assert_eq!((step.to, step.phase, step.end), (SessionState::Failing, Phase::Cleanup, None));
        assert_eq!(step.failure.unwrap().cause, "install: exit status 1");
        let cleanup = job(OperationKind::Up, Phase::Cleanup, Duration::ZERO);
        assert_eq!(after(&cleanup, Done::default()).end, Some(End { status: OperationStatus::Failed }));
        assert!(budget(&cleanup, &Deadlines::default()) > Duration::ZERO, "a clean-up has time after the operation's deadline");
    }

    #[test]
    fn a_record_that_never_fits_is_told_from_one_that_could_not_be_stored_now() {
        let persist = job(OperationKind::Down, Phase::Persist, Duration::from_secs(60));
        let large = PhaseError::Unstorable { code: ErrorCode::PersistPayloadTooLarge, cause: "600000 bytes".into() };
        assert_eq!(failed(&persist, &large).to, SessionState::PersistFailed);
        assert_eq!(failed(&persist, &large).failure.unwrap().error_code, ErrorCode::PersistPayloadTooLarge);
        assert_eq!(failed(&persist, &PhaseError::transient("persist", "away")).to, SessionState::StoppedUnpersisted);
    }

    #[test]
    fn a_deadline_names_what_ran_out() {
        let deadlines = Deadlines::default();
        let phase = too_late(&job(OperationKind::Up, Phase::Resolve, Duration::from_secs(600)), &deadlines).failure.unwrap();
        assert_eq!((phase.error_code, phase.cause.as_str()), (ErrorCode::DeadlineExceeded, "resolve: not done within 90 s"));
        let whole = too_late(&job(OperationKind::Up, Phase::Install, Duration::ZERO), &deadlines).failure.unwrap();
        assert_eq!(whole.cause, "up: not done within 720 s");
    }

    #[test]
    fn backoff_grows_and_is_never_nothing() {
        for tries in [1, 2, 3, 50] {
            let pause = backoff(tries);
            assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_secs(32));
        }
    }
}
