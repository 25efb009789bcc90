//! Logs to stderr, and traces over OTLP where an endpoint is configured.
//!
//! Two sorts of spans. A request, an operation and a phase are spans of level INFO: lines of the log carry their fields, whatever
//! the log's levels are. What they are made of (calls to the ledger and to sandboxes, git) is of level DEBUG: exported within a
//! trace, and without an exporter not made at all.

mod context;
mod export;
mod hold;
mod ids;
mod levels;
mod lines;
#[cfg(test)]
mod tests;

use std::{io::IsTerminal, path::PathBuf, time::Duration};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{
    error::OTelSdkError,
    trace::{SdkTracer, SdkTracerProvider},
};
use tracing::{Level, Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt as _, LevelFilter, ParseError, dynamic_filter_fn, filter_fn},
    fmt::MakeWriter,
    layer::{Context, Filter, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

pub use context::{attribute, current_traceparent, follow};
pub use export::{BadPairs, Export, Protocol, Sampling, parse_pairs};
pub use hold::{Hold, Lost};
use levels::Levels;
use lines::{Fields, Lines};

const OURS: &str = "alpine_server";
/// The spans that lines of the log are told apart by.
const CONTEXT: [&str; 4] = ["http", "operation", "phase", UNEXPORTED];
/// What comes every few seconds and says nothing new.
const UNEXPORTED: &str = "probe";
/// A receiver that does not answer holds up the end of the program no longer than this.
const LAST_FLUSH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Pretty,
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub format: Format,
    /// As in `RUST_LOG`: `info,alpine_server=debug`.
    pub filter: String,
    /// A file that counts before `filter`, and is read again while the server runs.
    pub filter_file: Option<PathBuf>,
    /// Where traces go; none: nowhere.
    pub export: Option<Export>,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter `{filter}` is not understood")]
    Filter { filter: String, source: ParseError },
    #[error("the log filter `{filter}` names neither a level nor a module: `{part}`; write `{part}=debug` if it is a module's name")]
    NoLevel { filter: String, part: String },
    #[error("the log filter of {} cannot be read", path.display())]
    FilterFile { path: PathBuf, source: std::io::Error },
    #[error("the log filter cannot be changed any more")]
    Reload(#[from] reload::Error),
    #[error("OTEL_EXPORTER_OTLP_HEADERS: {0}")]
    Headers(#[from] BadPairs),
    #[error("traces cannot be sent to the OTLP endpoint")]
    Exporter(#[from] ExporterBuildError),
    #[error("logging is set up already")]
    Again(#[from] TryInitError),
    #[error("the last traces could not be sent")]
    Flush(#[from] OTelSdkError),
    #[error("the last traces could not be sent in {} s", LAST_FLUSH.as_secs())]
    Interrupted,
}

/// What has to be flushed before the program ends.
#[derive(Debug, Default)]
#[must_use = "call shutdown() before the program ends, or the last spans are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    levels: Option<tokio::task::JoinHandle<()>>,
}

impl Guard {
    /// Send what is still held, and stop.
    pub async fn shutdown(self) -> Result<(), TelemetryError> {
        if let Some(levels) = self.levels {
            levels.abort();
        }
        let Some(provider) = self.provider else { return Ok(()) };
        let (done, is_done) = tokio::sync::oneshot::channel();
        // It blocks until the exporter, which needs this runtime, is done; and the runtime's own threads are waited for at its end.
        let flush = std::thread::Builder::new().name("last-traces".into()).spawn(move || done.send(provider.shutdown()).is_ok());
        match (flush, tokio::time::timeout(LAST_FLUSH, is_done).await) {
            (Ok(_), Ok(Ok(flushed))) => Ok(flushed?),
            _ => Err(TelemetryError::Interrupted),
        }
    }
}

/// Set up logs and traces for the whole program. Within a tokio runtime, which the exporter uses.
pub fn init(settings: &Settings) -> Result<Guard, TelemetryError> {
    let (subscriber, mut guard, levels) = subscriber(settings, std::io::stderr)?;
    subscriber.try_init()?;
    guard.levels = Some(match levels {
        Some(levels) => tokio::spawn(levels.watch()),
        // Sent to all replicas alike, it must not end those that have no file.
        None => tokio::spawn(levels::nothing_to_read()),
    });
    Ok(guard)
}

/// Whether [`init`] would take this.
pub fn check(settings: &Settings) -> Result<(), TelemetryError> {
    levels::first(&settings.filter, settings.filter_file.as_deref())?;
    settings.export.as_ref().map(Export::check).transpose()?;
    Ok(())
}

fn subscriber<W>(settings: &Settings, writer: W) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard, Option<Levels>), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(levels::first(&settings.filter, settings.filter_file.as_deref())?);
    // A line of an error is to be found by its request, however few lines are wanted.
    let context = filter_fn(|span| span.is_span() && ours(span) && CONTEXT.contains(&span.name())).with_max_level_hint(LevelFilter::INFO);
    let log = log(settings.format, writer).with_filter(filter.or(context));
    let provider = settings.export.as_ref().map(Export::provider).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false).with_tracked_inactivity(false);
        layer.with_target(false).with_tracer(provider.tracer("alpine")).with_filter(exported())
    });
    let tracer = provider.as_ref().map(|provider| Tracer(provider.tracer("alpine")).with_filter(LevelFilter::OFF));
    let levels = settings.filter_file.clone().map(|file| Levels::new(file, settings.filter.clone(), handle));
    let subscriber = tracing_subscriber::registry().with(log).with(spans).with(tracer);
    Ok((subscriber, Guard { provider, levels: None }, levels))
}

/// Our own spans alone: those of the exporter's client would be exported in turn, for ever. What nobody asked for (a look at an
/// empty queue) begins no trace.
fn exported<S>() -> impl Filter<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let always = |what: &Metadata<'_>| *what.level() <= Level::INFO;
    let wanted = move |what: &Metadata<'_>| {
        let detail = what.is_span() && *what.level() == Level::DEBUG;
        ours(what) && what.name() != UNEXPORTED && (always(what) || detail)
    };
    let now = move |what: &Metadata<'_>, within: &Context<'_, S>| wanted(what) && (always(what) || within.lookup_current().is_some());
    // Decided once for each place in the code, as far as it can be.
    let ever = move |what: &'static Metadata<'static>| match (wanted(what), always(what)) {
        (false, _) => Interest::never(),
        (true, true) => Interest::always(),
        (true, false) => Interest::sometimes(),
    };
    dynamic_filter_fn(now).with_callsite_filter(ever).with_max_level_hint(LevelFilter::DEBUG)
}

fn ours(what: &Metadata<'_>) -> bool {
    what.target().strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Where spans are made of which is only known afterwards: found by whoever needs it in the subscriber itself.
struct Tracer(SdkTracer);

impl<S: Subscriber> Layer<S> for Tracer {}

fn log<W>(format: Format, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .map_event_format(Lines::json)
            .fmt_fields(Fields)
            .boxed(),
        // Colours are for a terminal, not for the file that stderr was sent to.
        Format::Pretty => {
            let colours = std::io::stderr().is_terminal();
            layer.with_target(false).with_ansi(colours).map_event_format(|line| Lines::pretty(line.with_ansi(colours))).boxed()
        }
    }
}
