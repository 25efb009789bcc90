//! What runs beside the work for those who watch it: gauges, and the metrics' own address.

use std::{net::TcpListener, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{http, ledger::Ledger, metrics::Metrics};

/// How often the gauges that the database knows are read.
const SESSIONS: Duration = Duration::from_secs(10);
/// How often the pools are looked at, which asks nobody.
const POOLS: Duration = Duration::from_secs(1);
/// Whoever scrapes keeps one connection or two.
const SCRAPERS: usize = 64;
const DRAIN: Duration = Duration::from_secs(1);

/// Keeps the gauges of what others count until `stop`.
pub async fn gauges(ledger: Ledger, metrics: Arc<Metrics>, stop: CancellationToken) {
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
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "sessions not counted"),
            }
            tokio::time::sleep(SESSIONS).await;
        }
    };
    stop.run_until_cancelled(async { tokio::join!(pools, sessions) }).await;
}

/// Serves the metrics at their own address until `stop`: longer than the API, so that its end can be seen.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, stop: CancellationToken) {
    let settings = http::ConnectionSettings { max: SCRAPERS, ..http::ConnectionSettings::default() };
    let connections = http::Connections::new(settings, Arc::clone(&metrics));
    let listening = http::Listening { listener, tls: None, connections, drain: DRAIN };
    if let Err(error) = http::serve(http::metrics_alone(metrics), listening, stop).await {
        tracing::error!(error = &error as &dyn std::error::Error, "the metrics are not served any more");
    }
}
