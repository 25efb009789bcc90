//! What becomes of sessions and operations.

use std::time::Duration;

use alpine_api::{ErrorCode, Failure, OperationKind, OperationStatus, SessionState};
use prometheus_client::metrics::histogram::Histogram;

use super::{
    Action, Metrics,
    declare::{Buckets, Counters, Declarations, Gauges, Histograms, Label},
};

/// Phases and `up`s: from a tenth of a second to the deadline of the whole `up`.
const STEPS: Buckets =
    Buckets(&[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0, 300.0, 480.0, 600.0, 720.0]);
/// As the phases of `domain` are called.
pub(super) const PHASES: [&str; 9] = ["resolve", "provision", "sync", "install", "start", "cleanup", "stop", "persist", "destroy"];

pub(super) struct Operations {
    errors: Counters<2>,
    ended: Counters<2>,
    phases: Histograms<2>,
    time_to_ready: Histogram,
    verifications: Counters<1>,
    sessions: Gauges<1>,
}

impl Operations {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        let codes = Label::of("error_code", ErrorCode::ALL.iter().map(|code| code.as_str()));
        Self {
            errors: d.counters(
                "alpine_errors_total",
                [codes.told("every error code (`/docs/errors`)"), Label::of("action", Action::ALL.iter().map(|action| action.as_str()))],
                "Answers with an error code, and operations that ended with one; not the answers that tell of such an operation later",
            ),
            ended: d.counters(
                "alpine_operations_total",
                [kinds(), Label::of("outcome", OperationStatus::ALL.iter().filter(|s| s.is_terminal()).map(|s| s.as_str()))],
                "Operations that have ended",
            ),
            phases: d.as_they_come(
                "alpine_operation_phase_duration_seconds",
                [Label::of("phase", PHASES), Label::of("outcome", ["ok", "error", "deadline"])],
                "Time that one try of a phase took",
                Histograms::new_with_constructor(STEPS),
            ),
            time_to_ready: d.histogram(
                "alpine_time_to_ready_seconds",
                STEPS,
                "Time from the accept of an `up` until its session was ready; of those that came to be",
            ),
            verifications: d.counters(
                "alpine_persist_verifications_total",
                [Label::of("outcome", ["verified", "failed"])],
                "Records that were stored, read back and compared; failed: one of the three failed",
            ),
            sessions: d.gauges(
                "alpine_sessions",
                [Label::of("state", SessionState::ALL.iter().map(|state| state.as_str()))],
                "Sessions in a state that is not final, of all tenants (every process says the same); of the final states 0",
            ),
        }
    }
}

pub(super) fn kinds() -> Label {
    Label::of("kind", OperationKind::ALL.iter().map(|kind| kind.as_str()))
}

impl Metrics {
    /// An answer carried this error code.
    pub fn error(&self, code: ErrorCode, action: Action) {
        self.operations.errors.get_or_create(&[("error_code", code.as_str()), ("action", action.as_str())]).inc();
    }

    /// An operation has ended; its failure, if it has one, counts with it and nowhere else.
    pub fn operation_ended(&self, kind: OperationKind, outcome: OperationStatus, failure: Option<&Failure>) {
        self.operations.ended.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome.as_str())]).inc();
        if let Some(failure) = failure.filter(|_| outcome == OperationStatus::Failed) {
            self.error(failure.error_code, Action::of(kind));
        }
    }

    pub fn phase_seconds(&self, phase: &'static str, outcome: &'static str, took: Duration) {
        self.operations.phases.get_or_create(&[("phase", phase), ("outcome", outcome)]).observe(took.as_secs_f64());
    }

    pub fn time_to_ready(&self, took: Duration) {
        self.operations.time_to_ready.observe(took.as_secs_f64());
    }

    pub fn persist_verification(&self, ok: bool) {
        let outcome = if ok { "verified" } else { "failed" };
        self.operations.verifications.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// States that are not named have no session.
    pub fn set_sessions(&self, counts: &[(SessionState, i64)]) {
        for state in SessionState::ALL {
            let count = counts.iter().find(|(counted, _)| counted == state).map_or(0, |(_, count)| *count);
            self.operations.sessions.get_or_create(&[("state", state.as_str())]).set(count);
        }
    }
}
