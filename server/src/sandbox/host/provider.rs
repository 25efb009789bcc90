//! The calls that a provider answers, each of them about one sandbox's files and walls.

use std::{sync::Arc, time::Duration};

use alpine_api::SessionId;
use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{HostProvider, Inner, exec, fences::Fence, io, layout::Sandbox, remove, serve, slots::Label, stop};
use crate::{
    domain::apps::App,
    sandbox::{Command, Endpoint, Exit, Handle, Listed, Listener, Output, Provider, ProviderError, SandboxSpec, ServedOutput, Status},
};

#[async_trait]
impl Provider for HostProvider {
    fn name(&self) -> &'static str {
        self.inner.walls.name()
    }

    fn reaches(&self, handle: &Handle) -> bool {
        let same_path = self.inner.locate(handle).is_ok_and(|sandbox| sandbox.dir == Sandbox::of(&self.inner.root, handle.session).dir);
        // Another host may have its root at the same path. Handles of before roots had ids have the path alone.
        same_path && handle.detail.get("root").is_none_or(|root| *root == *self.inner.root_id)
    }

    fn root(&self) -> Option<&str> {
        Some(&self.inner.root_id)
    }

    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError> {
        let (label, size) = (Label::of(spec), spec.size.clone());
        self.with(move |inner| inner.ensure(&label, &size)).await
    }

    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError> {
        let sandbox = self.inner.present(handle)?;
        let fence = Fence::of(&sandbox, fence);
        exec::run(Arc::clone(&self.inner), sandbox, fence, command, output).await
    }

    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError> {
        let sandbox = self.inner.present(handle)?;
        let fence = Fence::of(&sandbox, fence);
        self.with(move |inner| serve::start(inner, &sandbox, &fence, &command)).await
    }

    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError> {
        let sandbox = self.inner.present(handle)?;
        self.with(move |_| sandbox.log_tail(limit).map_err(io("reading served.log"))).await
    }

    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError> {
        let sandbox = self.inner.present(handle)?;
        self.with(move |_| sandbox.log_length().map_err(io("looking at served.log"))).await
    }

    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError> {
        let sandbox = self.inner.present(handle)?;
        self.with(move |_| sandbox.log_part(from, limit).map_err(io("reading served.log"))).await
    }

    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError> {
        let (sandbox, session) = (self.inner.locate(handle)?, handle.session);
        let fence = Fence::of(&sandbox, fence);
        let place = sandbox.clone();
        let owner = self.with(move |inner| place.meta().map_or_else(|_| inner.owner(session), |meta| Ok(inner.owner_of(&meta)))).await?;
        stop::gracefully(&self.inner, sandbox, owner, fence, grace).await
    }

    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError> {
        remove::destroy(&self.inner, session, fence).await
    }

    async fn ended(&self, session: SessionId) -> Option<String> {
        let ended = move |inner: &Inner| {
            let verdict = inner.ended(session, &Sandbox::of(&inner.root, session));
            Ok(verdict.or_else(|| serve::starved(inner, session)))
        };
        self.with(ended).await.ok().flatten()
    }

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError> {
        self.with(move |inner| inner.status(session)).await
    }

    async fn listener(&self, app: App) -> Result<Option<Listener>, ProviderError> {
        self.with(move |inner| inner.listener(app)).await
    }

    async fn is_still(&self, listener: &Listener) -> bool {
        let listener = listener.clone();
        self.with(move |_| Ok(serve::is_still(&listener))).await.unwrap_or_default()
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.with(|inner| inner.list()).await
    }
}
