//! Settings of `alpine-server verify-release`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use url::Url;

#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// A replica's address; once for each.
    #[arg(long = "url", required = true)]
    pub urls: Vec<Url>,
    /// Where a replica's /metrics is, if not there (ALPINE_METRICS_LISTEN); once for each.
    #[arg(long = "metrics-url")]
    pub metrics_urls: Vec<Url>,
    /// The Prometheus that has deploy/prometheus's rules: its alerts decide. Without one, /metrics is read twice.
    #[arg(long)]
    pub prometheus: Option<Url>,
    /// The label `environment` of the deployment there; default: all that it has.
    #[arg(long, requires = "prometheus")]
    pub environment: Option<String>,
    /// The version that every replica should run.
    #[arg(long)]
    pub expect_version: Option<String>,
    /// Without a Prometheus: seconds between the two readings.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub window: u64,
    /// A file with a caller's token: its sessions are listed at the first replica, and nothing is changed.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// An authority (PEM) that is trusted besides the system's.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_secs(self.window)
    }
}
