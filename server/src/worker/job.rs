//! One claimed operation, carried on until it ends, is lost, or is handed over.

use std::time::{Duration, Instant};

use alpine_api::OperationKind;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{Worker, held::Hold, outcome, spans};
use crate::{
    domain::operation::Phase,
    ledger::{self, End, Findings, Job, Step},
    lifecycle::{Done, PhaseError},
};

/// How a phase came to its end.
enum Ran {
    Done(Done),
    Failed(PhaseError),
    TooLate,
    HandOver,
    Lost,
}

impl Ran {
    fn tell(&self, phase: &Span) {
        match self {
            Self::Done(_) => {}
            Self::Failed(_) => spans::failed(phase, "failed"),
            Self::TooLate => spans::failed(phase, "deadline"),
            Self::HandOver => spans::failed(phase, "handed_over"),
            Self::Lost => spans::failed(phase, "lease_lost"),
        }
    }
}

impl Worker {
    /// `claim`: how long it took to be claimed.
    pub(super) async fn carry_on(&self, mut job: Job, claim: Duration, hold: Hold, stop: CancellationToken) {
        let span = spans::operation(&job, claim);
        if job.adopted {
            span.in_scope(|| tracing::info!(phase = %job.phase, "adopted"));
        }
        if let Err(error) = self.phases(&mut job, &hold, &stop).instrument(span.clone()).await {
            let _in = span.enter();
            match error {
                ledger::Error::Fenced => {
                    self.metrics.fenced_write();
                    tracing::info!(phase = %job.phase, "another has this operation now");
                }
                // The lease runs out by itself, and the operation is claimed again.
                other => {
                    tracing::error!(phase = %job.phase, error = &other as &dyn std::error::Error, "the operation is left to be claimed again")
                }
            }
        }
    }

    async fn phases(&self, job: &mut Job, hold: &Hold, stop: &CancellationToken) -> Result<(), ledger::Error> {
        self.enter(job).await?;
        loop {
            let began = Instant::now();
            let phase = job.phase;
            let span = spans::phase(job);
            let ran = self.run_phase(job, hold).instrument(span.clone()).await;
            ran.tell(&span);
            drop(span);
            let took = began.elapsed();
            let finished = match ran {
                Ran::Done(done) => {
                    self.metrics.phase_seconds(phase.as_str(), "ok", took);
                    self.advance(job, done).await?
                }
                Ran::Failed(error) if error.is_fenced() => return Err(ledger::Error::Fenced),
                Ran::Failed(error) => {
                    self.metrics.phase_seconds(phase.as_str(), "error", took);
                    self.failed(job, &error).await?
                }
                Ran::TooLate => {
                    self.metrics.phase_seconds(phase.as_str(), "deadline", took);
                    self.conclude(job, outcome::too_late(job, self.engine.deadlines())).await?
                }
                Ran::HandOver => {
                    self.ledger.release(&job.lease, job.operation, Duration::ZERO, job.phase_attempt).await?;
                    true
                }
                Ran::Lost => {
                    tracing::info!(phase = %job.phase, "the lease is lost; another goes on");
                    return Ok(());
                }
            };
            if finished {
                return Ok(());
            }
            if stop.is_cancelled() {
                return self.ledger.release(&job.lease, job.operation, Duration::ZERO, job.phase_attempt).await;
            }
        }
    }

    /// The session is in the phase's state before the phase begins, and the phase has a beginning.
    async fn enter(&self, job: &mut Job) -> Result<(), ledger::Error> {
        if job.phase_began.is_some() && job.session.state == job.phase.state() {
            return Ok(());
        }
        let step = Step {
            to: job.phase.state(),
            reason: format!("{} began", job.kind.as_str()),
            phase: job.phase,
            findings: Findings::default(),
            failure: None,
            end: None,
            at: None,
            sweep_after: None,
        };
        self.ledger.commit(job, step).await
    }

    async fn run_phase(&self, job: &Job, hold: &Hold) -> Ran {
        if job.phase == Phase::Start {
            self.started.add(job);
        }
        let budget = outcome::budget(job, self.engine.deadlines());
        // A `down` that overtakes this operation ends it: told at once, and the lease says whether it is so.
        let mut watch = self.ledger.tenant(&job.lease.tenant).watch(job.operation);
        let overtaken = async {
            loop {
                watch.ended().await;
                if matches!(self.ledger.holds(&job.lease).await, Err(ledger::Error::Fenced)) {
                    return;
                }
                watch = self.ledger.tenant(&job.lease.tenant).watch(job.operation);
            }
        };
        tokio::select! {
            biased;
            () = hold.lost.cancelled() => Ran::Lost,
            () = overtaken => Ran::Lost,
            () = hold.hand_over.cancelled() => Ran::HandOver,
            ran = tokio::time::timeout(budget, self.faults.around(job.phase, || self.engine.run(job))) => match ran {
                Ok(Ok(done)) => Ran::Done(done),
                Ok(Err(error)) => Ran::Failed(error),
                Err(_) => Ran::TooLate,
            }
        }
    }

    async fn commit(&self, job: &mut Job, step: Step) -> Result<(), ledger::Error> {
        let phase = job.phase;
        self.ledger.commit(job, step).await?;
        self.faults.committed(phase).await;
        Ok(())
    }

    /// Commit a phase that is done; whether the operation has ended with it.
    async fn advance(&self, job: &mut Job, done: Done) -> Result<bool, ledger::Error> {
        let step = outcome::after(job, done);
        let ended = step.end;
        let ready = job.kind == OperationKind::Up && job.phase == Phase::Start;
        self.commit(job, step).await?;
        if let Some(end) = ended {
            self.ended(job, end);
            if ready {
                let whole = self.engine.deadlines().of_operation(job.kind);
                self.metrics.time_to_ready(whole.saturating_sub(job.remaining()));
            }
        }
        Ok(ended.is_some())
    }

    fn ended(&self, job: &Job, end: End) {
        tracing::info!(outcome = end.status.as_str(), "ended");
        self.metrics.operation_ended(job.kind, end.status, job.failure.as_ref());
    }

    /// Another try, or the end of what can be tried.
    async fn failed(&self, job: &mut Job, error: &PhaseError) -> Result<bool, ledger::Error> {
        let tries = job.phase_attempt + 1;
        tracing::warn!(phase = %job.phase, tries, error = error as &dyn std::error::Error, "phase failed");
        if error.is_transient() && tries < self.engine.deadlines().tries {
            self.ledger.release(&job.lease, job.operation, outcome::backoff(tries), tries).await?;
            return Ok(true);
        }
        self.conclude(job, outcome::failed(job, error)).await
    }

    async fn conclude(&self, job: &mut Job, step: Step) -> Result<bool, ledger::Error> {
        let ended = step.end;
        self.commit(job, step).await?;
        if let Some(end) = ended {
            self.ended(job, end);
        }
        Ok(ended.is_some())
    }
}
