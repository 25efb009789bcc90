use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Instant,
};

use opentelemetry::trace::{SpanId, TraceContextExt as _};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tracing::{Dispatch, Span, dispatcher::with_default, instrument::WithSubscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What one subscriber wants of a place in the code holds for the process: none with an exporter beside one that is to have none.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn settings(endpoint: Option<String>) -> Settings {
    let export = endpoint.map(|endpoint| Export {
        endpoint,
        protocol: Protocol::HttpProtobuf,
        headers: Default::default(),
        sampling: Sampling::ParentOrAlwaysOn,
        service: Some("alpine-test".into()),
        attributes: vec![],
    });
    Settings { format: Format::Json, filter: "info".into(), filter_file: None, export }
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

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_otlp_endpoint_in_the_callers_trace() {
    let _alone = ALONE.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = tokio::spawn(receive(listener));
    let mut settings = settings(Some(endpoint));
    settings.export.as_mut().unwrap().headers = "x-proof=a%20b".into();
    let (subscriber, guard, _) = subscriber(&settings, std::io::sink).unwrap();
    let seen = tracing::subscriber::with_default(subscriber, || {
        let alone = tracing::debug_span!(target: "alpine_server::ledger", "a_detail_of_no_trace");
        drop(alone.entered());
        drop(tracing::info_span!(target: "alpine_serverless", "a_strangers_span").entered());
        let span = tracing::info_span!(target: "alpine_server", "the_span_that_is_exported");
        follow(&span, Some(PARENT));
        let _entered = span.entered();
        drop(tracing::debug_span!(target: "alpine_server::ledger", "a_detail_of_this_trace").entered());
        current_traceparent()
    });
    guard.shutdown().await.unwrap();
    let (head, body) = received.await.unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1") && head.contains("x-proof: a b"), "{head}");
    let has = |what: &[u8]| body.windows(what.len()).any(|w| w == what);
    for there in ["the_span_that_is_exported", "a_detail_of_this_trace", "alpine-test", env!("CARGO_PKG_VERSION")] {
        assert!(has(there.as_bytes()), "{there}");
    }
    for absent in ["a_detail_of_no_trace", "a_strangers_span"] {
        assert!(!has(absent.as_bytes()), "{absent}");
    }
    assert!(has(&bytes(&PARENT[3..35])), "the exported span is in another trace");
    assert!(seen.unwrap().starts_with(&PARENT[..35]));
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    fn json(&self) -> Vec<serde_json::Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn written_by(settings: &Settings) -> (Written, Dispatch, Option<Levels>) {
    let written = Written::default();
    let writer = written.clone();
    let (subscriber, _guard, levels) = subscriber(settings, move || writer.clone()).unwrap();
    (written, Dispatch::new(subscriber), levels)
}

#[tokio::test]
async fn without_an_endpoint_lines_have_ids_and_the_trace_is_handed_on() {
    let _alone = ALONE.lock().await;
    let (written, dispatch, _) = written_by(&settings(None));
    async {
        let span = tracing::info_span!(target: "alpine_server::http", "http", request_id = "r1", "otel.kind" = "server");
        follow(&span, Some(PARENT));
        let _in = span.entered();
        let detail = tracing::debug_span!(target: "alpine_server::ledger", "ledger.claim");
        assert!(detail.is_disabled(), "a detail costs nothing without an exporter");
        assert!(!detail.context().span().span_context().is_valid());
        tracing::info!(target: "alpine_server", answer = 42, request_id = "its own", "said");
        tracing::debug!(target: "alpine_server", "not said");
        assert_eq!(current_traceparent().as_deref(), Some(PARENT), "as it came");
    }
    .with_subscriber(dispatch.clone())
    .await;
    with_default(&dispatch, || {
        assert_eq!(current_traceparent(), None, "outside of all work");
        let span = tracing::info_span!(target: "alpine_server", "operation", operation = "op_1");
        follow(&span, None);
        span.in_scope(|| {
            tracing::info!(target: "alpine_server", "again");
            assert_eq!(current_traceparent().map(|own| own.len()), Some(PARENT.len()), "one of its own");
        });
    });
    let [line, again] = &written.json()[..] else { panic!("{:?}", written.lines()) };
    assert_eq!((&line["answer"], &line["message"], &line["span"]), (&42.into(), &"said".into(), &"http".into()));
    assert_eq!((&line["trace_id"], &line["span_id"]), (&PARENT[3..35].into(), &PARENT[36..52].into()));
    assert_eq!(line["request_id"], "its own", "what an event says is not replaced");
    assert_eq!(line.get("otel.kind"), None);
    assert_eq!(again["operation"], "op_1");
    assert_eq!(again["trace_id"].as_str().map(str::len), Some(32));
}

#[test]
fn what_is_recorded_later_stands_beside_what_was_and_the_last_of_it_counts() {
    use tracing::field::Empty;
    let (written, dispatch, _) = written_by(&settings(None));
    with_default(&dispatch, || {
        let span = tracing::info_span!(target: "alpine_server::http", "http", tenant = Empty, principal = Empty, status = Empty);
        tracing::record_all!(span, tenant = "a\"},{", principal = "ann");
        span.in_scope(|| tracing::info!(target: "alpine_server", "once"));
        span.record("status", 1);
        span.record("status", 2);
        span.in_scope(|| tracing::info!(target: "alpine_server", "again"));
    });
    let [once, again] = &written.json()[..] else { panic!("{:?}", written.lines()) };
    for line in [once, again] {
        assert_eq!((&line["tenant"], &line["principal"]), (&"a\"},{".into(), &"ann".into()));
    }
    assert_eq!((once.get("status"), &again["status"]), (None, &2.into()));
}

#[tokio::test]
async fn a_line_of_an_error_names_its_request_however_few_are_wanted() {
    for format in [Format::Json, Format::Pretty] {
        let (written, dispatch, _) = written_by(&Settings { format, filter: "error".into(), ..settings(None) });
        with_default(&dispatch, || {
            let span = tracing::info_span!(target: "alpine_server::http", "http", request_id = "r-17");
            follow(&span, Some(PARENT));
            span.in_scope(|| {
                tracing::warn!(target: "alpine_server", "not wanted");
                tracing::error!(target: "alpine_server", "wanted");
            });
        });
        let lines = written.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in ["wanted", "r-17", &PARENT[3..35], &PARENT[36..52]] {
            assert!(lines[0].contains(part), "{part}: {}", lines[0]);
        }
    }
}

// The end of an exporter blocks until its task has answered.
#[tokio::test(flavor = "multi_thread")]
async fn holds_of_one_operation_are_of_one_trace_on_every_worker() {
    let _alone = ALONE.lock().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let context = |fence: i64, parent: Option<&str>, phase: bool| {
        let (subscriber, _guard, _) = subscriber(&settings(Some(format!("http://{closed}"))), std::io::sink).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!(target: "alpine_server", "operation");
            let hold = Hold::new("op_1".into(), fence, parent);
            hold.begin(&span);
            let within = span.in_scope(|| tracing::info_span!(target: "alpine_server", "phase"));
            if phase {
                hold.begin_phase(&within, "install");
            }
            let shown = if phase { &within } else { &span };
            shown.context().span().span_context().clone()
        })
    };
    let (one, two) = (context(1, Some(PARENT), false), context(2, Some(PARENT), false));
    assert_eq!(one.trace_id().to_string(), PARENT[3..35]);
    assert_eq!(two.trace_id(), one.trace_id());
    assert_eq!(context(1, Some(PARENT), false).span_id(), one.span_id(), "another process would name it so");
    assert_ne!(two.span_id(), one.span_id());
    // Where nobody began a trace it is the operation's own.
    let (alone, adopter) = (context(1, None, false), context(2, None, false));
    assert_eq!(alone.trace_id(), adopter.trace_id());
    assert_ne!(alone.trace_id(), one.trace_id());
    let phase = context(1, None, true);
    assert_eq!(phase.trace_id(), alone.trace_id());
    assert!(phase.span_id() != alone.span_id() && phase.span_id() != SpanId::INVALID);
    assert_eq!(context(1, None, true), phase);
    // What is not to be sent is not sent by the worker either.
    assert!(!context(1, Some(&PARENT.replace("-01", "-00")), false).is_sampled());
}

/// A receiver that takes connections and never answers, and what it costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_answer_costs_neither_time_nor_memory() {
    let _alone = ALONE.lock().await;
    const SPANS: usize = 60_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let held = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            connections.push(listener.accept().await.unwrap());
        }
    });
    let (subscriber, guard, _) = subscriber(&settings(Some(endpoint)), std::io::sink).unwrap();
    let text = "x".repeat(4096);
    let (before, begun) = (resident(), Instant::now());
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..SPANS {
            drop(tracing::info_span!(target: "alpine_server", "one", text).entered());
        }
    });
    let (took, grown) = (begun.elapsed(), resident().saturating_sub(before));
    assert!(took < Duration::from_secs(60), "{took:?} for {SPANS} spans");
    // All of them would be 240 MB; a full queue of them is 10.
    assert!(grown < 80 << 20, "{} MB more", grown >> 20);
    let begun = Instant::now();
    assert!(guard.shutdown().await.is_err(), "nobody took them");
    assert!(begun.elapsed() < LAST_FLUSH + Duration::from_secs(2), "{:?}", begun.elapsed());
    held.abort();
}

/// Bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn levels_change_by_their_file_and_stay_where_it_is_not_understood() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let (written, dispatch, levels) = written_by(&Settings { filter_file: Some(path.clone()), ..settings(None) });
    let mut levels = levels.unwrap();
    let mut debug_is_said = |text: &str| {
        write(text);
        with_default(&dispatch, || {
            levels.look();
            tracing::debug!(target: "alpine_server", "a line of debugging");
        });
        let said = written.lines();
        written.0.lock().unwrap().clear();
        said.iter().any(|line| line.contains("a line of debugging"))
    };
    assert!(!debug_is_said(""), "what ALPINE_LOG says");
    assert!(debug_is_said("# more, for now\nwarn,\nalpine_server=debug # this\n"));
    assert!(debug_is_said("debgu"), "as it was");
    assert!(debug_is_said("alpine_server=loud"), "as it was");
    assert!(!debug_is_said("info"));
    assert!(debug_is_said("debug"));
    assert!(!debug_is_said(""), "what ALPINE_LOG says again");
    std::fs::remove_file(&path).unwrap();
    let start = Settings { filter_file: Some(path), ..settings(None) };
    assert!(matches!(check(&start), Err(TelemetryError::FilterFile { .. })), "at the start it has to be there");
}

#[tokio::test]
async fn what_is_not_understood_is_refused_and_no_secret_is_told() {
    let refused = |settings: &Settings| check(settings).unwrap_err();
    let filter = |filter: &str| Settings { filter: filter.into(), ..settings(None) };
    assert!(matches!(refused(&filter("a=b=c")), TelemetryError::Filter { .. }));
    assert!(matches!(refused(&filter("info,wran")), TelemetryError::NoLevel { part, .. } if part == "wran"));
    for good in ["", "info", "off", "warn,alpine_server::worker=debug", "alpine_server::ledger", "sqlx=trace,INFO"] {
        check(&filter(good)).unwrap();
    }
    assert!(matches!(refused(&settings(Some("not a url".into()))), TelemetryError::Exporter(_)));
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        for headers in ["authorization", "authorization=%ff", "=s3cret", "a b=s3cret%00"] {
            let mut settings = settings(Some("http://127.0.0.1:9".into()));
            let export = settings.export.as_mut().unwrap();
            (export.protocol, export.headers) = (protocol, headers.into());
            let error = check(&settings).unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(!told.contains("s3cret") && !format!("{settings:?}").contains("s3cret"), "{told}");
            assert!(told.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{headers}: {told}");
        }
    }
    assert_eq!(parse_pairs("a=b%2Cc, d = e=f ,").unwrap(), [("a".into(), "b,c".into()), ("d".into(), "e=f".into())]);
}

