//! How the program ends: a signal asks once, politely; a second one insists.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What was asked of this program so far. The signals are listened for as long as this lives; once it has been made, none ends the
/// program by itself any more.
#[derive(Debug)]
pub struct Stop {
    /// Asked for once.
    pub soft: CancellationToken,
    /// Insisted on.
    pub hard: CancellationToken,
    signals: JoinHandle<()>,
}

impl Stop {
    /// Listens from now on: what comes while the program still starts is acted on as soon as there is something to stop.
    pub fn on_signals() -> std::io::Result<Self> {
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let signals = tokio::spawn(told(terminate, interrupt, soft.clone(), hard.clone()));
        Ok(Self { soft, hard, signals })
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.signals.abort();
    }
}

/// Cancels `soft` at the first SIGTERM or SIGINT and `hard` at the second.
async fn told(mut terminate: Signal, mut interrupt: Signal, soft: CancellationToken, hard: CancellationToken) {
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
}

/// Cancels `hard` when the program has not ended so long after `soft`: a database that does not answer must not keep it. What it
/// still held is taken over when its leases run out.
pub async fn within(limit: Duration, soft: CancellationToken, hard: CancellationToken) {
    soft.cancelled().await;
    tokio::time::sleep(limit).await;
    tracing::warn!(?limit, "not at an end in time: stopping at once");
    hard.cancel();
}
