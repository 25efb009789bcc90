//! The reconciler: what the provider has against what the ledger says. A sandbox that no session can use any
//! more is destroyed; a session whose sandbox is lost fails. What is between the two is the operations' own.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::{
    domain::{failure, lifecycle},
    ledger::Ready,
    lifecycle::PhaseError,
    sandbox::{Handle, Listed, Provider, ProviderError, Status},
};

const STEP: &str = "reconcile";
/// A provider that does not answer must not end all reconciling.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a sandbox that seems to be lost.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// Looks at once: they share what reading the host's processes costs.
const AT_ONCE: usize = 32;

/// What earlier rounds have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Sandboxes of nobody, and since when.
    strangers: HashMap<SessionId, Instant>,
    /// Orphans that were told of already.
    told: HashSet<SessionId>,
}

impl Worker {
    pub(super) async fn reconcile(self, stop: CancellationToken) {
        let mut seen = Seen::default();
        while stop.run_until_cancelled(tokio::time::sleep(self.settings.reconcile)).await.is_some() {
            let round = async { [self.destroy_orphans(&mut seen).await, self.fail_lost().await] };
            // At the end of the server a round is not waited for: another one does the same again.
            let Some(round) = Box::pin(stop.run_until_cancelled(round)).await else { return };
            if round.iter().all(Result::is_ok) {
                self.metrics.reconcile_completed(self.clock.now());
            }
            for error in round.into_iter().filter_map(Result::err) {
                tracing::warn!(error = &error as &dyn std::error::Error, "reconciling failed");
            }
        }
    }

    fn provider(&self) -> &Arc<dyn Provider> {
        self.engine.provider()
    }

    async fn destroy_orphans(&self, seen: &mut Seen) -> Result<(), PhaseError> {
        // The ledger is asked after the provider: a session is on record before its sandbox is made.
        let listed = in_time(self.provider().list()).await?;
        let keys: Vec<_> = listed.iter().map(|sandbox| (sandbox.tenant.clone(), sandbox.session)).collect();
        let standings = self.ledger.standings(&keys).await?;
        let there: HashSet<SessionId> = listed.iter().map(|sandbox| sandbox.session).collect();
        seen.strangers.retain(|session, _| there.contains(session) && !standings.contains_key(session));
        seen.told.retain(|session| there.contains(session));
        for sandbox in &listed {
            let fence = match standings.get(&sandbox.session) {
                Some(standing) if !lifecycle::is_final(standing.state) => continue,
                Some(standing) => standing.fence.max(sandbox.fence),
                None => match self.nobodys(sandbox, seen).await? {
                    Some(fence) => fence,
                    None => continue,
                },
            };
            if let Err(error) = self.destroy_orphan(sandbox, fence, seen).await {
                tracing::warn!(session = %sandbox.session, error = &error as &dyn std::error::Error, "an orphan is still there");
            }
        }
        Ok(())
    }

    /// The fence under which to destroy what is of no session, or of one that is over, for longer than a mistake
    /// of an operator's would take to be noticed.
    async fn nobodys(&self, sandbox: &Listed, seen: &mut Seen) -> Result<Option<i64>, PhaseError> {
        let since = *seen.strangers.entry(sandbox.session).or_insert_with(Instant::now);
        if since.elapsed() < self.settings.orphan_grace {
            return Ok(None);
        }
        // Its label may have been lost, and with it the tenant.
        Ok(match self.ledger.standing(sandbox.session).await? {
            None => Some(sandbox.fence),
            Some(standing) if lifecycle::is_final(standing.state) => Some(standing.fence.max(sandbox.fence)),
            Some(_) => None,
        })
    }

    /// Under the highest fence that is known of: no worker has a higher one, and if a ledger is brought back
    /// that knows the session after all, the next claim there has.
    async fn destroy_orphan(&self, sandbox: &Listed, fence: i64, seen: &mut Seen) -> Result<(), PhaseError> {
        let session = sandbox.session;
        // The operation that ended the session may have removed it since it was listed.
        if in_time(self.provider().inspect(session)).await? == Status::Absent {
            return Ok(());
        }
        if seen.told.insert(session) {
            tracing::warn!(%session, tenant = %sandbox.tenant, "a sandbox without a session that could use it is destroyed");
        }
        in_time(self.provider().destroy(session, fence)).await?;
        // Not before: one that cannot be removed would count again with every start of a worker, and so with every release.
        self.metrics.orphan();
        Ok(())
    }

    async fn fail_lost(&self) -> Result<(), PhaseError> {
        // Handles of before roots had ids name none: whose they are is seen when they are looked at.
        for root in self.provider().root().into_iter().chain([""]) {
            self.fail_lost_of(root).await?;
        }
        Ok(())
    }

    async fn fail_lost_of(&self, root: &str) -> Result<(), PhaseError> {
        let mut last = None;
        loop {
            let (page, more) = self.ledger.ready_sessions(root, last.as_ref()).await?;
            last = page.last().cloned();
            let suspects: Vec<Ready> = self.look(page).await.into_iter().map(|(suspect, _)| suspect).collect();
            if !suspects.is_empty() {
                tokio::time::sleep(SECOND_LOOK).await;
                for (lost, found) in self.look(suspects).await {
                    if self.ledger.lose(&lost.tenant, lost.session, &failure::sandbox_lost(&found)).await? {
                        tracing::warn!(session = %lost.session, found, "the sandbox of a ready session is lost");
                    }
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Those of these sessions whose sandbox is this provider's and cannot serve any more, and why.
    async fn look(&self, sessions: Vec<Ready>) -> Vec<(Ready, String)> {
        let mut own = sessions.into_iter().filter(|ready| self.is_own(ready)).peekable();
        let mut lost = Vec::new();
        while own.peek().is_some() {
            let mut looks = JoinSet::new();
            for ready in own.by_ref().take(AT_ONCE) {
                let provider = Arc::clone(self.provider());
                looks.spawn(async move {
                    let status = in_time(provider.inspect(ready.session)).await;
                    (ready, status)
                });
            }
            while let Some(looked) = looks.join_next().await {
                let Ok((ready, status)) = looked else { continue };
                match status {
                    Ok(Status::Absent) => lost.push((ready, "the sandbox is gone".to_owned())),
                    Ok(Status::Idle) => {
                        let ended = self.provider().ended(ready.session).await;
                        lost.push((ready, ended.unwrap_or_else(|| "nothing serves it any more, so it is removed".to_owned())));
                    }
                    Ok(Status::Serving { .. }) => {}
                    Err(error) => {
                        tracing::warn!(session = %ready.session, error = &error as &dyn std::error::Error, "a sandbox cannot be looked at")
                    }
                }
            }
        }
        lost
    }

    fn is_own(&self, ready: &Ready) -> bool {
        let handle = ready.sandbox.clone().map(serde_json::from_value::<Handle>);
        handle.is_some_and(|handle| handle.is_ok_and(|handle| self.provider().reaches(&handle)))
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, PhaseError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(answer) => answer.map_err(|error| PhaseError::provider(STEP, error)),
        Err(_) => Err(PhaseError::transient(STEP, "the provider did not answer in time")),
    }
}