#[test]
fn a_resource_says_which_service_this_is() {
    let resource = |service: Option<&str>, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let export = Export { service: service.map(str::to_owned), attributes, ..settings(Some(String::new())).export.unwrap() };
        export.resource()
    };
    let get = |resource: &opentelemetry_sdk::Resource, name: &'static str| resource.get(&name.into()).unwrap().to_string();
    let plain = resource(None, &[]);
    assert_eq!((get(&plain, "service.name"), get(&plain, "telemetry.sdk.language")), ("alpine-server".into(), "rust".into()));
    assert_ne!(get(&plain, "service.instance.id"), get(&resource(None, &[]), "service.instance.id"));
    let given = [("service.name", "given"), ("service.instance.id", "pod-1")];
    assert_eq!(get(&resource(None, &given), "service.name"), "given");
    assert_eq!(get(&resource(Some("named"), &given), "service.name"), "named");
    assert_eq!(get(&resource(None, &given), "service.instance.id"), "pod-1");
}

#[test]
fn a_ratio_decides_alike_for_every_replica() {
    use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
    let sampled = |sampling: Sampling, trace: u128| {
        let none = opentelemetry::Context::new();
        let kind = opentelemetry::trace::SpanKind::Server;
        Sampler::from(sampling).should_sample(Some(&none), trace.into(), "x", &kind, &[], &[]).decision == SamplingDecision::RecordAndSample
    };
    let traces: Vec<u128> = (0..2_000).map(|_| fastrand::u128(1..)).collect();
    let part = |sampling| traces.iter().filter(|trace| sampled(sampling, **trace)).count();
    assert_eq!((part(Sampling::AlwaysOn), part(Sampling::AlwaysOff)), (2_000, 0));
    assert_eq!((part(Sampling::ParentOrAlwaysOn), part(Sampling::ParentOrAlwaysOff)), (2_000, 0));
    assert!((100..=320).contains(&part(Sampling::Ratio(0.1))), "{}", part(Sampling::Ratio(0.1)));
    assert_eq!(part(Sampling::Ratio(0.1)), part(Sampling::ParentOrRatio(0.1)));
}

#[test]
fn spans_are_disabled_where_nothing_is_set_up() {
    let span = Span::none();
    follow(&span, Some(PARENT));
    Hold::new("op_1".into(), 1, None).begin(&span);
    assert_eq!(current_traceparent(), None);
}

#[test]
fn the_client_of_docker_never_writes_what_it_sends() {
    assert_eq!(log::STATIC_MAX_LEVEL, log::LevelFilter::Info, "the bodies of its requests, credentials and all, come below");
}
