//! One worker's hold on an operation as a part of the operation's trace, which goes on when another worker does.
//!
//! The ids of a hold's spans follow from the operation, the fence and the phase. So nothing has to be stored for whoever adopts an
//! operation to name the spans of the one that was lost; and as those, never ended, were never sent, it sends them in its stead:
//! what the lost worker did send has a parent.

use std::time::{Duration, SystemTime};

use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceId, TraceState, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Tracer, context, ids};

/// What one worker does on an operation under one fence.
#[derive(Debug, Clone)]
pub struct Hold {
    operation: String,
    fence: i64,
    /// The request that the operation was accepted in.
    parent: Option<SpanContext>,
}

/// What is known of the worker whose operation is taken over.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'a> {
    /// The name of an operation's span.
    pub operation: &'a str,
    /// The phase, and the name of its span.
    pub phase: &'a str,
    pub phase_name: &'a str,
    /// For how long that phase has been under way.
    pub age: Duration,
}

impl Hold {
    #[must_use]
    pub fn new(operation: String, fence: i64, traceparent: Option<&str>) -> Self {
        Self { operation, fence, parent: traceparent.and_then(context::parse) }
    }

    /// `span` is this hold's. Before it is entered for the first time.
    pub fn begin(&self, span: &Span) {
        if let Some(parent) = &self.parent {
            // Without an exporter there is nothing to follow.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent.clone()));
        }
        ids::with(self.trace(), self.span(), || context::know(span, || self.context()));
    }

    /// `span`, within the hold's own, is this phase's. Before it is entered for the first time.
    pub fn begin_phase(&self, span: &Span, phase: &str) {
        let id = self.phase(phase);
        ids::with(self.trace(), id, || context::know(span, || self.at(id)));
    }

    /// The claim, which took so long: told of afterwards, as it was nobody's until it was made.
    pub fn claimed(&self, span: &Span, took: Duration, worker: &str, adopted: bool) {
        let Some(tracer) = tracer() else { return };
        let parent = self.parent.clone().unwrap_or_else(|| span.context().span().span_context().clone());
        let attributes = [KeyValue::new("worker", worker.to_owned()), KeyValue::new("adopted", adopted)];
        let parent = Context::new().with_remote_span_context(parent);
        let id = ids::span_id(&["claim", &self.operation, &self.fence.to_string()]);
        self.told(&tracer, &parent, id, SpanBuilder::from_name("claim").with_attributes(attributes), took, Status::Unset);
    }

    /// This hold follows on the lost one, whose spans are ended here.
    pub fn adopt(&self, span: &Span, lost: &Lost<'_>) {
        let Some(tracer) = tracer() else { return };
        // A claim raises the fence by one.
        let before = Self { fence: self.fence - 1, ..self.clone() };
        span.add_link_with_attributes(before.context(), vec![KeyValue::new("reason", "adopted")]);
        let status = || Status::error("the worker that held the operation was lost");
        let parent = self.parent.clone().map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let attributes = || [KeyValue::new("lost", true), KeyValue::new("fence", before.fence)];
        let whole = SpanBuilder::from_name(lost.operation.to_owned()).with_kind(SpanKind::Consumer).with_attributes(attributes());
        let phase = SpanBuilder::from_name(lost.phase_name.to_owned()).with_attributes(attributes());
        let within = before.told(&tracer, &parent, before.span(), whole, lost.age, status());
        before.told(&tracer, &within, before.phase(lost.phase), phase, lost.age, status());
    }

    /// A span that began so long ago and ends now; what its children have as their parent.
    #[expect(clippy::disallowed_methods, reason = "spans are dated as the SDK dates all others")]
    fn told(&self, tracer: &SdkTracer, parent: &Context, id: SpanId, span: SpanBuilder, took: Duration, status: Status) -> Context {
        let now = SystemTime::now();
        let begun = now.checked_sub(took).unwrap_or(now);
        let mut span = ids::with(self.trace(), id, || tracer.build_with_context(span.with_start_time(begun), parent));
        span.set_status(status);
        span.end_with_timestamp(now);
        Context::new().with_remote_span_context(span.span_context().clone())
    }

    fn context(&self) -> SpanContext {
        self.at(self.span())
    }

    fn at(&self, span: SpanId) -> SpanContext {
        let flags = self.parent.as_ref().map_or(opentelemetry::TraceFlags::SAMPLED, SpanContext::trace_flags);
        SpanContext::new(self.trace(), span, flags, true, TraceState::default())
    }

    fn trace(&self) -> TraceId {
        self.parent.as_ref().map_or_else(|| ids::trace_id(&["operation", &self.operation]), SpanContext::trace_id)
    }

    fn span(&self) -> SpanId {
        ids::span_id(&["operation", &self.operation, &self.fence.to_string()])
    }

    fn phase(&self, phase: &str) -> SpanId {
        ids::span_id(&["phase", &self.operation, &self.fence.to_string(), phase])
    }
}

/// None where there is no exporter.
fn tracer() -> Option<SdkTracer> {
    tracing::dispatcher::get_default(|subscriber| subscriber.downcast_ref::<Tracer>().map(|Tracer(tracer)| tracer.clone()))
}
