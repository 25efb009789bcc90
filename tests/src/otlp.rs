//! A receiver of traces over OTLP, by HTTP and by gRPC, that keeps what it is sent: as bytes and as OpenTelemetry's own definitions
//! decode it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use tonic::{Request, Response, Status};

/// A span as it was received.
#[derive(Debug, Clone)]
pub struct Span {
    /// Hexadecimal, as in a `traceparent`.
    pub trace_id: String,
    pub id: String,
    /// Empty: the first of its trace.
    pub parent: String,
    pub name: String,
    pub kind: SpanKind,
    pub attributes: BTreeMap<String, String>,
    /// The same of whoever sent it.
    pub resource: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub failed: bool,
    /// Nanoseconds since 1970.
    pub began: u64,
    pub ended: u64,
}

impl Span {
    /// An attribute; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

#[derive(Debug, Default)]
struct Kept {
    requests: Vec<ExportTraceServiceRequest>,
    bytes: Vec<u8>,
    headers: Vec<String>,
}

/// What was received. Ends with the runtime that it was started on.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    kept: Arc<Mutex<Kept>>,
}

impl Receiver {
    /// By HTTP (`http/protobuf`).
    pub async fn http() -> Self {
        let (listener, receiver) = Self::listen().await;
        let router = Router::new().route("/v1/traces", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    /// By gRPC (`grpc`).
    pub async fn grpc() -> Self {
        let (listener, receiver) = Self::listen().await;
        let service = TraceServiceServer::new(receiver.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let serve = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        tokio::spawn(async move { serve.await.unwrap() });
        receiver
    }

    async fn listen() -> (tokio::net::TcpListener, Self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        (listener, Self { endpoint, kept: Arc::default() })
    }

    fn keep(&self, request: ExportTraceServiceRequest, bytes: &[u8], headers: &HeaderMap) {
        let mut kept = self.kept.lock().unwrap();
        kept.requests.push(request);
        kept.bytes.extend_from_slice(bytes);
        kept.headers.extend(headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))));
    }

    /// All that spans say, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept.lock().unwrap().bytes.clone()
    }

    /// Every header, or every piece of metadata, of every request.
    pub fn headers(&self) -> Vec<String> {
        self.kept.lock().unwrap().headers.clone()
    }

    /// Every span, in the order in which they came.
    pub fn spans(&self) -> Vec<Span> {
        let kept = self.kept.lock().unwrap();
        kept.requests.iter().flat_map(|request| request.resource_spans.iter().flat_map(read)).collect()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match ExportTraceServiceRequest::decode(body.clone()) {
        Ok(request) => receiver.keep(request, &body, &headers),
        Err(_) => return StatusCode::BAD_REQUEST,
    }
    StatusCode::OK
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let bytes = request.encode_to_vec();
        self.keep(request, &bytes, &metadata.into_headers());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(sent: &ResourceSpans) -> Vec<Span> {
    let resource = sent.resource.as_ref().map_or_else(BTreeMap::new, |resource| pairs(&resource.attributes));
    let spans = sent.scope_spans.iter().flat_map(|scope| &scope.spans);
    let read = |span: &opentelemetry_proto::tonic::trace::v1::Span| Span {
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind(),
        attributes: pairs(&span.attributes),
        resource: resource.clone(),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        failed: span.status.as_ref().is_some_and(|status| status.code() == SpanStatus::Error),
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
    };
    spans.map(read).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pairs(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref().and_then(|value| value.value.as_ref()).map_or_else(String::new, text);
    attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}
