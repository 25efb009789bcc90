//! What the pools of database connections tell of.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;

use super::{
    Metrics,
    declare::{Buckets, Declarations, Gauges, Histograms, Label},
};

/// From a connection that is free to the longest that a request waits for one.
const ACQUIRES: Buckets = Buckets(&[0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);

pub(super) struct Database {
    connections: Gauges<1>,
    most: Gauge,
    acquires: Histograms<1>,
}

impl Database {
    pub(super) fn declare(d: &mut Declarations) -> Self {
        Self {
            connections: d.gauges(
                "alpine_database_connections",
                [Label::of("state", ["idle", "used"])],
                "Connections to the database that are open, of all pools",
            ),
            most: d.gauge("alpine_database_connections_max", "Connections that this process's pools may open"),
            acquires: d.histograms(
                "alpine_database_acquire_duration_seconds",
                [Label::of("outcome", ["acquired", "timed_out"])],
                ACQUIRES,
                "Wait for a connection of a pool, made anew where none was free; a transaction's with its `BEGIN`; timed out: none was free, or the database could not be reached",
            ),
        }
    }
}

impl Metrics {
    /// Connections open, and of those idle.
    pub fn set_pool(&self, size: u32, idle: usize) {
        let idle = i64::try_from(idle).unwrap_or(i64::MAX);
        self.database.connections.get_or_create(&[("state", "idle")]).set(idle);
        self.database.connections.get_or_create(&[("state", "used")]).set((i64::from(size) - idle).max(0));
    }

    /// The most connections that may be open.
    pub fn set_pool_max(&self, most: u32) {
        self.database.most.set(i64::from(most));
    }

    /// A connection was had after this time, or there was none in time.
    pub fn connection_acquired(&self, in_time: bool, waited: Duration) {
        let outcome = if in_time { "acquired" } else { "timed_out" };
        self.database.acquires.get_or_create(&[("outcome", outcome)]).observe(waited.as_secs_f64());
    }
}
