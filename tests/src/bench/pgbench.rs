//! PostgreSQL's own load generator: the same statements with nothing around them.

use std::{path::Path, process::Stdio};

use anyhow::Context as _;
use tokio::process::Command;

use crate::postgres;

/// Transactions a second of `script`, as `role`.
pub async fn per_second(url: &str, role: &str, script: &Path, connections: usize, seconds: u64) -> anyhow::Result<f64> {
    let output = Command::new(postgres::binary("pgbench"))
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string(), "-T", &seconds.to_string(), "-f"])
        .arg(script)
        .arg(url)
        .env("PGOPTIONS", format!("-c role={role}"))
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench runs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
