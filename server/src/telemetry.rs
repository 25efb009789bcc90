//! Logs to stderr, and traces over OTLP where an endpoint is configured.

use std::{collections::HashMap, io::IsTerminal};

use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    propagation::TraceContextPropagator,
    runtime::Tokio,
    trace::{SdkTracerProvider, span_processor_with_async_runtime::BatchSpanProcessor},
};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, ParseError, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    registry::LookupSpan,
    util::{SubscriberInitExt, TryInitError},
};

const TRACEPARENT: &str = "traceparent";
const TRACES_PATH: &str = "/v1/traces";

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
    /// The base URL of an OTLP/HTTP receiver, as `OTEL_EXPORTER_OTLP_ENDPOINT`; none: no export.
    pub otlp_endpoint: Option<String>,
    pub service_name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the log filter `{filter}` is not understood")]
    Filter { filter: String, source: ParseError },
    #[error("traces cannot be sent to the OTLP endpoint")]
    Exporter(#[from] ExporterBuildError),
    #[error("logging is set up already")]
    Again(#[from] TryInitError),
    #[error("the last traces could not be sent")]
    Flush(#[from] OTelSdkError),
    #[error("the last traces could not be sent in time")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// What has to be flushed before the program ends.
#[derive(Debug, Default)]
#[must_use = "call shutdown() before the program ends, or the last spans are lost"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Send what is still held, and stop.
    pub async fn shutdown(self) -> Result<(), TelemetryError> {
        let Some(provider) = self.0 else { return Ok(()) };
        // It blocks until the exporter, which needs this runtime, is done.
        Ok(tokio::task::spawn_blocking(move || provider.shutdown()).await??)
    }
}

/// Set up logs and traces for the whole program. Within a tokio runtime, which the exporter uses.
pub fn init(settings: &Settings) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = subscriber(settings, std::io::stderr)?;
    subscriber.try_init()?;
    Ok(guard)
}

fn subscriber<W>(settings: &Settings, writer: W) -> Result<(impl Subscriber + Send + Sync + use<W>, Guard), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(&settings.filter).map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })?;
    let provider = settings.otlp_endpoint.as_deref().map(|endpoint| exporting(endpoint, &settings.service_name)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let ours = Targets::new().with_target("alpine_server", LevelFilter::INFO);
        // Only our own spans: those of the exporter's HTTP client would be exported in turn, for ever.
        tracing_opentelemetry::layer().with_tracer(provider.tracer("alpine")).with_filter(ours)
    });
    let subscriber = tracing_subscriber::registry().with(spans).with(log(settings.format, writer).with_filter(filter));
    Ok((subscriber, Guard(provider)))
}

fn log<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        // Colours are for a terminal, not for the file that stderr was sent to.
        Format::Pretty => layer.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed(),
    }
}

fn exporting(endpoint: &str, service: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let endpoint = endpoint.trim_end_matches('/');
    // A configured endpoint is a base URL; the exporter takes what it is given as it is.
    let url = if endpoint.ends_with(TRACES_PATH) { endpoint.to_owned() } else { format!("{endpoint}{TRACES_PATH}") };
    let exporter = SpanExporter::builder().with_http().with_endpoint(url).build()?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    // The exporter's client needs the runtime, so the batches are sent by a task and not by a thread.
    let batches = BatchSpanProcessor::builder(exporter, Tokio).build();
    Ok(SdkTracerProvider::builder().with_span_processor(batches).with_resource(resource).build())
}

/// The W3C `traceparent` of the current span, to be carried to whoever goes on with it. `None` where
/// nothing is traced.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Make `span` a child of the span that `traceparent` names. Before the span is entered for the first time.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent else { return };
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    // Without the OpenTelemetry layer there is nothing to follow.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&carrier));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tracing::instrument::WithSubscriber;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn settings(otlp_endpoint: Option<String>) -> Settings {
        Settings { format: Format::Json, filter: "info".into(), otlp_endpoint, service_name: "alpine-test".into() }
    }

    /// One request's head and body, answered 200.
    async fn receive(listener: TcpListener) -> (String, Vec<u8>) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await.unwrap();
            assert_ne!(read, 0, "closed before the request was whole");
            bytes.extend_from_slice(&chunk[..read]);
            let Some(head) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
            let length = text.to_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
            if bytes.len() >= head + 4 + length {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                return (text, bytes.split_off(head + 4));
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spans_reach_the_otlp_endpoint_in_the_callers_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let received = tokio::spawn(receive(listener));
        let (subscriber, guard) = subscriber(&settings(Some(endpoint)), std::io::sink).unwrap();
        let seen = tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: "alpine_server", "the_span_that_is_exported");
            follow(&span, Some(PARENT));
            let _entered = span.entered();
            current_traceparent()
        });
        guard.shutdown().await.unwrap();
        let (head, body) = received.await.unwrap();
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        assert!(body.windows(25).any(|w| w == b"the_span_that_is_exported"));
        assert!(body.windows(11).any(|w| w == b"alpine-test"));
        let trace: Vec<u8> = (0..32).step_by(2).map(|i| u8::from_str_radix(&PARENT[3 + i..5 + i], 16).unwrap()).collect();
        assert!(body.windows(16).any(|w| w == trace), "the exported span is in another trace");
        assert!(seen.unwrap().starts_with(&PARENT[..35]));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn without_an_endpoint_nothing_is_exported_and_logs_are_json() {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, guard) = subscriber(&settings(None), move || writer.clone()).unwrap();
        async {
            follow(&Span::current(), Some(PARENT));
            tracing::info!(answer = 42, "said");
            tracing::debug!("not said");
            assert_eq!(current_traceparent(), None);
        }
        .with_subscriber(subscriber)
        .await;
        guard.shutdown().await.unwrap();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["answer"], &line["message"]), (&42.into(), &"said".into()));
    }

    #[tokio::test]
    async fn a_filter_or_an_endpoint_that_is_not_understood_is_refused() {
        let filter = Settings { filter: "a=b=c".into(), ..settings(None) };
        assert!(matches!(subscriber(&filter, std::io::sink), Err(TelemetryError::Filter { .. })));
        let endpoint = settings(Some("not a url".into()));
        assert!(matches!(subscriber(&endpoint, std::io::sink), Err(TelemetryError::Exporter(_))));
    }
}
