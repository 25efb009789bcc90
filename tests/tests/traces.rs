//! One trace from the command to the sandbox, over replicas and their ends; and lines of the log that lead to it and are wanted or
//! not while a server runs.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alpine_tests::{
    World,
    cli::text,
    git_server::url,
    otlp::{Receiver, Span},
    server::Server,
    until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const COMMAND: &str = "b7ad6b7169203331";
/// Spans come soon and not in five seconds.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "100");
const SLOW: &str = "install = \"sleep 4\"";

/// A replica that serves and sends its traces by HTTP; workers, by gRPC.
struct Stage {
    world: World,
    by_http: Receiver,
    by_grpc: Receiver,
}

impl Stage {
    async fn start() -> Self {
        let (by_http, by_grpc) = (Receiver::http().await, Receiver::grpc().await);
        let settings = [
            ("ALPINE_ROLE", "api"),
            ("ALPINE_LEASE_SECONDS", "6"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &by_http.endpoint),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=a%20test"),
            SOON,
        ];
        let world = World::with(&settings).await;
        world.git.with_files("org/slow", &[(".alpine.toml", SLOW)]);
        Self { world, by_http, by_grpc }
    }

    async fn worker(&self) -> Server {
        let (to, by) = (("OTEL_EXPORTER_OTLP_ENDPOINT", &*self.by_grpc.endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"));
        self.world.another_server(&[("ALPINE_ROLE", "worker"), to, by]).await
    }

    /// All spans of the command's trace.
    fn trace(&self) -> Vec<Span> {
        let all = self.by_http.spans().into_iter().chain(self.by_grpc.spans());
        all.filter(|span| span.trace_id == TRACE).collect()
    }

    async fn sent(&self, what: &str, is_there: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        until(what, LIMIT, || async { Some(self.trace()).filter(|spans| is_there(spans)) }).await
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_is_one_trace_whatever_becomes_of_its_worker() {
    let mut stage = Stage::start().await;
    let mut first = stage.worker().await;
    let parent = format!("00-{TRACE}-{COMMAND}-01");
    let up = stage.world.up("ann", &url("org/slow"), "main", &["-v"]).env("TRACEPARENT", &parent).spawn();
    // Where the worker is when it is killed: what it has done of the phase is sent, the phase itself never is.
    let begun = |spans: &[Span]| named(spans, "sandbox.exec").iter().any(|exec| named(spans, "git.checkout").len() == 1 && exec.began > 0);
    stage.sent("the repository is there", begun).await;
    let installing = "sessions WHERE state = 'installing'";
    until("it installs", LIMIT, || async { (stage.world.db.count(installing).await == 1).then_some(()) }).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let orphans = orphans(&stage.trace());
    assert!(!orphans.is_empty(), "nothing was under way when the worker was killed: this proves nothing");
    first.kill();
    let mut second = stage.worker().await;
    let answer = up.await.unwrap();
    assert!(answer.stderr.contains(TRACE), "the command tells its trace: {}", answer.stderr);
    assert_eq!(answer.ok()["state"], "ready");
    // The last are sent at the end.
    second.terminate().await;
    stage.world.server.terminate().await;
    let spans = stage.trace();
    assert_eq!((named(&spans, "operation.up").len(), named(&spans, "POST /v1/sessions").len()), (2, 1));

    assert_eq!(self::orphans(&spans), BTreeSet::new(), "spans without their parent");
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "a span was sent twice");
    let replicas: BTreeSet<&str> = spans.iter().map(|span| span.resource["service.instance.id"].as_str()).collect();
    assert_eq!(replicas.len(), 3, "{replicas:?}");
    of_one_service(&spans);
    requests(&spans);
    adoption(&spans);
    work(&spans);
}

/// Spans whose parent is neither there nor the command.
fn orphans(spans: &[Span]) -> BTreeSet<String> {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let known = |parent: &str| parent == COMMAND || ids.contains(parent);
    spans.iter().filter(|span| !known(&span.parent)).map(|span| span.name.clone()).collect()
}

fn of_one_service(spans: &[Span]) {
    for span in spans {
        assert_eq!(span.resource["service.name"], "alpine-server");
        assert!(!span.resource["service.version"].is_empty());
        assert_eq!(span.resource["deployment.environment.name"], "a test");
        assert!(span.began <= span.ended, "{span:?}");
    }
}

fn requests(spans: &[Span]) {
    for span in spans.iter().filter(|span| span.parent == COMMAND) {
        let served = format!("{:?}", span.kind) == "Server";
        assert!(served || span.name == "claim" || span.name == "operation.up", "{span:?}");
    }
    let posts = named(spans, "POST /v1/sessions");
    let [post] = posts[..] else { panic!("{posts:?}") };
    assert_eq!((post.get("http.request.method"), post.get("http.route"), post.get("url.path")), ("POST", "/v1/sessions", "/v1/sessions"));
    assert_eq!((post.get("http.response.status_code"), post.get("principal")), ("202", "ann"));
    assert!(!post.get("request_id").is_empty());
    let accepted = named(spans, "ledger.accept_up");
    assert_eq!(accepted[0].parent, post.id);
    for call in spans.iter().filter(|span| span.name.starts_with("ledger.")) {
        assert_eq!((call.get("db.system.name"), format!("{:?}", call.kind).as_str()), ("postgresql", "Client"));
        assert_eq!(format!("ledger.{}", call.get("db.operation.name")), call.name);
        // Nothing of what the statement is given.
        let of_the_database = |name: &&String| !matches!(name.as_str(), "db.system.name" | "db.operation.name");
        assert_eq!(call.attributes.keys().filter(of_the_database).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

fn adoption(spans: &[Span]) {
    let post = &named(spans, "POST /v1/sessions")[0].id;
    let holds = named(spans, "operation.up");
    let (lost, adopter) = if holds[0].get("lost") == "true" { (holds[0], holds[1]) } else { (holds[1], holds[0]) };
    assert!(lost.failed && !adopter.failed, "{lost:?} {adopter:?}");
    assert_eq!((lost.get("fence"), adopter.get("fence")), ("1", "2"));
    assert_eq!((&lost.parent, &adopter.parent), (post, post));
    assert_eq!(adopter.links, [(TRACE.to_owned(), lost.id.clone())]);
    let claims = named(spans, "claim");
    let adopted: Vec<&str> = claims.iter().map(|claim| claim.get("adopted")).collect();
    assert_eq!(adopted, ["false", "true"]);
    // The phase that the worker was in is told of once by each.
    let installs = named(spans, "phase.install");
    let of = |hold: &Span| installs.iter().find(|phase| phase.parent == hold.id).unwrap_or_else(|| panic!("{installs:?}"));
    assert!(of(lost).failed && !of(adopter).failed);
    let before: Vec<&str> = spans.iter().filter(|span| span.parent == lost.id).map(|span| span.name.as_str()).collect();
    assert!(["phase.resolve", "phase.provision", "phase.sync"].iter().all(|phase| before.contains(phase)), "{before:?}");
    assert!(named(spans, "phase.start").iter().all(|phase| phase.parent == adopter.id));
}

/// What phases are made of hangs below them.
fn work(spans: &[Span]) {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let below = |name: &str, above: &str| {
        let mut at = named(spans, name).into_iter().next().unwrap_or_else(|| panic!("no {name}"));
        while let Some(parent) = by_id.get(at.parent.as_str()) {
            if parent.name == above {
                return true;
            }
            at = parent;
        }
        false
    };
    for (name, above) in [
        ("git.ls-remote", "phase.resolve"),
        ("sandbox.ensure", "phase.provision"),
        ("git.fetch", "phase.sync"),
        ("git.checkout", "phase.sync"),
        ("git.rev-parse", "phase.start"),
        ("sandbox.serve", "phase.start"),
        ("session.answers", "phase.start"),
        ("ledger.commit", "operation.up"),
    ] {
        assert!(below(name, above), "{name} is not below {above}");
    }
    assert_eq!(named(spans, "git.fetch")[0].get("server.address"), "github.com");
    let within_git = spans.iter().filter(|span| span.name == "sandbox.exec" && by_id[span.parent.as_str()].name == "git.fetch");
    assert_eq!(within_git.count(), 1);
}

/// The lines of a server's log, decoded.
fn lines(server: &Server) -> Vec<Value> {
    let text = server.log_text();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_leads_to_the_lines_of_the_log_and_to_the_trace() {
    let by_http = Receiver::http().await;
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*by_http.endpoint), ("ALPINE_LOG", "warn,alpine_server=info"), SOON];
    let world = World::with(&settings).await;
    let refused = world.api("ann").get("/v1/sessions/ses_00000000000000000000000000").await;
    let id = text(&refused.body, "request_id");
    let up = world.ready("ann").await;
    let span = until("the span is sent", LIMIT, || async { by_http.spans().into_iter().find(|span| span.get("request_id") == id) }).await;
    assert!(span.get("http.response.status_code").starts_with('4'), "{span:?}");
    let lines = lines(&world.server);
    let of_it: Vec<&Value> = lines.iter().filter(|line| line["request_id"] == id.as_str()).collect();
    assert!(!of_it.is_empty());
    assert!(of_it.iter().all(|line| line["trace_id"] == span.trace_id.as_str() && line["span_id"] == span.id.as_str()), "{of_it:?}");
    // An operation's lines lead to the request that it was accepted in.
    let operation = text(&up, "operation_id");
    let accepted = by_http.spans().into_iter().find(|span| span.name == "POST /v1/sessions").unwrap();
    let of_the_operation: Vec<&Value> = lines.iter().filter(|line| line["operation"] == operation.as_str()).collect();
    assert!(of_the_operation.iter().any(|line| line["message"] == "ended"), "{of_the_operation:?}");
    assert!(of_the_operation.iter().all(|line| line["trace_id"] == accepted.trace_id.as_str()), "{of_the_operation:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_change_in_a_running_server_and_a_receiver_that_is_away_is_told_of_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "warn # as few as can be\n").unwrap();
    let path = file.path().display().to_string();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"), ("ALPINE_LOG_FILTER_FILE", &*path), SOON];
    let mut world = World::with(&settings).await;
    let ask = async |request_id: &str| {
        let asked = world.api("ann").request(reqwest::Method::GET, "/v1/whoami").header("x-request-id", request_id);
        assert_eq!(asked.send().await.unwrap().status(), 200);
        lines(&world.server).iter().filter(|line| line["request_id"] == request_id).count()
    };
    let says = async |what: &str| {
        until(what, LIMIT, || async { world.server.log_text().contains(what).then_some(()) }).await;
    };
    assert_eq!(ask("before").await, 0, "the file counts before ALPINE_LOG");
    // It is looked at now and then.
    std::fs::write(file.path(), "info,alpine_server::http=debug\n").unwrap();
    says("the log's levels are changed").await;
    assert!(ask("changed").await > 0);
    // What is not understood changes nothing, and is told.
    std::fs::write(file.path(), "inof\n").unwrap();
    says("names neither a level nor a module: `inof`").await;
    assert!(ask("kept").await > 0);
    // And at once when asked.
    std::fs::write(file.path(), "info,hyper=debug\n").unwrap();
    let pid = Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    says("info,hyper=debug").await;
    assert!(ask("again").await > 0);
    let (status, _) = world.server.terminate().await;
    assert!(status.success(), "{status}");
    let told = lines(&world.server).iter().filter(|line| line["message"] == "traces are not taken").count();
    assert_eq!(told, 1, "once a minute, whatever is lost");
}
