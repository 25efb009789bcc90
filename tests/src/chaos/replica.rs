//! One server, its own way to the database, and whoever starts it again when it is down.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::{
    LEASE, provider_faults,
    proxy::{Network, Proxy},
    watch::Watch,
};
use crate::server::Server;

/// A server that was asked to end and has not by then is killed.
const PATIENCE: Duration = Duration::from_secs(25);

#[derive(Debug)]
pub struct Replica {
    pub number: usize,
    pub base: String,
    pub log: PathBuf,
    pub proxy: Proxy,
    watch: Arc<Watch>,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    server: Server,
    starts: u64,
    /// The next starts are of a server without faults of its own.
    healthy: bool,
    /// What runs now is to be replaced by such a one, as soon as it can be.
    heal: bool,
    start_at: Option<Instant>,
    kill_at: Option<Instant>,
    thaw_at: Option<Instant>,
}

impl Replica {
    pub fn new(number: usize, server: Server, proxy: Proxy, watch: Arc<Watch>, seed: u64, faulty: bool) -> Self {
        let (base, log) = (server.base(), server.log.clone());
        let state =
            State { server, starts: 0, healthy: !faulty, heal: false, start_at: Some(Instant::now()), kill_at: None, thaw_at: None };
        Self { number, base, log, proxy, watch, seed, state: Mutex::new(state) }
    }

    async fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// `kill -9`; whether there was a server to kill.
    pub async fn kill(&self, pause: Duration) -> bool {
        let mut state = self.state().await;
        let runs = state.server.pid().is_some();
        if runs {
            if state.thaw_at.is_none() {
                self.watch.scrape(self.number, &self.base).await;
            }
            state.server.kill();
            self.gone(&mut state, pause);
        }
        runs
    }

    pub async fn terminate(&self, pause: Duration) -> bool {
        let mut state = self.state().await;
        let runs = state.is_at_ease();
        if runs {
            self.watch.scrape(self.number, &self.base).await;
            Self::begin_to_end(&mut state, pause);
        }
        runs
    }

    /// SIGSTOP until its leases have run out, and a while longer.
    pub async fn freeze(&self, beyond: Duration) -> bool {
        let mut state = self.state().await;
        let runs = state.server.pid().is_some() && state.thaw_at.is_none();
        if runs {
            state.server.freeze();
            self.frozen(&mut state, beyond);
        }
        runs
    }

    fn frozen(&self, state: &mut State, beyond: Duration) {
        self.watch.lost(&self.log);
        state.thaw_at = Some(Instant::now() + LEASE + beyond);
    }

    fn gone(&self, state: &mut State, pause: Duration) {
        self.watch.lost(&self.log);
        self.watch.restarted(self.number);
        (state.kill_at, state.thaw_at) = (None, None);
        state.start_at = Some(Instant::now() + pause);
    }

    /// From now on without faults of its own, and with a whole network.
    pub async fn heal(&self) {
        self.proxy.set(Network::Open);
        self.proxy.lose_commits(0);
        let mut state = self.state().await;
        state.heal = !state.healthy;
        state.healthy = true;
    }

    fn begin_to_end(state: &mut State, pause: Duration) {
        state.server.ask_to_end();
        state.kill_at = Some(Instant::now() + PATIENCE);
        state.start_at = Some(Instant::now() + pause);
    }

    /// Starts the server when it is down, thaws it when it is frozen.
    pub async fn look_after(&self, done: CancellationToken) {
        while done.run_until_cancelled(tokio::time::sleep(Duration::from_millis(50))).await.is_some() {
            let mut state = self.state().await;
            let is_over = |time: Option<Instant>| time.is_some_and(|time| time <= Instant::now());
            if let Some(status) = state.server.exited() {
                self.watch.ended(self.number, status, state.kill_at.is_some());
                let pause = state.start_at.map_or(Duration::from_millis(500), |at| at.saturating_duration_since(Instant::now()));
                self.gone(&mut state, pause);
            } else if is_over(state.kill_at) {
                self.watch.note(&format!("replica {} did not end within {PATIENCE:?} of SIGTERM", self.number));
                state.server.kill();
                self.gone(&mut state, Duration::ZERO);
            } else if is_over(state.thaw_at) {
                state.server.thaw();
                state.thaw_at = None;
            } else if state.server.pid().is_none() && is_over(state.start_at) {
                self.start(&mut state);
            } else if state.thaw_at.is_none() && state.server.is_frozen() {
                // It froze itself, at a place that it was told.
                self.frozen(&mut state, Duration::from_secs(1));
            } else if state.heal && state.is_at_ease() {
                Self::begin_to_end(&mut state, Duration::ZERO);
            }
        }
    }

    fn start(&self, state: &mut State) {
        state.starts += 1;
        let rules = (!state.healthy).then(provider_faults::rules);
        let seed = self.seed.wrapping_mul(1009).wrapping_add(self.number as u64 * 101 + state.starts);
        let rules_seed = rules.is_some().then(|| seed.to_string());
        state.server.configure("ALPINE_FAULTS", rules);
        state.server.configure("ALPINE_FAULTS_SEED", rules_seed);
        state.server.spawn();
        state.start_at = None;
        state.heal &= !state.healthy;
    }
}

impl State {
    /// It runs, and nothing is being done to it.
    fn is_at_ease(&self) -> bool {
        self.server.pid().is_some() && self.kill_at.is_none() && self.thaw_at.is_none()
    }
}

/// The settings of every replica, besides those of any server.
pub fn settings() -> BTreeMap<String, String> {
    let lease = LEASE.as_secs().to_string();
    let settings = [
        ("ALPINE_LEASE_SECONDS", lease.as_str()),
        ("ALPINE_SWEEP_SECONDS", "1"),
        ("ALPINE_RECONCILE_SECONDS", "2"),
        ("ALPINE_ORPHAN_GRACE_SECONDS", "10"),
        ("ALPINE_DB_CONNECTIONS", "6"),
        ("ALPINE_DB_TRANSACTION_CONNECTIONS", "3"),
        ("ALPINE_DB_ACQUIRE_SECONDS", "3"),
        ("ALPINE_WORKER_CONCURRENCY", "16"),
        ("ALPINE_PROVISION_DEADLINE_SECONDS", "15"),
        ("ALPINE_SYNC_DEADLINE_SECONDS", "15"),
        ("ALPINE_INSTALL_DEADLINE_SECONDS", "15"),
        ("ALPINE_PERSIST_DEADLINE_SECONDS", "10"),
        ("ALPINE_UP_DEADLINE_SECONDS", "40"),
        ("ALPINE_DOWN_DEADLINE_SECONDS", "30"),
        ("ALPINE_STOP_GRACE_SECONDS", "2"),
        ("ALPINE_REQUEST_TIMEOUT_SECONDS", "10"),
        ("ALPINE_DRAIN_SECONDS", "3"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
