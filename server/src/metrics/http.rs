//! What the HTTP listeners tell of.

use std::{borrow::Cow, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use super::{
    InFlight, Metrics,
    declare::{Buckets, Counters, Declarations, Label},
};

/// From a millisecond to the longest wait.
const REQUESTS: Buckets = Buckets(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
const ROUTE: &str =
    "the route's template, as `/v1/sessions/{session_id}`; `app` for all of sessions' hosts, `unmatched` for all other paths";

/// A request as it is counted. Method, route template and class of status are all bounded sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    pub method: &'static str,
    pub route: Cow<'static, str>,
    pub status: &'static str,
}

/// A route's template.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    route: Cow<'static, str>,
}

pub(super) struct Http {
    requests: Family<Answered, Counter>,
    seconds: Family<Answered, Histogram, Buckets>,
    in_flight: Family<Route, Gauge>,
    shed: Counters<1>,
    connections: Gauge,
    connections_refused: Counters<1>,
    watchers: Gauge,
    watch_reads: Counters<1>,
    certificate_expiry: Gauge,
}

impl Http {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        let route = || Label::open("route", ROUTE);
        let answered = || {
            [
                Label::of("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]),
                route(),
                Label::of("status", ["1xx", "2xx", "3xx", "4xx", "5xx"]),
            ]
        };
        Self {
            requests: d.as_they_come("alpine_http_requests_total", answered(), "Requests answered", Family::default()),
            seconds: d.as_they_come(
                "alpine_http_request_duration_seconds",
                answered(),
                "Time from a request's head to the head of its answer, waits that it asked for included",
                Family::new_with_constructor(REQUESTS),
            ),
            in_flight: d.as_they_come("alpine_http_requests_in_flight", [route()], "Requests being answered", Family::default()),
            shed: d.counters(
                "alpine_requests_shed_total",
                [Label::of("class", ["up", "down", "read", "write", "lookup", "stream", "app", "code"])],
                "Requests refused because their class had no place",
            ),
            connections: d.gauge("alpine_http_connections_open", "Connections open, of all listeners"),
            connections_refused: d.counters(
                "alpine_http_connections_refused_total",
                [Label::of("bound", ["server", "address"])],
                "Connections closed because there were too many: of the server's, or of one address's",
            ),
            watchers: d.gauge("alpine_event_stream_watchers", "Streams of events and logs that are open"),
            watch_reads: d.counters(
                "alpine_watch_reads_total",
                [Label::of("what", ["operations", "ends", "events", "log", "heads"])],
                "Statements that read for all who wait and watch together",
            ),
            certificate_expiry: d.gauge(
                "alpine_tls_certificate_expiry_timestamp_seconds",
                "Unix time at which the chain that is served ends to be valid (the earliest of its certificates); 0: plain HTTP is served",
            ),
        }
    }
}

impl Metrics {
    pub fn request_answered(&self, answered: &Answered, took: Duration) {
        self.http.requests.get_or_create(answered).inc();
        self.http.seconds.get_or_create(answered).observe(took.as_secs_f64());
    }

    /// Counts a request of this route template as in flight until the guard is dropped, also when its client goes away.
    #[must_use]
    pub fn request_begins(&self, route: Cow<'static, str>) -> InFlight {
        InFlight::begin(&self.http.in_flight.get_or_create_owned(&Route { route }))
    }

    /// A request was refused because its class had no place.
    pub fn request_shed(&self, class: &'static str) {
        self.http.shed.get_or_create(&[("class", class)]).inc();
    }

    /// Counts a stream of events or of a log as open until the guard is dropped.
    #[must_use]
    pub fn watcher_begins(&self) -> InFlight {
        InFlight::begin(&self.http.watchers)
    }

    /// One statement for all who wait or watch.
    pub fn watch_read(&self, what: &'static str) {
        self.http.watch_reads.get_or_create(&[("what", what)]).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    #[must_use]
    pub fn connection_opens(&self) -> InFlight {
        InFlight::begin(&self.http.connections)
    }

    /// A connection was closed because there were too many; `bound`: `server` or `address`.
    pub fn connection_refused(&self, bound: &'static str) {
        self.http.connections_refused.get_or_create(&[("bound", bound)]).inc();
    }

    /// When the chain that is served ends to be valid, in Unix seconds.
    pub fn set_certificate_expiry(&self, at: i64) {
        self.http.certificate_expiry.set(at);
    }
}
