//! Ids of spans and traces: random, or such as another process would give to the same thing.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use sha2::{Digest as _, Sha256};

thread_local! {
    /// The ids of the one span that is just being started on this thread: the SDK asks its generator without saying for what.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// A digest of what names a thing for ever.
pub(super) fn digest(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

pub(super) fn trace_id(parts: &[&str]) -> TraceId {
    TraceId::from_bytes(digest(parts))
}

pub(super) fn span_id(parts: &[&str]) -> SpanId {
    let [a, b, c, d, e, f, g, h, ..] = digest(parts);
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}

/// Spans that `start` starts have these ids (the trace's, if they have no parent).
pub(super) fn with<T>(trace: TraceId, span: SpanId, start: impl FnOnce() -> T) -> T {
    struct Cleared;
    impl Drop for Cleared {
        fn drop(&mut self) {
            NEXT.set(None);
        }
    }
    NEXT.set(Some((trace, span)));
    let _cleared = Cleared;
    start()
}

#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}
