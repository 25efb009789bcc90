//! What a worker does, in the trace of whoever asked for it.

use std::time::Duration;

use tracing::{Span, field::Empty};

use crate::{
    domain::operation::Phase,
    ledger::Job,
    telemetry::{Hold, Lost},
};

/// This worker's hold on the operation, and that it was claimed.
pub fn operation(job: &Job, claim: Duration) -> Span {
    let name = operation_name(job);
    let span = tracing::info_span!(
        "operation", otel.name = name, otel.kind = "consumer",
        kind = job.kind.as_str(), operation = %job.operation, session = %job.lease.session, fence = job.lease.fence,
    );
    let hold = hold(job);
    hold.begin(&span);
    hold.claimed(&span, claim, &job.lease.owner, job.adopted);
    if job.adopted {
        let lost = Lost { operation: &name, phase: job.phase.as_str(), phase_name: &phase_name(job.phase), age: job.phase_age() };
        hold.adopt(&span, &lost);
    }
    span
}

/// One try of a phase. Within the operation's span.
pub fn phase(job: &Job) -> Span {
    let span = tracing::info_span!(
        "phase", otel.name = phase_name(job.phase), otel.status_code = Empty, error.type = Empty,
        phase = job.phase.as_str(), attempt = job.phase_attempt,
    );
    hold(job).begin_phase(&span, job.phase.as_str());
    span
}

/// It did not do what it was for.
pub fn failed(phase: &Span, how: &'static str) {
    phase.record("otel.status_code", "ERROR").record("error.type", how);
}

fn hold(job: &Job) -> Hold {
    Hold::new(job.operation.to_string(), job.lease.fence, job.traceparent.as_deref())
}

fn operation_name(job: &Job) -> String {
    format!("operation.{}", job.kind.as_str())
}

fn phase_name(phase: Phase) -> String {
    format!("phase.{}", phase.as_str())
}
