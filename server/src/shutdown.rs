//! How the program ends: a signal asks once, politely; a second one insists.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `soft` at the first SIGTERM or SIGINT and `hard` at the second.
pub async fn on_signals(soft: CancellationToken, hard: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    tracing::info!(signal = name, "stopping");
    soft.cancel();
    next().await;
    tracing::warn!("second signal: stopping at once");
    hard.cancel();
    Ok(())
}

/// Cancels `hard` when the program has not ended so long after `soft`: a database that does not answer must not keep it. What it
/// still held is taken over when its leases run out.
pub async fn within(limit: Duration, soft: CancellationToken, hard: CancellationToken) {
    soft.cancelled().await;
    tokio::time::sleep(limit).await;
    tracing::warn!(?limit, "not at an end in time: stopping at once");
    hard.cancel();
}
