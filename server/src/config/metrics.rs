//! Settings of the metrics.

use std::net::SocketAddr;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// An address of its own for /metrics, in plain HTTP: the API's then answers 404 for it.
    #[arg(long, env = "ALPINE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}
