//! The monitoring plan on a live system: two servers, Prometheus with the rules as they are shipped but a minute of theirs a second, good
//! work and bad.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests; the figures are the point")]

mod dashboards;
mod prometheus;
mod scaled;
mod traffic;
mod verify;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use alpine_tests::{World, server::Server};

use dashboards::FIND_NOTHING;
use prometheus::Prometheus;
use verify::Verify;

/// The plan's four, and from where on each is a spike.
const SIGNALS: [(&str, &str, f64); 4] = [
    ("ERR_OPERATION_CONFLICT", "AlpineOperationConflictSpike", 20.0),
    ("ERR_PERSIST_PAYLOAD_TOO_LARGE", "AlpinePersistPayloadTooLargeSpike", 3.0),
    ("ERR_SANDBOX_PROVISION_FAILED", "AlpineSandboxProvisionFailedSpike", 10.0),
    ("ERR_SESSION_FORBIDDEN", "AlpineSessionForbiddenSpike", 10.0),
];
/// That of the first hour first.
const GATES: [&str; 3] = ["AlpineReleaseOrphansAbort", "AlpineUpSuccessAbort", "AlpineReleaseUpSuccessAbort"];
/// What the same work is told by besides: a record that does not fit is not verified either.
const ALSO: [&str; 4] = ["AlpineReleaseErrorsUp", "AlpineUpSuccessLow", "AlpinePersistVerificationLow", "AlpineOrphansHigh"];
/// Half an hour of the rules.
const HALF_AN_HOUR: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(100);

struct Stage {
    world: World,
    second: Server,
    prometheus: Prometheus,
}

impl Stage {
    async fn start() -> Self {
        let settings = [
            ("ALPINE_SWEEP_SECONDS", "1"),
            ("ALPINE_RECONCILE_SECONDS", "1"),
            ("ALPINE_ORPHAN_GRACE_SECONDS", "1"),
            ("ALPINE_LEASE_SECONDS", "8"),
        ];
        let world = World::with(&settings).await;
        // Whose provider does not answer at first: that is tried again, and no `up` fails of it.
        let second = world.another_server(&[("ALPINE_FAULTS", "ensure.before=error#2")]).await;
        for server in [&world.server, &second] {
            let swept = || async { server.metric("alpine_sweep_last_completed_timestamp_seconds", &[]).await.filter(|at| *at > 0.0) };
            alpine_tests::until("a first sweep", LIMIT, swept).await;
        }
        let dir = world.dir.join("prometheus");
        let targets = [&world.server, &second].map(|server| format!("127.0.0.1:{}", server.port));
        let prometheus = Prometheus::start(&dir, &world.pki.ca, &targets).await;
        Self { world, second, prometheus }
    }

    fn bases(&self) -> Vec<String> {
        vec![self.world.server.base(), self.second.base()]
    }

    async fn scrapes(&self) -> Vec<String> {
        let mut scrapes = Vec::new();
        for base in self.bases() {
            scrapes.push(self.world.pki.client().get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap());
        }
        scrapes
    }
}

/// Healthy, by Prometheus and without it, while people work.
async fn healthy(verify: &Verify, prometheus: &Prometheus) {
    let (version, counted) = (env!("CARGO_PKG_VERSION"), "environment_error_code:alpine_errors:increase10m");
    alpine_tests::until("the rules are evaluated", LIMIT, || async { (!prometheus.query(counted).await.is_empty()).then_some(()) }).await;
    let prometheus = prometheus.base.as_str();
    let verdict = verify.run(&["--prometheus", prometheus, "--environment", "tests", "--expect-version", version]).await;
    verdict.is(0, "passed");
    let names = ["ERR_OPERATION_CONFLICT", "ERR_PERSIST_PAYLOAD_TOO_LARGE", "ERR_SANDBOX_PROVISION_FAILED", "ERR_SESSION_FORBIDDEN"];
    assert_eq!(verdict.of("passed"), [&names[..], &["alerts", "certificate", "gates", "list", "live", "ready", "version"]].concat());
    let verdict = verify.run(&["--window", "2"]).await;
    verdict.is(0, "passed");
    assert_eq!(verdict.of("passed"), [&names[..], &["certificate", "list", "live", "ready", "version"]].concat());
}

/// The four codes, by the replicas alone. And a Prometheus that is none, or that knows nothing of this environment, is not taken for a
/// healthy one.
async fn unhealthy(verify: &Verify, prometheus: &Prometheus) {
    let signals = SIGNALS.map(|(code, ..)| code);
    let verdict = verify.run(&["--window", "10"]).await;
    verdict.is(1, "failed");
    assert_eq!(verdict.of("failed"), signals);
    let verdict = verify.run(&["--prometheus", &prometheus.base, "--environment", "elsewhere"]).await;
    verdict.is(2, "unknown");
    assert_eq!(verdict.of("unknown"), signals);
    verify.run(&["--prometheus", "http://127.0.0.1:9"]).await.is(2, "unknown");
}

