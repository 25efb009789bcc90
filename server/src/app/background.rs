//! What runs beside requests and work: the hub of those who wait, issuers' keys, gauges, and the metrics' own address.

use std::{net::TcpListener, sync::Arc, time::Duration};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{auth::Authenticator, gateway::Gateway, http, ledger::Ledger, metrics::Metrics};

/// How often the gauges that the database knows are read.
const SESSIONS: Duration = Duration::from_secs(10);
/// How often the pools are looked at, which asks nobody. Out of step with what is read each second: that would be seen always, or never.
const POOLS: Duration = Duration::from_millis(617);
/// Whoever scrapes keeps one connection or two.
const SCRAPERS: usize = 64;
const DRAIN: Duration = Duration::from_secs(1);

/// Tasks that go on until requests and work have ended.
#[derive(Debug)]
#[must_use = "dropped, they are aborted"]
pub struct Background {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Background {
    /// `auth`: `None` in a process that asks nobody for keys. `metrics_listener`: where the metrics are served alone; `failed` is
    /// cancelled when that is no longer so.
    pub fn start(
        ledger: &Ledger,
        metrics: &Arc<Metrics>,
        auth: Option<Arc<Authenticator>>,
        metrics_listener: Option<TcpListener>,
        failed: CancellationToken,
    ) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn({
            let (ledger, metrics, stop) = (ledger.clone(), Arc::clone(metrics), stop.clone());
            async move { ledger.hub().run(metrics, stop).await }
        });
        tasks.spawn(gauges(ledger.clone(), Arc::clone(metrics), stop.clone()));
        if let Some(auth) = auth {
            let stop = stop.clone();
            tasks.spawn(async move { auth.keep_fresh(stop).await });
        }
        if let Some(listener) = metrics_listener {
            let serve = serve_metrics(listener, Arc::clone(metrics), stop.clone());
            tasks.spawn(async move {
                if let Err(error) = serve.await {
                    tracing::error!(error = &error as &dyn std::error::Error, "the metrics are not served any more");
                    failed.cancel();
                }
            });
        }
        Self { tasks, stop }
    }

    /// Has it written down which sessions are used, to the very end, and connections closed that nobody uses.
    pub fn keep_gateway(&mut self, gateway: Gateway) -> Gateway {
        let (keeping, stop) = (gateway.clone(), self.stop.clone());
        self.tasks.spawn(async move { keeping.keep(stop).await });
        gateway
    }

    /// Their end, awaited; how the first that failed did.
    pub async fn stop(mut self) -> Result<(), JoinError> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// Keeps the gauges of what others count until `stop`.
async fn gauges(ledger: Ledger, metrics: Arc<Metrics>, stop: CancellationToken) {
    let pools = async {
        loop {
            let (size, idle) = ledger.pools().usage();
            metrics.set_pool(size, idle);
            tokio::time::sleep(POOLS).await;
        }
    };
    let sessions = async {
        loop {
            match ledger.session_counts().await {
                Ok(counts) => metrics.set_sessions(&counts),
                Err(error) => {
                    // All who count say the same: who cannot count says nothing.
                    metrics.set_sessions(&[]);
                    tracing::debug!(error = &error as &dyn std::error::Error, "sessions not counted");
                }
            }
            tokio::time::sleep(SESSIONS).await;
        }
    };
    stop.run_until_cancelled(async { tokio::join!(pools, sessions) }).await;
}

/// Serves the metrics at their own address until `stop`: longer than the API, so that its end can be seen.
async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<(), http::ServeError> {
    let settings = http::ConnectionSettings { max: SCRAPERS, ..http::ConnectionSettings::default() };
    let connections = http::Connections::new(settings, Arc::clone(&metrics));
    let listening = http::Listening { listener, tls: None, connections, drain: DRAIN, last: CancellationToken::new(), apart: None };
    http::serve(http::metrics_alone(metrics), listening, stop).await
}
