//! Prometheus metrics. One registry, made once and handed round; no tenant or session is ever a label.
//!
//! Each metric is declared in one place, in the file of its subject; `docs/metrics.md` is made from the declarations.

mod action;
mod database;
mod declare;
mod gateway;
mod http;
mod operations;
mod page;
mod process;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;

use prometheus_client::{encoding::text, metrics::gauge::Gauge, registry::Registry};

pub use action::Action;
pub use http::Answered;
pub use page::page;

use database::Database;
use declare::{Counters, Declarations, Declared, Label};
use gateway::Gateway;
use http::Http;
use operations::Operations;
use process::Process;
use worker::Worker;

/// Media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(feature = "faults")]
type Injected = prometheus_client::metrics::family::Family<[(&'static str, String); 2], prometheus_client::metrics::counter::Counter>;

/// Every metric of the server.
pub struct Metrics {
    registry: Registry,
    operations: Operations,
    worker: Worker,
    http: Http,
    gateway: Gateway,
    database: Database,
    process: Process,
    jwks_refreshes: Counters<1>,
    #[cfg(feature = "faults")]
    injected: Injected,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        Self::declared().0
    }

    fn declared() -> (Self, Vec<Declared>) {
        let mut d = Declarations::default();
        d.info("alpine_build_info", &[(Label::open("version", "the program's"), env!("CARGO_PKG_VERSION"))], "The program that runs");
        let (operations, worker) = (Operations::declare(&mut d), Worker::declare(&mut d));
        let (http, gateway, database) = (Http::declare(&mut d), Gateway::declare(&mut d), Database::declare(&mut d));
        let jwks_refreshes =
            d.counters("alpine_jwks_refreshes_total", [Label::of("outcome", ["fetched", "failed"])], "Fetches of an issuer's keys");
        let process = Process::declare(&mut d);
        #[cfg(feature = "faults")]
        let injected = {
            let injected = Injected::default();
            // Not in the table: what people run has no such thing.
            d.registry.register("alpine_injected_faults", "Faults on purpose", injected.clone());
            injected
        };
        let metrics = Self {
            registry: d.registry,
            operations,
            worker,
            http,
            gateway,
            database,
            process,
            jwks_refreshes,
            #[cfg(feature = "faults")]
            injected,
        };
        (metrics, d.table)
    }

    pub fn jwks_refresh(&self, ok: bool) {
        let outcome = if ok { "fetched" } else { "failed" };
        self.jwks_refreshes.get_or_create(&[("outcome", outcome)]).inc();
    }

    #[cfg(feature = "faults")]
    pub fn injected_fault(&self, point: String, act: &'static str) {
        self.injected.get_or_create(&[("point", point), ("act", act.to_owned())]).inc();
    }

    /// All metrics in the OpenMetrics text format. Waits for nobody: what the database knows was read before.
    #[must_use]
    pub fn encode(&self) -> String {
        self.process.read();
        let mut text = String::with_capacity(128 * 1024);
        // Writing to a string does not fail.
        if let Err(error) = text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics not encoded");
        }
        text
    }
}

/// Something that is under way, counted until this is dropped.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