/// Signals and gates, by Prometheus; and that this is not the version that was to be released.
async fn to_be_rolled_back(verify: &Verify, prometheus: &Prometheus) {
    let verdict = verify.run(&["--prometheus", &prometheus.base, "--environment", "tests", "--expect-version", "0.0.1"]).await;
    verdict.is(1, "failed");
    let signals = SIGNALS.map(|(code, ..)| code);
    assert_eq!(verdict.of("failed"), [&signals[..], &["alerts", "gates", "version"]].concat());
    for gate in GATES {
        assert!(verdict.report.to_string().contains(&format!("{gate} is firing")), "{gate}: {:#}", verdict.report);
    }
}

/// Waits until this alert fires; of each code where it is given.
async fn fires(prometheus: &Prometheus, alert: &str, code: Option<&str>) {
    alpine_tests::until(&format!("{alert} {code:?}"), LIMIT, || async {
        let firing = prometheus.firing().await;
        firing.iter().any(|(name, of)| name == alert && code.is_none_or(|code| code == of)).then_some(())
    })
    .await;
}

/// The four signals, at once and since the release, and the gate of the first hour.
async fn signals(prometheus: &Prometheus) {
    fires(prometheus, GATES[0], None).await;
    for (code, alert, floor) in SIGNALS {
        fires(prometheus, alert, Some(code)).await;
        fires(prometheus, ALSO[0], Some(code)).await;
        let counted =
            prometheus.query(&format!("environment_error_code:alpine_errors:increase10m{{error_code=\"{code}\"}} >= {floor}")).await;
        assert_eq!(counted.len(), 1, "{code} is at {floor} or more");
    }
}

/// The gates of `up`s, after their half hour each.
async fn gates(prometheus: &Prometheus, begun: Instant) {
    let gate = async |alert| {
        fires(prometheus, alert, None).await;
        assert!(begun.elapsed() >= HALF_AN_HOUR, "{alert} after {:?}, before its half hour", begun.elapsed());
    };
    tokio::join!(gate(GATES[1]), gate(GATES[2]));
    for alert in ALSO {
        fires(prometheus, alert, None).await;
    }
}

async fn assert_dashboards(stage: &Stage) {
    let scraped = dashboards::series(&stage.scrapes().await);
    let queries = dashboards::queries();
    let mut faults: Vec<String> = queries.iter().flat_map(|query| query.faults(&scraped)).collect();
    for query in &queries {
        let (series, numbers) = query.ask(&stage.prometheus).await;
        if series == 0 && !query.is_of(FIND_NOTHING) {
            faults.push(format!("finds nothing: {query:?}"));
        } else if series > 0 && !numbers {
            faults.push(format!("finds no number: {query:?}"));
        }
    }
    for (part, why) in FIND_NOTHING {
        assert!(queries.iter().any(|query| query.is_of(&[(part, why)])), "no query has {part} any more");
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    eprintln!("{} queries of dashboards, {} metrics scraped", queries.len(), scraped.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monitoring_plan_holds_on_a_live_system() {
    let begun = Instant::now();
    let stage = Stage::start().await;
    let (world, prometheus) = (&stage.world, &stage.prometheus);
    let apis: Vec<_> = stage.bases().iter().map(|base| world.api_at(base, "ann")).collect();
    let verify = Verify::new(world, stage.bases());
    eprintln!("the stage after {:?}", begun.elapsed());
    let (left, ()) = tokio::join!(traffic::good(world, &apis), healthy(&verify, prometheus));
    eprintln!("{} sessions, until {:?}", left.ready.len() + left.stopped.len(), begun.elapsed());
    let (query, done) =
        ("sum(alpine_operations_total{kind=\"up\", outcome=\"succeeded\"})", (left.ready.len() + left.stopped.len()).to_string());
    let seen = || async { (prometheus.query(query).await[0]["value"][1] == done).then_some(()) };
    alpine_tests::until("Prometheus has seen it", LIMIT, seen).await;
    let slowest = prometheus.query("max(max_over_time(scrape_duration_seconds[5m]))").await;
    eprintln!("slowest scrape {} s", slowest[0]["value"][1]);
    assert_eq!(prometheus.fired().await, Vec::<serde_json::Value>::new(), "good work alarms nobody");
    traffic::orphans(world, &left);
    let turned = Instant::now();
    let watching = async {
        signals(prometheus).await;
        eprintln!("the signals after {:?}", turned.elapsed());
        tokio::join!(gates(prometheus, turned), unhealthy(&verify, prometheus), assert_dashboards(&stage));
        eprintln!("the gates after {:?}", turned.elapsed());
        to_be_rolled_back(&verify, prometheus).await;
    };
    tokio::select! {
        () = watching => {}
        () = traffic::bad(world, &apis, &left) => {}
    }
    let planned: BTreeSet<String> = SIGNALS.iter().map(|(_, alert, _)| *alert).chain(GATES).chain(ALSO).map(str::to_owned).collect();
    let names =
        async || prometheus.fired().await.iter().map(|alert| alert["alertname"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
    // What is asked for is in steps: the latest of them may come before the last alert.
    alpine_tests::until("all is seen to have fired", LIMIT, || async { names().await.is_superset(&planned).then_some(()) }).await;
    assert_eq!(names().await, planned, "that, and nothing else");
    eprintln!("all of it in {:?}", begun.elapsed());
}
