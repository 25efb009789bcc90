//! How the program ends: a signal asks once, politely; a second one insists.

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
