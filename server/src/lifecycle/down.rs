//! Down: stop, keep the record, and only then remove. And the clean-up of what failed.

use std::time::Duration;

use super::{Done, Engine, PhaseError};
use crate::{
    ledger::{Findings, Job, STOPPED_REASON},
    sandbox::{ProviderError, Status},
};

impl Engine {
    pub(super) async fn stop(&self, job: &Job) -> Result<Done, PhaseError> {
        if job.session.sandbox.is_none() {
            return Ok(Done::because("there is no sandbox to stop"));
        }
        let handle = Self::handle(job)?;
        let grace = if job.force { Duration::ZERO } else { self.deadlines().stop_grace };
        let stopped = self.acting(&job.lease).await?.stop(&handle, job.lease.fence, grace).await;
        self.last_words(job).await;
        match stopped {
            Ok(()) => Ok(Done::because("sandbox stopped")),
            Err(ProviderError::Gone) => Ok(Done::because("the sandbox was gone")),
            Err(error) => Err(PhaseError::provider("stop", error)),
        }
    }

    pub(super) async fn persist(&self, job: &Job) -> Result<Done, PhaseError> {
        let stored = async {
            let written = self.ledger.write_record(job).await?;
            self.ledger.verify_record(job, &written).await?;
            Ok(written.durable_object_id)
        };
        let stored: Result<String, PhaseError> = stored.await;
        if !matches!(&stored, Err(error) if error.is_fenced()) {
            self.metrics.persist_verification(stored.is_ok());
        }
        let findings = Findings { durable_object_id: Some(stored?), ..Findings::default() };
        Ok(Done { findings, ..Done::because("record stored and verified") })
    }

    pub(super) async fn destroy(&self, job: &Job) -> Result<Done, PhaseError> {
        let verified = self.ledger.verified_record(job).await?;
        let (durable_object_id, persisted_at) =
            verified.ok_or_else(|| PhaseError::permanent("destroy", "there is no verified record, so nothing is destroyed"))?;
        self.remove("destroy", job).await?;
        let findings = Findings { durable_object_id: Some(durable_object_id), ..Findings::default() };
        Ok(Done { findings, reason: STOPPED_REASON.to_owned(), at: Some(persisted_at) })
    }

    pub(super) async fn cleanup(&self, job: &Job) -> Result<Done, PhaseError> {
        self.last_words(job).await;
        self.remove("cleanup", job).await?;
        Ok(Done::because("sandbox removed"))
    }

    /// Destroy the sandbox and see that it is gone.
    async fn remove(&self, step: &'static str, job: &Job) -> Result<(), PhaseError> {
        let session = job.lease.session;
        self.acting(&job.lease).await?.destroy(session, job.lease.fence).await.map_err(|error| PhaseError::provider(step, error))?;
        match self.provider.inspect(session).await.map_err(|error| PhaseError::provider(step, error))? {
            Status::Absent => Ok(()),
            Status::Idle | Status::Serving { .. } => Err(PhaseError::transient(step, "the sandbox is still there after it was destroyed")),
        }
    }
}
