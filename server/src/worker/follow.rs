//! The served programs' output, taken into their sessions' logs while they run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::{
    ledger::Job,
    lifecycle::{FollowError, Followed},
    sandbox::Handle,
};

const LOOK: Duration = Duration::from_secs(1);
/// How often sandboxes are looked for that another worker has started, or an earlier server.
const SEARCH: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(10);

/// Sandboxes whose phase `start` has begun here since the last look.
#[derive(Debug, Clone, Default)]
pub struct Started(Arc<Mutex<Vec<Followed>>>);

impl Started {
    pub fn add(&self, job: &Job) {
        if let Some(Ok(handle)) = job.session.sandbox.clone().map(serde_json::from_value::<Handle>) {
            self.lock().push(Followed::new(job.lease.tenant.clone(), handle));
        }
    }

    fn take(&self) -> Vec<Followed> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Followed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Whoever reaches a sandbox may look: the ledger takes each line once.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let mut followed = HashMap::new();
        let mut searched: Option<Instant> = None;
        let looking = async {
            loop {
                if searched.is_none_or(|at| at.elapsed() > SEARCH) {
                    searched = Some(Instant::now());
                    self.search(&mut followed).await;
                }
                for new in self.started.take() {
                    followed.entry(new.session()).or_insert(new);
                }
                self.look_at_all(&mut followed).await;
                tokio::time::sleep(LOOK).await;
            }
        };
        // Another look at another time does the same again.
        stop.run_until_cancelled(looking).await;
    }

    async fn search(&self, followed: &mut HashMap<SessionId, Followed>) {
        match self.engine.provider().list().await {
            Ok(listed) => {
                for sandbox in listed {
                    followed.entry(sandbox.session).or_insert_with(|| Followed::new(sandbox.tenant, sandbox.handle));
                }
            }
            Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "sandboxes cannot be listed to be followed"),
        }
    }

    async fn look_at_all(&self, followed: &mut HashMap<SessionId, Followed>) {
        let mut rest = std::mem::take(followed).into_values();
        let mut looks: JoinSet<(Followed, Result<(), FollowError>)> = JoinSet::new();
        loop {
            while looks.len() < AT_ONCE
                && let Some(mut next) = rest.next()
            {
                let engine = self.engine.clone();
                looks.spawn(async move {
                    // One that does not answer must not keep the others waiting.
                    let looked = tokio::time::timeout(PATIENCE, engine.follow(&mut next)).await;
                    (next, looked.unwrap_or(Ok(())))
                });
            }
            let Some(looked) = looks.join_next().await else { return };
            let Ok((one, looked)) = looked else { continue };
            match looked {
                Err(error) if error.is_gone() => continue,
                // It is tried again with the next look, where the log goes on.
                Err(error) => {
                    tracing::debug!(session = %one.session(), error = &error as &dyn std::error::Error, "output is not taken now")
                }
                Ok(()) => {}
            }
            followed.insert(one.session(), one);
        }
    }
}
