//! The metrics of a live server: all there, as declared, bounded, at an address of their own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use alpine_tests::{World, api::Api, base, cli::text, git_server::url, server::sample};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(90);
const TENANTS: usize = 200;
const SESSIONS: usize = 10_000;
const FIRST: usize = 400;
const AT_ONCE: usize = 16;

/// A server's own address of the metrics.
struct Scraper {
    address: String,
    client: reqwest::Client,
}

impl Scraper {
    fn new() -> Self {
        Self { address: format!("127.0.0.1:{}", base::free_port()), client: reqwest::Client::new() }
    }

    async fn status(&self, path: &str) -> u16 {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap().status().as_u16()
    }

    async fn scrape(&self) -> String {
        let answer = self.client.get(format!("http://{}/metrics", self.address)).send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        answer.text().await.unwrap()
    }

    async fn value(&self, name: &str, labels: &[&str]) -> f64 {
        sample(&self.scrape().await, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?}"))
    }

    /// Waits until a sample is what it should be.
    async fn until(&self, name: &str, labels: &[&str], is: impl Fn(f64) -> bool) {
        alpine_tests::until(name, LIMIT, || async { is(self.value(name, labels).await).then_some(()) }).await;
    }
}

/// Names and labels, without the values. What a worker's phases and its provider's calls were is bounded by the declarations
/// but told as it comes, and when one first fails is nobody's choice.
fn series(text: &str) -> BTreeSet<&str> {
    let by_chance = ["alpine_operation_phase_duration_seconds", "alpine_provider_call_duration_seconds"];
    let lines = text.lines().filter(|line| !line.starts_with('#') && !by_chance.iter().any(|name| line.starts_with(name)));
    lines.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

async fn fill(world: &World) -> Vec<String> {
    world
        .db
        .meddle(&format!(
            "INSERT INTO tenants (tenant_id) SELECT 'tenant' || i FROM generate_series(0, {TENANTS} - 1) i;
             INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id)
             SELECT 'tenant' || (i % {TENANTS}), ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 'ann', 'https://github.com/org/repo.git',
                 'main', true, 'requested', gen_random_uuid() FROM generate_series(0, {SESSIONS} - 1) i;
             INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
             SELECT tenant_id, session_id, 1, 'requested', principal_id, 'up accepted', operation_id, 0 FROM sessions"
        ))
        .await;
    let id = |i: usize| SessionId::from_uuid(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 + i as u128)).to_string();
    (0..SESSIONS).map(id).collect()
}

/// A session looked at by its own tenant; now and then something else that a caller thinks of.
async fn ask(api: &Api, number: usize, session: &str) {
    api.get(&format!("/v1/sessions/{session}")).await.expect(200);
    match number % 20 {
        0 => drop(api.get(&format!("/nowhere/{number}")).await.expect(404)),
        1 => {
            let method = Method::from_bytes(format!("BREW{number}").as_bytes()).unwrap();
            assert!(api.send(method, &format!("/v1/sessions/{session}"), &json!({})).await.status.is_client_error());
        }
        2 => assert!(api.get(&format!("/v1/sessions/{session}x")).await.status.is_client_error()),
        3 => drop(api.get(&format!("/v1/sessions?branch=b{number}")).await.expect(200)),
        4 => assert!(api.up(&format!("k{number}"), &format!("nonsense{number}"), "main").await.status.is_client_error()),
        5 => drop(api.get(&format!("/v1/operations/op_{}", Uuid::now_v7().simple())).await.expect(404)),
        _ => {}
    }
}

