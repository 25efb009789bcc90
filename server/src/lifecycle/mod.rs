//! The engine: what one phase does, given the ledger and a provider. Clone, install, start and probe are
//! written once, here, on top of `exec`; which phase comes when is the worker's and the domain's.

mod address;
mod down;
mod error;
mod git;
mod install;
mod project;
mod redact;
mod remote;
mod report;
mod resolve;
mod run;
mod served;
mod ssh;
mod start;
mod sync;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    domain::{
        apps::AppsDomain,
        operation::{Deadlines, Phase},
    },
    ledger::{Findings, Job, Lease, Ledger},
    metrics::Metrics,
    sandbox::{Handle, Provider, SandboxSpec, Size},
};

pub use error::PhaseError;
pub use git::{GitSettings, Rewrite};
pub use served::{FollowError, Followed};

/// What the engine is told by configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub git: GitSettings,
    /// The command that serves a workspace unless the repository names its own; `$HOST` and `$PORT` are given.
    pub serve: String,
    /// Below which each session has a host of its own, if they have.
    pub apps: Option<AppsDomain>,
    pub deadlines: Deadlines,
}

/// A phase, done.
#[derive(Debug, Default)]
pub struct Done {
    pub findings: Findings,
    pub reason: String,
    /// The time that a record has given to the end of its session.
    pub at: Option<DateTime<Utc>>,
}

impl Done {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

#[derive(Debug, Clone)]
pub struct Engine {
    ledger: Ledger,
    provider: Arc<dyn Provider>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    probe: reqwest::Client,
    starts: Arc<remote::Starts>,
}

impl Engine {
    pub fn new(ledger: Ledger, provider: Arc<dyn Provider>, settings: Settings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        // A connection made before the program listens may hang for ever: short tries, each on a new one.
        let probe = reqwest::Client::builder()
            .timeout(Duration::from_millis(500))
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { ledger, provider, settings: Arc::new(settings), metrics, probe, starts: Arc::default() })
    }

    #[must_use]
    pub fn deadlines(&self) -> &Deadlines {
        &self.settings.deadlines
    }

    #[must_use]
    pub const fn provider(&self) -> &Arc<dyn Provider> {
        &self.provider
    }

    /// Run the job's phase. It may have run before, wholly or in part: each phase finds what is there.
    pub async fn run(&self, job: &Job) -> Result<Done, PhaseError> {
        if job.session.sandbox.is_some() && !self.provider.reaches(&Self::handle(job)?) {
            let cause = "the sandbox is in another server's data directory, and that server must go on with it";
            return Err(PhaseError::transient(job.phase.as_str(), cause));
        }
        match job.phase {
            Phase::Resolve => self.resolve(job).await,
            Phase::Provision => self.provision(job).await,
            Phase::Sync => self.sync(job).await,
            Phase::Install => self.install(job).await,
            Phase::Start => self.start(job).await,
            Phase::Cleanup => self.cleanup(job).await,
            Phase::Stop => self.stop(job).await,
            Phase::Persist => self.persist(job).await,
            Phase::Destroy => self.destroy(job).await,
        }
    }

    async fn provision(&self, job: &Job) -> Result<Done, PhaseError> {
        let spec = SandboxSpec {
            tenant: job.lease.tenant.clone(),
            session: job.lease.session,
            fence: job.lease.fence,
            size: Size::from(&job.session.size),
        };
        // The intent is on record: the session is `provisioning`, and its sandbox's name is its id.
        let handle = self.acting(&job.lease).await?.ensure(&spec).await.map_err(|error| PhaseError::provider("provision", error))?;
        let sandbox = serde_json::to_value(&handle).map_err(|error| PhaseError::permanent("provision", error.to_string()))?;
        Ok(Done { findings: Findings { sandbox: Some(sandbox), ..Findings::default() }, ..Done::because("sandbox made") })
    }

    /// The provider, for a call that changes something. The lease is asked for right before each such call: a
    /// worker that lost it must not touch what another may have made.
    async fn acting(&self, lease: &Lease) -> Result<&dyn Provider, PhaseError> {
        self.ledger.holds(lease).await?;
        Ok(&*self.provider)
    }

    /// The sandbox that an earlier phase recorded.
    fn handle(job: &Job) -> Result<Handle, PhaseError> {
        let recorded =
            job.session.sandbox.clone().ok_or_else(|| PhaseError::permanent(job.phase.as_str(), "the session has no sandbox"))?;
        serde_json::from_value(recorded)
            .map_err(|error| PhaseError::permanent(job.phase.as_str(), format!("the sandbox's handle is not readable: {error}")))
    }
}

#[cfg(test)]
mod tests;
