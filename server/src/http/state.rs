//! What every handler shares.

use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::limits::{LimitSettings, Limits};
use crate::{
    auth::Authenticator,
    clock::Clock,
    domain::{apps::AppsDomain, class::Classes, hosts::HostPolicy},
    ledger::Ledger,
    metrics::Metrics,
};

/// Bounds of a request.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of a request's body, in bytes.
    pub body_limit: usize,
    /// For the whole of a request's body to come.
    pub body_timeout: Duration,
    /// For everything but a wait that was asked for.
    pub request_timeout: Duration,
    /// The longest `Prefer: wait` that is honoured.
    pub max_wait: Duration,
    /// Of streams in which nothing happens: how often a comment is sent.
    pub heartbeat: Duration,
    /// How long a stream goes on.
    pub stream: Duration,
    /// Whether nobody else reads what is sent here: TLS, or this machine.
    pub takes_secrets: bool,
    /// Whether the metrics have an address of their own.
    pub metrics_elsewhere: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_limit: 64 * 1024,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            max_wait: Duration::from_secs(alpine_api::MAX_WAIT_SECONDS),
            heartbeat: Duration::from_secs(15),
            stream: Duration::from_secs(15 * 60),
            takes_secrets: true,
            metrics_elsewhere: false,
        }
    }
}

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    pub ledger: Ledger,
    pub auth: Arc<Authenticator>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub settings: Settings,
    pub limits: LimitSettings,
    /// Which hosts repositories may be on.
    pub hosts: Arc<HostPolicy>,
    /// What sessions may be made in, and how long they may be ready.
    pub classes: Arc<Classes>,
    /// Below which sessions have hosts of their own, if they have.
    pub apps: Option<AppsDomain>,
    /// Cancelled when the server is about to go: it is not ready any more, still answers everything, and asks for no connection
    /// to be used again.
    pub leaving: CancellationToken,
    /// Cancelled when it goes: whoever waits for an operation gets its current state at once, and streams end.
    pub shutdown: CancellationToken,
}

/// Cheap to clone: each layer has one, and clones it for each request.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
pub struct Shared {
    pub(crate) ledger: Ledger,
    pub(super) auth: Arc<Authenticator>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    pub(crate) limits: Arc<Limits>,
    pub(super) hosts: Arc<HostPolicy>,
    pub(super) classes: Arc<Classes>,
    pub(super) apps: Option<AppsDomain>,
    pub(super) leaving: CancellationToken,
    pub(crate) shutdown: CancellationToken,
    /// When the ledger was last found ready.
    pub(super) ready_at: Mutex<Option<Instant>>,
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { ledger, auth, clock, metrics, settings, limits, hosts, classes, apps, leaving, shutdown } = parts;
        let limits = Arc::new(Limits::new(&limits, Arc::clone(&metrics)));
        let ready_at = Mutex::default();
        Self(Arc::new(Shared { ledger, auth, clock, metrics, settings, limits, hosts, classes, apps, leaving, shutdown, ready_at }))
    }
}
