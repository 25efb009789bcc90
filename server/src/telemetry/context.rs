//! How a trace is carried on, and how lines of a log name it: with an exporter or without.

use std::collections::HashMap;

use opentelemetry::{
    Context,
    propagation::TextMapPropagator as _,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{Registry, registry::LookupSpan as _};

const TRACEPARENT: &str = "traceparent";

/// What a span that begins a piece of work is known by. Kept with the span.
#[derive(Debug, Clone)]
pub(super) struct Known(pub SpanContext);

/// The W3C `traceparent` of the current span, to be carried to whoever goes on with it. `None` outside of all work.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let current = Span::current();
    let exported = current.context().span().span_context().clone();
    let context = if exported.is_valid() { exported } else { known(&current)? };
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Context::new().with_remote_span_context(context), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Make `span` a child of the span that `traceparent` names, or the first of a trace. Before the span is entered for the first time.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let caller = traceparent.and_then(parse);
    if let Some(caller) = &caller {
        // Without an exporter there is nothing to follow.
        let _ = span.set_parent(Context::new().with_remote_span_context(caller.clone()));
    }
    know(span, || caller.unwrap_or_else(random));
}

/// An attribute of the span as it is exported. Lines of the log that want it say it themselves, and the others do not need it.
pub fn attribute(span: &Span, name: &'static str, value: i64) {
    span.set_attribute(name, value);
}

/// Keep with the span what it is known by: as it is exported, or `else` so.
pub(super) fn know(span: &Span, unexported: impl FnOnce() -> SpanContext) {
    let exported = span.context().span().span_context().clone();
    span.with_subscriber(|(id, subscriber)| {
        let found = subscriber.downcast_ref::<Registry>().and_then(|registry| registry.span(id));
        if let Some(found) = found {
            let context = if exported.is_valid() { exported } else { unexported() };
            found.extensions_mut().replace(Known(context));
        }
    });
}

fn known(span: &Span) -> Option<SpanContext> {
    let nearest = span.with_subscriber(|(id, subscriber)| {
        let span = subscriber.downcast_ref::<Registry>()?.span(id)?;
        span.scope().find_map(|span| span.extensions().get::<Known>().map(|known| known.0.clone()))
    });
    nearest.flatten()
}

pub(super) fn parse(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier).span().span_context().clone();
    context.is_valid().then_some(context)
}

/// Something to find the lines by, and for a worker that does export.
fn random() -> SpanContext {
    let (trace, span) = (TraceId::from(fastrand::u128(1..)), SpanId::from(fastrand::u64(1..)));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}
