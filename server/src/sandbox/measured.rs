//! A provider whose calls are timed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Command, Endpoint, Exit, Handle, Listed, Output, Provider, ProviderError, SandboxSpec, ServedOutput, Status};
use crate::metrics::Metrics;

/// Tells the metrics of every call that comes back; one that is dropped half way is not told of.
#[derive(Debug)]
pub struct Measured {
    provider: Arc<dyn Provider>,
    metrics: Arc<Metrics>,
}

impl Measured {
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, metrics: Arc<Metrics>) -> Self {
        Self { provider, metrics }
    }

    async fn measure<T>(&self, call: &'static str, answer: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let begun = Instant::now();
        let answer = answer.await;
        self.metrics.provider_call(call, answer.is_ok(), begun.elapsed());
        answer
    }
}

#[async_trait]
impl Provider for Measured {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn reaches(&self, handle: &Handle) -> bool {
        self.provider.reaches(handle)
    }

    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError> {
        self.measure("ensure", self.provider.ensure(spec)).await
    }

    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError> {
        self.measure("exec", self.provider.exec(handle, fence, command, output)).await
    }

    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError> {
        self.measure("serve", self.provider.serve(handle, fence, command)).await
    }

    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError> {
        self.measure("served_output", self.provider.served_output(handle, limit)).await
    }

    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError> {
        self.measure("served_length", self.provider.served_length(handle)).await
    }

    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError> {
        self.measure("served_from", self.provider.served_from(handle, from, limit)).await
    }

    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError> {
        self.measure("stop", self.provider.stop(handle, fence, grace)).await
    }

    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError> {
        self.measure("destroy", self.provider.destroy(session, fence)).await
    }

    async fn ended(&self, session: SessionId) -> Option<String> {
        self.provider.ended(session).await
    }

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError> {
        self.measure("inspect", self.provider.inspect(session)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.measure("list", self.provider.list()).await
    }
}
