//! What the gateway tells of.

use prometheus_client::metrics::gauge::Gauge;

use super::{
    InFlight, Metrics,
    declare::{Counters, Declarations, Label},
};

pub(super) struct Gateway {
    requests: Counters<2>,
    open: Gauge,
    codes: Counters<1>,
}

impl Gateway {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        Self {
            requests: d.counters(
                "alpine_gateway_requests_total",
                [
                    Label::of("credential", ["cookie", "bearer", "none"]),
                    Label::of("outcome", ["proxied", "upgraded", "refused", "unreached"]),
                ],
                "Requests for what sessions serve: handed on, handed on as a WebSocket, refused, or without an answer of the session",
            ),
            open: d.gauge("alpine_gateway_requests_open", "Requests and WebSockets of what sessions serve that are under way"),
            codes: d.counters(
                "alpine_gateway_codes_total",
                [Label::of("outcome", ["made", "spent", "refused"])],
                "One-time codes for browsers",
            ),
        }
    }
}

impl Metrics {
    pub fn app_request(&self, credential: &'static str, outcome: &'static str) {
        self.gateway.requests.get_or_create(&[("credential", credential), ("outcome", outcome)]).inc();
    }

    /// Counts a request of a session's host as under way until the guard is dropped.
    #[must_use]
    pub fn app_request_begins(&self) -> InFlight {
        InFlight::begin(&self.gateway.open)
    }

    pub fn app_code(&self, outcome: &'static str) {
        self.gateway.codes.get_or_create(&[("outcome", outcome)]).inc();
    }
}
