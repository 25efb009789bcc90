//! A provider whose calls go wrong by the rules.

use std::{sync::Arc, time::Duration};

use alpine_api::SessionId;
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{
    Faults,
    inject::Injected,
    rule::{Place, Point, When},
};
use crate::{
    domain::apps::App,
    sandbox::{Command, Endpoint, Exit, Handle, Listed, Listener, Output, Provider, ProviderError, SandboxSpec, ServedOutput, Status},
};

#[derive(Debug)]
pub struct FaultyProvider {
    inner: Arc<dyn Provider>,
    faults: Faults,
}

impl FaultyProvider {
    pub fn new(inner: Arc<dyn Provider>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// An error after the call is a reply that was lost.
    async fn call<T>(&self, name: &'static str, run: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let place = Place::Call(name);
        self.faults.strike(Point { place, when: When::Before }).await?;
        let answer = run.await?;
        self.faults.strike(Point { place, when: When::After }).await?;
        Ok(answer)
    }
}

impl From<Injected> for ProviderError {
    fn from(error: Injected) -> Self {
        Self::Transient { what: error.to_string(), source: Some(error.source) }
    }
}

#[async_trait]
impl Provider for FaultyProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn reaches(&self, handle: &Handle) -> bool {
        self.inner.reaches(handle)
    }

    fn root(&self) -> Option<&str> {
        self.inner.root()
    }

    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError> {
        self.call("ensure", self.inner.ensure(spec)).await
    }

    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError> {
        self.call("exec", self.inner.exec(handle, fence, command, output)).await
    }

    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError> {
        self.call("serve", self.inner.serve(handle, fence, command)).await
    }

    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError> {
        self.inner.served_output(handle, limit).await
    }

    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError> {
        self.inner.served_length(handle).await
    }

    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError> {
        self.inner.served_from(handle, from, limit).await
    }

    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError> {
        self.call("stop", self.inner.stop(handle, fence, grace)).await
    }

    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError> {
        self.call("destroy", self.inner.destroy(session, fence)).await
    }

    async fn ended(&self, session: SessionId) -> Option<String> {
        self.inner.ended(session).await
    }

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError> {
        self.call("inspect", self.inner.inspect(session)).await
    }

    async fn listener(&self, app: App) -> Result<Option<Listener>, ProviderError> {
        self.inner.listener(app).await
    }

    async fn is_still(&self, listener: &Listener) -> bool {
        self.inner.is_still(listener).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.inner.list().await
    }
}
