//! A provider whose calls are timed, and are spans of the trace that they are made in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use async_trait::async_trait;
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span, field::Empty};

use super::{Command, Endpoint, Exit, Handle, Listed, Listener, Output, Provider, ProviderError, SandboxSpec, ServedOutput, Status};
use crate::{domain::apps::App, metrics::Metrics};

/// Around any provider. Tells of every call that comes back; one that is dropped half way is not told of.
#[derive(Debug)]
pub struct Observed {
    provider: Arc<dyn Provider>,
    metrics: Arc<Metrics>,
}

/// The span of a call: its name is fixed, and nothing of what it is given is in it but the session and the fence.
macro_rules! span {
    ($self:ident, $name:literal, $session:expr $(, fence = $fence:expr)?) => {
        tracing::debug_span!(
            concat!("sandbox.", $name),
            provider = $self.provider.name(),
            session = %$session,
            $(fence = $fence,)?
            otel.status_code = Empty
        )
    };
}

/// The call's span and its own name, which is a label of the metric.
macro_rules! call {
    ($self:ident, $name:literal, $session:expr, $answer:expr $(, fence = $fence:expr)?) => {
        $self.observe($name, span!($self, $name, $session $(, fence = $fence)?), $answer).await
    };
}

impl Observed {
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, metrics: Arc<Metrics>) -> Self {
        Self { provider, metrics }
    }

    async fn observe<T>(
        &self,
        call: &'static str,
        span: Span,
        answer: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let begun = Instant::now();
        let answer = answer.instrument(span.clone()).await;
        self.metrics.provider_call(call, answer.is_ok(), begun.elapsed());
        if answer.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        answer
    }
}

#[async_trait]
impl Provider for Observed {
    fn name(&self) -> &'static str {
        self.provider.name()
    }

    fn reaches(&self, handle: &Handle) -> bool {
        self.provider.reaches(handle)
    }

    fn root(&self) -> Option<&str> {
        self.provider.root()
    }

    async fn ensure(&self, spec: &SandboxSpec) -> Result<Handle, ProviderError> {
        call!(self, "ensure", spec.session, self.provider.ensure(spec), fence = spec.fence)
    }

    async fn exec(&self, handle: &Handle, fence: i64, command: Command, output: mpsc::Sender<Output>) -> Result<Exit, ProviderError> {
        call!(self, "exec", handle.session, self.provider.exec(handle, fence, command, output), fence = fence)
    }

    async fn serve(&self, handle: &Handle, fence: i64, command: Command) -> Result<Endpoint, ProviderError> {
        call!(self, "serve", handle.session, self.provider.serve(handle, fence, command), fence = fence)
    }

    async fn served_output(&self, handle: &Handle, limit: usize) -> Result<String, ProviderError> {
        call!(self, "served_output", handle.session, self.provider.served_output(handle, limit))
    }

    async fn served_length(&self, handle: &Handle) -> Result<u64, ProviderError> {
        // Looks at all sandboxes, every second: in no trace.
        self.observe("served_length", Span::none(), self.provider.served_length(handle)).await
    }

    async fn served_from(&self, handle: &Handle, from: u64, limit: usize) -> Result<ServedOutput, ProviderError> {
        call!(self, "served_from", handle.session, self.provider.served_from(handle, from, limit))
    }

    async fn stop(&self, handle: &Handle, fence: i64, grace: Duration) -> Result<(), ProviderError> {
        call!(self, "stop", handle.session, self.provider.stop(handle, fence, grace), fence = fence)
    }

    async fn destroy(&self, session: SessionId, fence: i64) -> Result<(), ProviderError> {
        call!(self, "destroy", session, self.provider.destroy(session, fence), fence = fence)
    }

    async fn ended(&self, session: SessionId) -> Option<String> {
        self.provider.ended(session).await
    }

    async fn inspect(&self, session: SessionId) -> Result<Status, ProviderError> {
        call!(self, "inspect", session, self.provider.inspect(session))
    }

    async fn listener(&self, app: App) -> Result<Option<Listener>, ProviderError> {
        call!(self, "listener", app.session, self.provider.listener(app))
    }

    async fn is_still(&self, listener: &Listener) -> bool {
        self.provider.is_still(listener).await
    }

    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        self.observe("list", Span::none(), self.provider.list()).await
    }
}
