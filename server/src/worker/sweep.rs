//! What nobody asks for and must happen all the same: another try at what had failed, and an end to what is
//! too old to be asked for.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::ledger;

const SESSIONS: i64 = 50;
/// Rows a statement: short enough that nobody waits for it.
const KEYS: i64 = 500;
const HISTORIES: i64 = 100;
/// For so long, and so many sweeps, all has to have been whole before nobody's use of a session is taken for granted: uses may not have come
/// to the ledger while this process, or the database, was away.
const CALM: Duration = Duration::from_secs(15);
const CALM_SWEEPS: u32 = 3;

impl Worker {
    pub(super) async fn sweep(self, stop: CancellationToken) {
        let (mut calm, mut since) = (0, Instant::now());
        while stop.run_until_cancelled(tokio::time::sleep(self.settings.sweep)).await.is_some() {
            let mut whole = true;
            for swept in [
                self.try_again(calm >= CALM_SWEEPS && since.elapsed() >= CALM).await,
                self.warn().await,
                self.forget(&stop).await,
                self.count().await,
            ] {
                whole &= swept.is_ok();
                match swept {
                    Ok(()) | Err(ledger::Error::Unavailable(_)) => {}
                    Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "sweep failed"),
                }
            }
            if !whole {
                (calm, since) = (0, Instant::now());
            }
            calm = calm.saturating_add(u32::from(whole));
            if whole {
                self.metrics.sweep_completed(self.clock.now());
            }
        }
    }

    async fn count(&self) -> Result<(), ledger::Error> {
        let queue = self.ledger.queue().await;
        // All workers say the same: who cannot look says nothing, or the last that it saw would stand.
        let (length, age) = queue.as_ref().map_or((0, Duration::ZERO), |queue| (queue.length, queue.age));
        self.metrics.set_queue(length, age);
        queue.map(drop)
    }

    async fn try_again(&self, idle: bool) -> Result<(), ledger::Error> {
        let mut begun = 0;
        loop {
            // Many may end at one time, as they began at one.
            let now = self.ledger.sweep(SESSIONS, idle).await?;
            begun += now;
            if i64::try_from(now).is_ok_and(|now| now < SESSIONS) {
                break;
            }
        }
        if begun > 0 {
            tracing::info!(begun, "another try at what had failed, or an end to what was over");
        }
        Ok(())
    }

    async fn warn(&self) -> Result<(), ledger::Error> {
        while i64::try_from(self.ledger.warn(SESSIONS).await?).is_ok_and(|warned| warned == SESSIONS) {}
        while i64::try_from(self.ledger.warn_idle(SESSIONS).await?).is_ok_and(|looked| looked == SESSIONS) {}
        Ok(())
    }

    async fn forget(&self, stop: &CancellationToken) -> Result<(), ledger::Error> {
        let (mut keys, mut histories) = (0, 0);
        self.ledger.sweep_codes().await?;
        self.ledger.sweep_shares().await?;
        while !stop.is_cancelled() {
            let (swept_keys, swept_histories) =
                (self.ledger.sweep_keys(KEYS).await?, self.ledger.sweep_history(self.settings.retention, HISTORIES).await?);
            keys += swept_keys;
            histories += swept_histories;
            if i64::try_from(swept_keys) != Ok(KEYS) && swept_histories != HISTORIES {
                break;
            }
        }
        if keys > 0 || histories > 0 {
            tracing::info!(keys, histories, "too old to be asked for");
        }
        Ok(())
    }
}
