//! Traces over OTLP: to whom, which, and what becomes of them when nobody takes them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _, tonic_types::metadata::MetadataMap,
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::TelemetryResourceDetector,
    runtime::Tokio,
    trace::{Sampler, SdkTracerProvider, SpanData, span_processor_with_async_runtime::BatchSpanProcessor},
};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};

use super::{TelemetryError, ids::Ids};

const TRACES_PATH: &str = "/v1/traces";
const SERVICE_NAME: &str = "service.name";
const INSTANCE: &str = "service.instance.id";
/// How often it is said that traces are lost, as long as they are.
const SAID_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    HttpProtobuf,
    Grpc,
}

/// Which traces are sent, as OpenTelemetry names it. Ratios are of trace ids, so that all replicas decide alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    AlwaysOn,
    AlwaysOff,
    Ratio(f64),
    ParentOrAlwaysOn,
    ParentOrAlwaysOff,
    ParentOrRatio(f64),
}

impl From<Sampling> for Sampler {
    fn from(sampling: Sampling) -> Self {
        let parent_or = |root: Self| Self::ParentBased(Box::new(root));
        match sampling {
            Sampling::AlwaysOn => Self::AlwaysOn,
            Sampling::AlwaysOff => Self::AlwaysOff,
            Sampling::Ratio(ratio) => Self::TraceIdRatioBased(ratio),
            Sampling::ParentOrAlwaysOn => parent_or(Self::AlwaysOn),
            Sampling::ParentOrAlwaysOff => parent_or(Self::AlwaysOff),
            Sampling::ParentOrRatio(ratio) => parent_or(Self::TraceIdRatioBased(ratio)),
        }
    }
}

/// Where traces go, in whose name, and which.
#[derive(Debug, Clone)]
pub struct Export {
    /// The base URL of an OTLP receiver.
    pub endpoint: String,
    pub protocol: Protocol,
    /// Sent with each batch, as [`parse_pairs`] reads them. Often what the server proves itself with.
    pub headers: SecretString,
    pub sampling: Sampling,
    /// A `service.name` among the attributes counts where this is not configured.
    pub service: Option<String>,
    pub attributes: Vec<(String, String)>,
}

impl Export {
    pub(super) fn provider(&self) -> Result<SdkTracerProvider, TelemetryError> {
        let exporter = Attended { exporter: self.exporter()?, lost: Mutex::default() };
        // The exporters' clients need the runtime, so the batches are sent by a task and not by a thread. The queue is bounded: what
        // finds no place in it is dropped.
        let batches = BatchSpanProcessor::builder(exporter, Tokio).build();
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::from(self.sampling)).with_id_generator(Ids::default());
        Ok(provider.with_span_processor(batches).with_resource(self.resource()).build())
    }

    pub(super) fn check(&self) -> Result<(), TelemetryError> {
        self.exporter().map(drop)
    }

    fn exporter(&self) -> Result<SpanExporter, TelemetryError> {
        let endpoint = self.endpoint.trim_end_matches('/');
        let headers = self.headers()?;
        match self.protocol {
            Protocol::HttpProtobuf => {
                // A configured endpoint is a base URL; the exporter takes what it is given as it is.
                let url = if endpoint.ends_with(TRACES_PATH) { endpoint.to_owned() } else { format!("{endpoint}{TRACES_PATH}") };
                let text = |value: &HeaderValue| value.to_str().map(str::to_owned).map_err(|_| TelemetryError::Headers(BadPairs));
                let headers = headers.iter().map(|(name, value)| Ok((name.to_string(), text(value)?)));
                let headers = headers.collect::<Result<HashMap<String, String>, TelemetryError>>()?;
                Ok(SpanExporter::builder().with_http().with_endpoint(url).with_headers(headers).build()?)
            }
            Protocol::Grpc => {
                let metadata = MetadataMap::from_headers(headers);
                Ok(SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_metadata(metadata).build()?)
            }
        }
    }

    fn headers(&self) -> Result<HeaderMap, BadPairs> {
        let header = |(name, value): (String, String)| {
            let mut value = HeaderValue::try_from(value).map_err(|_| BadPairs)?;
            value.set_sensitive(true);
            Ok((HeaderName::try_from(name).map_err(|_| BadPairs)?, value))
        };
        parse_pairs(self.headers.expose_secret())?.into_iter().map(header).collect()
    }

    pub(super) fn resource(&self) -> Resource {
        let named = |name: &str| self.attributes.iter().any(|(given, _)| given == name);
        let mut attributes = vec![KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
        if !named(INSTANCE) {
            attributes.push(KeyValue::new(INSTANCE, uuid::Uuid::new_v4().to_string()));
        }
        if self.service.is_some() || !named(SERVICE_NAME) {
            let service = self.service.clone().unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
            attributes.push(KeyValue::new(SERVICE_NAME, service));
        }
        let given = self.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let resource = Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector));
        resource.with_attributes(given).with_attributes(attributes).build()
    }
}

/// `a=b,c=d` with percent-encoded values, as OpenTelemetry writes headers and attributes.
pub fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, BadPairs> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or(BadPairs)?;
        let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| BadPairs)?;
        if name.trim().is_empty() { Err(BadPairs) } else { Ok((name.trim().to_owned(), value.into_owned())) }
    };
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(pair).collect()
}

/// It is not told what stood there: it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is needed is name=value, comma-separated")]
pub struct BadPairs;

/// An exporter whose failures are said once a minute and not once a batch.
struct Attended {
    exporter: SpanExporter,
    lost: Mutex<Lost>,
}

/// Spans that were lost since the last one that was not, and when it was said.
#[derive(Debug, Default)]
struct Lost {
    spans: usize,
    said: Option<Instant>,
}

impl fmt::Debug for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter holds the headers.
        f.debug_struct("Attended").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Attended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let sent = self.exporter.export(batch).await;
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        match &sent {
            Ok(()) if lost.spans > 0 => {
                tracing::info!(spans_lost = lost.spans, "traces are taken again");
                *lost = Lost::default();
            }
            Ok(()) => {}
            Err(error) => {
                lost.spans += count;
                if lost.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
                    lost.said = Some(Instant::now());
                    tracing::warn!(%error, spans_lost = lost.spans, "traces are not taken");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
