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
        reason: done.reason,
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
                ended(SessionState::PersistFailed, Phase::Persist, failure::not_persisted(*code, &cause))
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
    // The operation's own error stays the one that it is known by.
    let failure = job.failure.clone().unwrap_or(failure);
    Step { sweep_after: Some(FIRST_SWEEP), ..ended(SessionState::CleanupFailed, Phase::Cleanup, failure) }
}

fn unstopped(failure: Failure) -> Step {
    Step { sweep_after: Some(FIRST_SWEEP), ..ended(SessionState::CloseFailed, Phase::Stop, failure) }
}

fn unpersisted(phase: Phase, cause: &str) -> Step {
    let failure = failure::not_persisted(ErrorCode::PersistenceVerificationFailed, cause);
    ended(SessionState::StoppedUnpersisted, phase, failure)
}

fn ended(to: SessionState, phase: Phase, failure: Failure) -> Step {
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