/// An `up` that gets ready and its `down`, and one that fails.
async fn good_and_bad(world: &World) {
    let ready = world.ready("ann").await;
    world.down("ann", &text(&ready, "session_id"), &[]).await.ok();
    world.up("ann", &url("org/repo"), "nowhere", &[]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
}

/// What no sample of a server that has worked may lack.
async fn assert_told(scraper: &Scraper) {
    for (name, labels) in [
        ("alpine_claim_duration_seconds_count", &[][..]),
        ("alpine_operation_claim_delay_seconds_count", &["kind=\"up\""]),
        ("alpine_operation_claim_delay_seconds_count", &["kind=\"down\""]),
        ("alpine_provider_call_duration_seconds_count", &["call=\"ensure\"", "outcome=\"ok\""]),
        ("alpine_operations_total", &["kind=\"up\"", "outcome=\"failed\""]),
        ("alpine_database_acquire_duration_seconds_count", &["acquired"]),
        ("alpine_time_to_ready_seconds_count", &[]),
        ("alpine_persist_verifications_total", &["verified"]),
    ] {
        assert!(scraper.value(name, labels).await > 0.0, "{name}");
    }
    for name in ["alpine_sweep_last_completed_timestamp_seconds", "alpine_reconcile_last_completed_timestamp_seconds"] {
        scraper.until(name, &[], |at| (now() - at).abs() < 30.0).await;
    }
    assert!(scraper.value("alpine_tls_certificate_expiry_timestamp_seconds", &[]).await > now());
    assert!((now() - scraper.value("alpine_process_start_time_seconds", &[]).await).abs() < 600.0);
    // Twice sixteen and six, and those of the heartbeats.
    assert_eq!(scraper.value("alpine_database_connections_max", &[]).await, 46.0);
    scraper.until("alpine_sessions", &["state=\"requested\""], |count| count == SESSIONS as f64).await;
}

#[expect(clippy::disallowed_methods, reason = "compared with what a server says of the time")]
fn now() -> f64 {
    chrono::Utc::now().timestamp() as f64
}

/// `promtool check metrics`, which reads the older text format: there a counter's name has its suffix in the comments too.
fn assert_linted(text: &str) {
    let mut older = String::new();
    for line in text.lines() {
        let suffix = match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", "TYPE", _, "counter"] => "_total",
            ["#", "TYPE", _, "info"] => "_info",
            _ => "",
        };
        match (suffix, line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))) {
            ("", _) | (_, None) => older.push_str(line),
            (suffix, Some((name, kind))) => {
                let kind = kind.replace("info", "gauge");
                older = older.replace(&format!("# HELP {name} "), &format!("# HELP {name}{suffix} "));
                older.push_str(&format!("# TYPE {name}{suffix} {kind}"));
            }
        }
        older.push('\n');
    }
    let lint =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut lint = lint.expect("promtool, which tests/run.sh installs");
    lint.stdin.take().unwrap().write_all(older.as_bytes()).unwrap();
    let said = lint.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].map(|words| String::from_utf8(words).unwrap()).concat();
    assert!(said.status.success() && words.is_empty(), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_of_two_hundred_tenants_make_no_series_of_their_own() {
    let scraper = Scraper::new();
    let settings = [("ALPINE_METRICS_LISTEN", scraper.address.as_str()), ("ALPINE_RECONCILE_SECONDS", "1"), ("ALPINE_SWEEP_SECONDS", "1")];
    let world = World::with(&settings).await;
    let sessions = fill(&world).await;
    let callers: Vec<Api> = (0..TENANTS).map(|tenant| world.api_of(&format!("tenant{tenant}"), "ann", &[])).collect();
    let asked = |range: std::ops::Range<usize>| {
        stream::iter(range).for_each_concurrent(AT_ONCE, |number| ask(&callers[number % TENANTS], number, &sessions[number]))
    };
    good_and_bad(&world).await;
    asked(0..FIRST).await;
    assert_told(&scraper).await;
    let before = scraper.scrape().await;
    good_and_bad(&world).await;
    let over = AtomicBool::new(false);
    let slowest = async {
        let mut slowest = Duration::ZERO;
        while !over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            scraper.scrape().await;
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        slowest
    };
    let load = async {
        asked(FIRST..SESSIONS).await;
        over.store(true, Ordering::Relaxed);
    };
    let begun = Instant::now();
    let (slowest, ()) = tokio::join!(slowest, load);
    let after = scraper.scrape().await;
    eprintln!("{} series, {} bytes; slowest scrape {slowest:?} in {:?}", series(&after).len(), after.len(), begun.elapsed());
    let counted = sample(&after, "alpine_http_requests_total", &["route=\"/v1/sessions/{session_id}\"", "2xx"]);
    assert!(counted >= Some(SESSIONS as f64), "the server has counted them: {counted:?}");
    let new: Vec<_> = series(&after).difference(&series(&before)).map(|line| (*line).to_owned()).collect();
    assert!(new.is_empty(), "{} series more, as {:?}", new.len(), &new[..new.len().min(5)]);
    for word in ["ses_0", "op_0", "tenant1", "nowhere/", "BREW", "nonsense"] {
        assert!(!after.contains(word), "{word} is in the metrics");
    }
    assert!(after.lines().count() < 6000, "{} lines", after.lines().count());
    assert_linted(&after);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_at_an_address_of_their_own_tell_of_the_queue_while_the_database_is_stuck() {
    let (api, worker) = (Scraper::new(), Scraper::new());
    let world = World::with(&[("ALPINE_METRICS_LISTEN", &api.address), ("ALPINE_ROLE", "api")]).await;
    let settings = [
        ("ALPINE_METRICS_LISTEN", worker.address.as_str()),
        ("ALPINE_ROLE", "worker"),
        ("ALPINE_WORKER_CONCURRENCY", "1"),
        ("ALPINE_LEASE_SECONDS", "8"),
        ("ALPINE_SWEEP_SECONDS", "1"),
    ];
    let server = world.another_server(&settings).await;
    for (scraper, base) in [(&api, world.server.base()), (&worker, server.base())] {
        assert_eq!(
            (scraper.status("/metrics").await, scraper.status("/livez").await, scraper.status("/v1/sessions").await),
            (200, 404, 404)
        );
        let elsewhere = world.pki.client().get(format!("{base}/metrics")).send().await.unwrap();
        assert_eq!(elsewhere.status(), 404, "{base}");
    }
    // One that takes the worker's only place, and two that wait.
    let (slow, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 300\"")]);
    for key in ["k1", "k2", "k3"] {
        world.api("ann").up(key, &slow, "main").await.expect(202);
    }
    worker.until("alpine_operations_queued", &[], |queued| queued == 2.0).await;
    worker.until("alpine_operation_queue_age_seconds", &[], |age| age >= 2.0).await;
    worker.until("alpine_lease_heartbeat_lag_seconds_count", &[], |renewals| renewals >= 1.0).await;
    assert_eq!(worker.value("alpine_operation_claim_delay_seconds_count", &[]).await, 1.0, "the others wait");
    assert_eq!(api.value("alpine_database_connections_max", &[]).await, 22.0);
    assert_eq!(worker.value("alpine_database_connections_max", &[]).await, 24.0);
    let held = world.db.lock("operations").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    worker.scrape().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    held.rollback().await.unwrap();
}
