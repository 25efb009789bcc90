//! Prometheus metrics. One registry, made once and handed round; no tenant or session is ever a label.

use std::{fmt, time::Duration};

use alpine_api::{ErrorCode, Failure, OperationKind, OperationStatus, SessionState};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry},
};

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a caller was about, for `alpine_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Up,
    Down,
    List,
    Status,
    Events,
    Log,
    Record,
    Operation,
    Tenants,
    Audit,
    Imports,
    Other,
}

impl Action {
    pub const ALL: &'static [Self] = &[
        Self::Up,
        Self::Down,
        Self::List,
        Self::Status,
        Self::Events,
        Self::Log,
        Self::Record,
        Self::Operation,
        Self::Tenants,
        Self::Audit,
        Self::Imports,
        Self::Other,
    ];

    /// What an operation's own failure counts under.
    #[must_use]
    pub const fn of(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Up => Self::Up,
            OperationKind::Down => Self::Down,
            OperationKind::Cleanup => Self::Other,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::List => "list",
            Self::Status => "status",
            Self::Events => "events",
            Self::Log => "log",
            Self::Record => "record",
            Self::Operation => "operation",
            Self::Tenants => "tenants",
            Self::Audit => "audit",
            Self::Imports => "imports",
            Self::Other => "other",
        }
    }
}

type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// A request as it is counted. Method, route template and class of status are all bounded sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    pub method: &'static str,
    pub route: String,
    pub status: &'static str,
}

#[derive(Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Phases and `up`s: from a tenth of a second to the deadline of the whole `up`.
const STEPS: Buckets = Buckets(&[0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 45.0, 60.0, 90.0, 180.0, 300.0, 600.0, 720.0]);
/// Requests: from a millisecond to the longest wait.
const REQUESTS: Buckets = Buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);

/// Every metric of the server.
pub struct Metrics {
    registry: Registry,
    errors: Counters<2>,
    operations: Counters<2>,
    phases: Family<Labels<2>, Histogram, Buckets>,
    time_to_ready: Histogram,
    verifications: Counters<1>,
    jwks_refreshes: Counters<1>,
    fenced_writes: Counter,
    lease_adoptions: Counter,
    orphans: Counter,
    sessions: Family<Labels<1>, Gauge>,
    pool: Family<Labels<1>, Gauge>,
    requests: Family<Answered, Counter>,
    request_seconds: Family<Answered, Histogram, Buckets>,
    in_flight: Gauge,
    shed: Counters<1>,
    connections: Gauge,
    connections_refused: Counters<1>,
    watchers: Gauge,
    watch_reads: Counters<1>,
    #[cfg(feature = "faults")]
    injected: Family<[(&'static str, String); 2], Counter>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

const fn verified(ok: bool) -> Labels<1> {
    [("outcome", if ok { "verified" } else { "failed" })]
}

const fn fetched(ok: bool) -> Labels<1> {
    [("outcome", if ok { "fetched" } else { "failed" })]
}

const fn in_state(state: SessionState) -> Labels<1> {
    [("state", state.as_str())]
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// `_total` is put behind a counter's name by the encoder.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("alpine");
        let r = &mut registry;
        r.register("build", "The program that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let metrics = Self {
            errors: add(r, "errors", "Answers with an error code", Family::default()),
            operations: add(r, "operations", "Operations that have ended", Family::default()),
            phases: add(r, "operation_phase_duration_seconds", "Time that a phase took", Family::new_with_constructor(STEPS)),
            time_to_ready: add(r, "time_to_ready_seconds", "Time from the accept of an up to ready", STEPS.new_metric()),
            verifications: add(r, "persist_verifications", "Records read back and compared", Family::default()),
            jwks_refreshes: add(r, "jwks_refreshes", "Fetches of an issuer's keys", Family::default()),
            fenced_writes: add(r, "fenced_writes", "Writes refused because the lease was another's", Counter::default()),
            lease_adoptions: add(r, "lease_adoptions", "Operations taken over from a worker that was gone", Counter::default()),
            orphans: add(r, "orphans", "Sandboxes found that belong to no session", Counter::default()),
            sessions: add(r, "sessions", "Sessions in a state that is not final", Family::default()),
            pool: add(r, "database_connections", "Connections to the database", Family::default()),
            requests: add(r, "http_requests", "Requests answered", Family::default()),
            request_seconds: add(r, "http_request_duration_seconds", "Time to an answer", Family::new_with_constructor(REQUESTS)),
            in_flight: add(r, "http_requests_in_flight", "Requests being answered", Gauge::default()),
            shed: add(r, "requests_shed", "Requests refused because their class had no place", Family::default()),
            connections: add(r, "http_connections_open", "Connections open", Gauge::default()),
            connections_refused: add(r, "http_connections_refused", "Connections closed because there were too many", Family::default()),
            watchers: add(r, "event_stream_watchers", "Streams of events and logs that are open", Gauge::default()),
            watch_reads: add(r, "watch_reads", "Statements that read for all who wait and watch together", Family::default()),
            #[cfg(feature = "faults")]
            injected: add(r, "injected_faults", "Faults on purpose", Family::default()),
            registry,
        };
        metrics.begin_at_zero();
        metrics
    }

    /// A series that first appears at 1 never shows its increase: alerts need the 0 before it.
    fn begin_at_zero(&self) {
        for code in ErrorCode::ALL {
            for action in Action::ALL {
                drop(self.errors.get_or_create(&[("error_code", code.as_str()), ("action", action.as_str())]));
            }
        }
        for kind in OperationKind::ALL {
            for outcome in OperationStatus::ALL.iter().filter(|status| status.is_terminal()) {
                drop(self.operations.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome.as_str())]));
            }
        }
        for ok in [true, false] {
            drop(self.verifications.get_or_create(&verified(ok)));
            drop(self.jwks_refreshes.get_or_create(&fetched(ok)));
        }
        for class in ["up", "down", "read", "write", "lookup", "stream"] {
            drop(self.shed.get_or_create(&[("class", class)]));
        }
        for what in ["operations", "ends", "events", "log", "heads"] {
            drop(self.watch_reads.get_or_create(&[("what", what)]));
        }
        for bound in ["server", "address"] {
            drop(self.connections_refused.get_or_create(&[("bound", bound)]));
        }
        self.set_sessions(&[]);
        self.set_pool(0, 0);
    }

    /// An answer carried this error code.
    pub fn error(&self, code: ErrorCode, action: Action) {
        self.errors.get_or_create(&[("error_code", code.as_str()), ("action", action.as_str())]).inc();
    }

    fn count_operation(&self, kind: OperationKind, outcome: OperationStatus) {
        self.operations.get_or_create(&[("kind", kind.as_str()), ("outcome", outcome.as_str())]).inc();
    }

    /// An operation has ended; its failure, if it has one, counts with it and nowhere else.
    pub fn operation_ended(&self, kind: OperationKind, outcome: OperationStatus, failure: Option<&Failure>) {
        self.count_operation(kind, outcome);
        if let Some(failure) = failure.filter(|_| outcome == OperationStatus::Failed) {
            self.error(failure.error_code, Action::of(kind));
        }
    }

    pub fn phase_seconds(&self, phase: &'static str, outcome: &'static str, took: Duration) {
        self.phases.get_or_create(&[("phase", phase), ("outcome", outcome)]).observe(took.as_secs_f64());
    }

    pub fn time_to_ready(&self, took: Duration) {
        self.time_to_ready.observe(took.as_secs_f64());
    }

    pub fn persist_verification(&self, ok: bool) {
        self.verifications.get_or_create(&verified(ok)).inc();
    }

    pub fn jwks_refresh(&self, ok: bool) {
        self.jwks_refreshes.get_or_create(&fetched(ok)).inc();
    }

    pub fn fenced_write(&self) {
        self.fenced_writes.inc();
    }

    pub fn lease_adoption(&self) {
        self.lease_adoptions.inc();
    }

    #[cfg(feature = "faults")]
    pub fn injected_fault(&self, point: String, act: &'static str) {
        self.injected.get_or_create(&[("point", point), ("act", act.to_owned())]).inc();
    }

    pub fn orphan(&self) {
        self.orphans.inc();
    }

    /// States that are not named have no session.
    pub fn set_sessions(&self, counts: &[(SessionState, i64)]) {
        for state in SessionState::ALL {
            let count = counts.iter().find(|(counted, _)| counted == state).map_or(0, |(_, count)| *count);
            self.sessions.get_or_create(&in_state(*state)).set(count);
        }
    }

    /// Connections open, and of those idle.
    pub fn set_pool(&self, size: u32, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.pool.get_or_create(&[("state", "idle")]).set(idle);
        self.pool.get_or_create(&[("state", "used")]).set((i64::from(size) - idle).max(0));
    }

    pub fn request_answered(&self, answered: &Answered, took: Duration) {
        self.requests.get_or_create(answered).inc();
        self.request_seconds.get_or_create(answered).observe(took.as_secs_f64());
    }

    /// Counts a request as in flight until the guard is dropped, also when its client goes away.
    #[must_use]
    pub fn request_begins(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was refused because its class had no place.
    pub fn request_shed(&self, class: &'static str) {
        self.shed.get_or_create(&[("class", class)]).inc();
    }

    /// Counts a stream of events or of a log as open until the guard is dropped.
    #[must_use]
    pub fn watcher_begins(&self) -> InFlight {
        self.watchers.inc();
        InFlight(self.watchers.clone())
    }

    /// One statement for all who wait or watch.
    pub fn watch_read(&self, what: &'static str) {
        self.watch_reads.get_or_create(&[("what", what)]).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    #[must_use]
    pub fn connection_opens(&self) -> InFlight {
        self.connections.inc();
        InFlight(self.connections.clone())
    }

    /// A connection was closed because there were too many; `bound`: `server` or `address`.
    pub fn connection_refused(&self, bound: &'static str) {
        self.connections_refused.get_or_create(&[("bound", bound)]).inc();
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        // Writing to a string does not fail.
        if let Err(error) = text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics not encoded");
        }
        text
    }
}

#[derive(Debug)]
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        metrics.encode().lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    #[test]
    fn every_error_code_and_action_is_there_at_zero_from_the_start() {
        let text = Metrics::new().encode();
        for code in ErrorCode::ALL {
            for action in Action::ALL {
                let line = format!("alpine_errors_total{{error_code=\"{code}\",action=\"{}\"}} 0", action.as_str());
                assert!(text.lines().any(|l| l == line), "{line}");
            }
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn names_are_those_that_dashboards_read() {
        let metrics = Metrics::new();
        metrics.error(ErrorCode::OperationConflict, Action::Up);
        metrics.operation_ended(OperationKind::Up, OperationStatus::Succeeded, None);
        metrics.phase_seconds("sync", "done", Duration::from_secs(2));
        metrics.time_to_ready(Duration::from_secs(9));
        metrics.persist_verification(true);
        metrics.jwks_refresh(false);
        metrics.fenced_write();
        metrics.lease_adoption();
        metrics.orphan();
        metrics.set_sessions(&[(SessionState::Ready, 3)]);
        metrics.set_pool(10, 4);
        let request = Answered { method: "GET", route: "/v1/sessions".into(), status: "2xx" };
        metrics.request_answered(&request, Duration::from_millis(3));
        for (series, expected) in [
            ("alpine_errors_total{error_code=\"ERR_OPERATION_CONFLICT\",action=\"up\"}", 1.0),
            ("alpine_operations_total{kind=\"up\",outcome=\"succeeded\"}", 1.0),
            ("alpine_operations_total{kind=\"down\",outcome=\"failed\"}", 0.0),
            ("alpine_operation_phase_duration_seconds_sum{phase=\"sync\",outcome=\"done\"}", 2.0),
            ("alpine_time_to_ready_seconds_count", 1.0),
            ("alpine_persist_verifications_total{outcome=\"verified\"}", 1.0),
            ("alpine_persist_verifications_total{outcome=\"failed\"}", 0.0),
            ("alpine_jwks_refreshes_total{outcome=\"fetched\"}", 0.0),
            ("alpine_jwks_refreshes_total{outcome=\"failed\"}", 1.0),
            ("alpine_fenced_writes_total", 1.0),
            ("alpine_lease_adoptions_total", 1.0),
            ("alpine_orphans_total", 1.0),
            ("alpine_sessions{state=\"ready\"}", 3.0),
            ("alpine_sessions{state=\"failing\"}", 0.0),
            ("alpine_database_connections{state=\"used\"}", 6.0),
            ("alpine_http_requests_total{method=\"GET\",route=\"/v1/sessions\",status=\"2xx\"}", 1.0),
            ("alpine_http_requests_in_flight", 0.0),
            (concat!("alpine_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ] {
            assert_eq!(value(&metrics, series), Some(expected), "{series}");
        }
    }

    #[test]
    fn a_state_that_is_empty_again_goes_back_to_zero() {
        let metrics = Metrics::new();
        metrics.set_sessions(&[(SessionState::Ready, 3)]);
        metrics.set_sessions(&[(SessionState::Failing, 1)]);
        assert_eq!(value(&metrics, "alpine_sessions{state=\"ready\"}"), Some(0.0));
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let metrics = Metrics::new();
        let guard = metrics.request_begins();
        assert_eq!(value(&metrics, "alpine_http_requests_in_flight"), Some(1.0));
        drop(guard);
        assert_eq!(value(&metrics, "alpine_http_requests_in_flight"), Some(0.0));
    }
}
