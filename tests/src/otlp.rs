//! A receiver of traces over OTLP, by HTTP and by gRPC, that keeps what it is sent: as bytes and as OpenTelemetry's own definitions
//! decode it.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;

/// Where gRPC's clients call.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Bytes before a message of gRPC.
const FRAME: usize = 5;

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
        let router = Router::new().route(EXPORT, post(called)).with_state(receiver.clone());
        // Unlike axum's own, it speaks HTTP/2.
        let server = axum_server::from_tcp(listener.into_std().unwrap()).unwrap();
        tokio::spawn(async move { server.serve(router.into_make_service()).await.unwrap() });
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

/// One call of gRPC: a message in a frame (whether it is compressed, its length, itself), answered by an empty one and a status.
async fn called(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let message = body.split_at_checked(FRAME).filter(|(frame, _)| frame[0] == 0).map(|(_, message)| message);
    let status = match message.map(ExportTraceServiceRequest::decode) {
        Some(Ok(request)) => {
            receiver.keep(request, &body, &headers);
            "0"
        }
        Some(Err(_)) | None => "3",
    };
    let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; FRAME]))), Ok(Frame::trailers(trailers(status)))];
    ([(CONTENT_TYPE, "application/grpc")], Body::new(StreamBody::new(stream::iter(frames)))).into_response()
}

fn trailers(status: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))])
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
