//! What a worker tells of its work.

use std::{sync::atomic::AtomicU64, time::Duration};

use alpine_api::OperationKind;
use chrono::{DateTime, Utc};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};

use super::{
    Metrics,
    declare::{Buckets, Declarations, Histograms, Label},
    operations::kinds,
};

/// Statements: from a millisecond to the database's own bound.
const STATEMENTS: Buckets = Buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 20.0]);
/// What waits in the queue, and what is late.
const DELAYS: Buckets = Buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0]);
/// Calls to a provider: from a look at a sandbox to an install that runs to its deadline.
const CALLS: Buckets = Buckets(&[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]);

pub(super) struct Worker {
    claims: Histogram,
    claim_delays: Histograms<1>,
    queued: Gauge,
    queue_age: Gauge<f64, AtomicU64>,
    heartbeat_lag: Histogram,
    fenced_writes: Counter,
    lease_adoptions: Counter,
    orphans: Counter,
    swept: Gauge,
    reconciled: Gauge,
    provider_calls: Histograms<2>,
}

impl Worker {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        Self {
            claims: d.histogram("alpine_claim_duration_seconds", STATEMENTS, "Time that the statement which claims operations took, failed or not"),
            claim_delays: d.histograms(
                "alpine_operation_claim_delay_seconds",
                [kinds()],
                DELAYS,
                "Time from when an operation was due (accepted, its next try due, or its worker's lease run out) until it was claimed",
            ),
            queued: d.gauge(
                "alpine_operations_queued",
                "Operations that are due and that nobody holds, counted up to 10000; read by each sweep, and the same on every worker: use max",
            ),
            queue_age: d.single(
                "alpine_operation_queue_age_seconds",
                "How long the longest of these has been due; 0: there is none",
                Gauge::default(),
            ),
            heartbeat_lag: d.histogram(
                "alpine_lease_heartbeat_lag_seconds",
                DELAYS,
                "By how much a renewal of leases came later after the one before it than was planned",
            ),
            fenced_writes: d.counter("alpine_fenced_writes_total", "Writes refused because the lease was another's"),
            lease_adoptions: d.counter("alpine_lease_adoptions_total", "Operations taken over from a worker that was gone"),
            orphans: d.counter("alpine_orphans_total", "Sandboxes found that belong to no session"),
            swept: d.gauge(
                "alpine_sweep_last_completed_timestamp_seconds",
                "Unix time at which this worker last completed a whole sweep; 0: never yet",
            ),
            reconciled: d.gauge(
                "alpine_reconcile_last_completed_timestamp_seconds",
                "Unix time at which this worker last completed a comparison of all sandboxes with the ledger; 0: never yet",
            ),
            provider_calls: d.as_they_come(
                "alpine_provider_call_duration_seconds",
                [Label::of("call", CALL_NAMES), Label::of("outcome", ["ok", "failed"])],
                "Time that a call to the sandbox provider took; an `exec` takes as long as its command, whose exit code is no failure of the call",
                Histograms::new_with_constructor(CALLS),
            ),
        }
    }
}

const CALL_NAMES: [&str; 11] =
    ["ensure", "exec", "serve", "served_output", "served_length", "served_from", "stop", "destroy", "inspect", "listener", "list"];

impl Metrics {
    /// The statement that claims took so long.
    pub fn claim_seconds(&self, took: Duration) {
        self.worker.claims.observe(took.as_secs_f64());
    }

    /// An operation was claimed so long after it was due.
    pub fn claim_delay(&self, kind: OperationKind, delay: Duration) {
        self.worker.claim_delays.get_or_create(&[("kind", kind.as_str())]).observe(delay.as_secs_f64());
    }

    /// Operations that are due and nobody's, and for how long the first of them has been.
    pub fn set_queue(&self, queued: i64, age: Duration) {
        self.worker.queued.set(queued);
        self.worker.queue_age.set(age.as_secs_f64());
    }

    /// Leases were renewed so much later than planned.
    pub fn heartbeat_lag(&self, late: Duration) {
        self.worker.heartbeat_lag.observe(late.as_secs_f64());
    }

    pub fn fenced_write(&self) {
        self.worker.fenced_writes.inc();
    }

    pub fn lease_adoption(&self) {
        self.worker.lease_adoptions.inc();
    }

    pub fn orphan(&self) {
        self.worker.orphans.inc();
    }

    /// A whole sweep is done.
    pub fn sweep_completed(&self, at: DateTime<Utc>) {
        self.worker.swept.set(at.timestamp());
    }

    /// All sandboxes have been compared with the ledger.
    pub fn reconcile_completed(&self, at: DateTime<Utc>) {
        self.worker.reconciled.set(at.timestamp());
    }

    /// A call to the sandbox provider has come back.
    pub fn provider_call(&self, call: &'static str, ok: bool, took: Duration) {
        let outcome = if ok { "ok" } else { "failed" };
        self.worker.provider_calls.get_or_create(&[("call", call), ("outcome", outcome)]).observe(took.as_secs_f64());
    }
}
