//! A provider whose calls are spans of the trace that they are made in.

use std::{sync::Arc, time::Duration};

use alpine_api::SessionId;
use async_trait::async_trait;
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span, field::Empty};

use super::{Command, Endpoint, Exit, Handle, Listed, Output, Provider, ProviderError, SandboxSpec, ServedOutput, Status};

/// Around any provider. Calls that belong to no operation (looks at all sandboxes) are in no trace.
#[derive(Debug)]
pub struct Traced(Arc<dyn Provider>);

/// The span of a call: its name is fixed, and nothing of what it is given is in it but the session and the fence.
macro_rules! span {
    ($self:ident, $name:literal, $session:expr $(, fence = $fence:expr)?) => {
        tracing::debug_span!($name, provider = $self.0.name(), session = %$session, $(fence = $fence,)? otel.status_code = Empty)
    };
}

/// The call, in its span.
async fn told<T>(span: Span, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let answer = call.instrument(span.clone()).await;
    if answer.is_err() {
        span.record("otel.status_code", "ERROR");
    }
    answer
}

impl Traced {
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self(provider)
    }
}

#[async_trait]
impl Provider for Traced {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn reaches(&self, handle: &Handle) -> bool {
        self.0.reaches(handle)
    }

    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError> {
        told(span!(self, "sandbox.ensure", spec.session, fence = spec.fence), self.0.ensure(spec)).await
    }

    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError> {
        told(span!(self, "sandbox.exec", handle.session, fence = fence), self.0.exec(handle, fence, command, output)).await
    }

    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError> {
        told(span!(self, "sandbox.serve", handle.session, fence = fence), self.0.serve(handle, fence, command)).await
    }

    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError> {
        told(span!(self, "sandbox.served_output", handle.session), self.0.served_output(handle, limit)).await
    }

    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError> {
        self.0.served_length(handle).await
    }

    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError> {
        told(span!(self, "sandbox.served_from", handle.session), self.0.served_from(handle, from, limit)).await
    }

    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError> {
        told(span!(self, "sandbox.stop", handle.session, fence = fence), self.0.stop(handle, fence, grace)).await
    }

    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError> {
        told(span!(self, "sandbox.destroy", session, fence = fence), self.0.destroy(session, fence)).await
    }

    async fn ended(&self, session: SessionId) -> Option<String> {
        self.0.ended(session).await
    }

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError> {
        told(span!(self, "sandbox.inspect", session), self.0.inspect(session)).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.0.list().await
    }
}
