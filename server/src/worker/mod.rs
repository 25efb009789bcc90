//! The worker: claims operations, keeps its leases alive, runs phase after phase, commits each fenced.
//! There is no recovery at start-up: what a dead worker left is claimed like everything else.

mod follow;
mod held;
mod job;
mod outcome;
mod reconcile;
mod spans;
mod sweep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    faults::Faults,
    ledger::{Claimed, Ledger, Look, Looks},
    lifecycle::Engine,
    metrics::Metrics,
};
use follow::Started;
use held::Held;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Who this worker is, in the lease rows: unique to the process.
    pub id: String,
    /// Operations at once. They mostly wait (for a remote, an installer), so this is not the number of cores.
    pub concurrency: usize,
    pub lease: Duration,
    /// The longest time between two looks at the queue when no hint comes.
    pub poll: Duration,
    pub sweep: Duration,
    pub reconcile: Duration,
    /// How long a sandbox that no session knows is left alone.
    pub orphan_grace: Duration,
    /// How long what is final keeps its history.
    pub retention: Duration,
    /// How long running phases may go on after the signal to stop, before they are handed over.
    pub hand_over: Duration,
}

impl Settings {
    fn heartbeat(&self) -> Duration {
        self.lease / 4
    }
}

#[derive(Debug, Clone)]
pub struct Worker {
    ledger: Ledger,
    engine: Engine,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    settings: Arc<Settings>,
    held: Held,
    started: Started,
    places: Arc<Semaphore>,
    jobs: TaskTracker,
}

impl Worker {
    #[must_use]
    pub fn new(ledger: Ledger, engine: Engine, metrics: Arc<Metrics>, clock: Arc<dyn Clock>, faults: Faults, settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.concurrency));
        let (settings, held, started, jobs) = (Arc::new(settings), Held::default(), Started::default(), TaskTracker::new());
        Self { ledger, engine, metrics, clock, faults, settings, held, started, places, jobs }
    }

    /// Work until `stop`; then claim nothing more, give running phases a moment, and hand the rest over.
    pub async fn run(self, stop: CancellationToken) {
        // Leases name their owner by this.
        tracing::info!(worker = %self.settings.id, "works");
        let done = CancellationToken::new();
        let beat = tokio::spawn(self.clone().beat(done.clone()));
        let sweep = tokio::spawn(self.clone().sweep(stop.clone()));
        let reconcile = tokio::spawn(self.clone().reconcile(stop.clone()));
        let follow = tokio::spawn(self.clone().follow(stop.clone()));
        let mut looks = Looks::default();
        while !stop.is_cancelled() {
            // A hint does not say for which of the two it is.
            let pause = match looks.next() {
                Look::All => self.settings.poll,
                Look::New { .. } => looks.pause(),
            };
            self.claim(&stop, &mut looks).await;
            let hinted = async {
                tokio::select! {
                    () = self.ledger.hub().work_hinted() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            };
            stop.run_until_cancelled(hinted).await;
        }
        self.jobs.close();
        if tokio::time::timeout(self.settings.hand_over, self.jobs.wait()).await.is_err() {
            self.held.hand_over_all();
            self.jobs.wait().await;
        }
        done.cancel();
        for task in [beat, sweep, reconcile, follow] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a background task of the worker failed");
            }
        }
    }

    /// Take what is free, as far as there are places.
    async fn claim(&self, stop: &CancellationToken, looks: &mut Looks) {
        let free = self.places.available_permits();
        if free == 0 {
            // A job that ends gives its place back with a hint.
            return;
        }
        let limit = i64::try_from(free.min(32)).unwrap_or(32);
        let (asked, look) = (Instant::now(), looks.next());
        let claimed = self.ledger.claim(&self.settings.id, limit, self.settings.lease, look).await;
        self.metrics.claim_seconds(asked.elapsed());
        // After an error nothing is known of who is left. What is new may be found where a look for all fails.
        looks.ended(look, asked, claimed.as_ref().ok().and_then(|claimed| claimed.oldest_left));
        let jobs = match claimed {
            Ok(Claimed { jobs, .. }) => jobs,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "nothing could be claimed");
                return;
            }
        };
        let (took, more) = (asked.elapsed(), jobs.len() == 32);
        for job in jobs {
            self.metrics.claim_delay(job.kind, job.waited);
            if job.adopted {
                self.metrics.lease_adoption();
            }
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
            let (worker, stop) = (self.clone(), stop.clone());
            let held = self.held.insert(job.lease.clone(), asked);
            self.jobs.spawn(async move {
                worker.carry_on(job, took, held, stop).await;
                drop(place);
                // A place is free: the queue may hold more than the last claim took.
                worker.ledger.hub().wake_local();
            });
        }
        if more {
            self.ledger.hub().wake_local();
        }
    }

    /// Renew what is held. A lease that is not renewed is lost, and its job ends without another write.
    async fn beat(self, done: CancellationToken) {
        // When leases were last renewed, or there were none to renew.
        let mut renewed = Instant::now();
        while done.run_until_cancelled(tokio::time::sleep(self.settings.heartbeat())).await.is_some() {
            let leases = self.held.leases();
            if leases.is_empty() {
                renewed = Instant::now();
                continue;
            }
            let asked = Instant::now();
            // A database that does not answer at all must not hold up what follows.
            let renewal = self.ledger.renew(&self.settings.id, &leases, self.settings.lease);
            match tokio::time::timeout(self.settings.lease / 6, renewal).await {
                Ok(Ok(still)) => {
                    self.metrics.heartbeat_lag(renewed.elapsed().saturating_sub(self.settings.heartbeat()));
                    renewed = Instant::now();
                    self.held.keep_only(&leases, &still, asked);
                }
                Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "leases could not be renewed"),
                Err(_) => tracing::warn!("leases could not be renewed in time"),
            }
            self.held.drop_overdue(self.settings.lease);
        }
    }
}
