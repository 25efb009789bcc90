//! What one caller may ask of a server, and that the others have theirs.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use alpine_tests::{
    REPO, World, alone,
    api::{Api, Reply, send},
    cli::text,
    strain::{Raw, Strain},
};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No worker: what is accepted stays as it is.
const API: (&str, &str) = ("ALPINE_ROLE", "api");
/// As it is by default.
const QUEUE: (&str, &str) = ("ALPINE_QUEUE_MILLISECONDS", "250");

fn figure(reply: &Reply, name: &str) -> u64 {
    let value = reply.headers.get(name).unwrap_or_else(|| panic!("no {name}: {} {}", reply.status, reply.text));
    value.to_str().unwrap().parse().unwrap_or_else(|_| panic!("{name}: {value:?}"))
}

fn figures(reply: &Reply) -> [u64; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| figure(reply, name))
}

/// Asked on and on, as a rate of one a second lets another one through for each second since then.
async fn limited(since: Instant, ask: impl AsyncFn(u64) -> Reply) -> Duration {
    for passed in 0.. {
        let reply = ask(passed).await;
        if reply.status == 429 {
            return assert_limited(&reply);
        }
        assert!(passed < since.elapsed().as_secs(), "{passed} more in {:?}: {}", since.elapsed(), reply.status);
    }
    unreachable!("each has its turn")
}

fn assert_limited(reply: &Reply) -> Duration {
    assert_eq!(reply.expect(429)["error_code"], "ERR_RATE_LIMITED");
    assert_eq!(reply.body["retryable"], true);
    assert_eq!(figure(reply, "ratelimit-remaining"), 0);
    let after = figure(reply, "retry-after");
    assert!(after >= 1 && after <= figure(reply, "ratelimit-reset"), "{:?}", reply.headers);
    Duration::from_secs(after)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_over_its_rate_is_told_when_to_come_again_and_nobody_else_is_touched() {
    let _alone = alone().await;
    let world = World::with(&[API, QUEUE, ("ALPINE_RATE_PRINCIPAL", "1/5")]).await;
    let ann = world.api("ann");
    let begun = Instant::now();
    for spent in 1..=5 {
        let reply = ann.get("/v1/sessions").await;
        reply.expect(200);
        let [limit, left, reset] = figures(&reply);
        let again = begun.elapsed().as_secs() + 1;
        assert!(limit == 5 && (5 - spent..5 - spent + again).contains(&left), "{:?}", reply.headers);
        assert!((5 - left - 1..=5 - left).contains(&reset), "{:?}", reply.headers);
    }
    let after = limited(begun, async |_| ann.get("/v1/sessions").await).await;
    // Whatever is asked, and whether it is there.
    limited(begun, async |_| ann.down("ses_019ab1c24d3e7f508192a3b4c5d6e7f8", json!({})).await).await;
    for other in [world.api("bob"), world.api_of("other", "ann", &[])] {
        other.get("/v1/sessions").await.expect(200);
    }
    ann.up("k", REPO, "main").await.expect(202);
    tokio::time::sleep(after).await;
    ann.get("/v1/sessions").await.expect(200);
    let refused = world.server.metric("alpine_errors_total", &["ERR_RATE_LIMITED"]).await;
    assert_eq!(refused, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_rate_leaves_other_tenants_alone() {
    let _alone = alone().await;
    let world = World::with(&[API, QUEUE, ("ALPINE_RATE_TENANT", "1/5"), ("ALPINE_RATE_PRINCIPAL", "50/200")]).await;
    let begun = Instant::now();
    for number in 0..5 {
        let reply = world.api(&format!("p{number}")).get("/v1/sessions").await;
        reply.expect(200);
        assert_eq!(figure(&reply, "ratelimit-limit"), 5, "the nearest bound is told");
    }
    limited(begun, async |_| world.api("p9").get("/v1/sessions").await).await;
    let other = world.api_of("other", "p9", &[]);
    other.get("/v1/sessions").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_over_their_rate_leave_reads_and_downs_alone() {
    let _alone = alone().await;
    let world = World::with(&[API, QUEUE, ("ALPINE_RATE_PRINCIPAL_UP", "1/2")]).await;
    let (ann, begun) = (world.api("ann"), Instant::now());
    let session = text(ann.up("k0", REPO, "main").await.expect(202), "session_id");
    ann.up("k1", REPO, "main").await.expect(202);
    limited(begun, async |n| ann.up(&format!("k2-{n}"), REPO, "main").await).await;
    let list = ann.get("/v1/sessions").await;
    list.expect(200);
    assert!(!list.headers.contains_key("ratelimit-limit"), "no bound, no figures");
    ann.down(&session, json!({})).await.expect(202);
    // Whoever is not known is told nothing, and what machines ask is not counted.
    let nobody = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    for path in ["/v1/sessions", "/livez", "/metrics"] {
        let reply = send(nobody.get(format!("{}{path}", world.server.base()))).await;
        assert!(!reply.headers.contains_key("ratelimit-limit"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_burst_of_ups_and_a_person_who_polls_are_within_every_bound() {
    let _alone = alone().await;
    let defaults = ["ALPINE_RATE_PRINCIPAL", "ALPINE_RATE_PRINCIPAL_UP", "ALPINE_RATE_TENANT", "ALPINE_RATE_TENANT_UP"];
    let settings: Vec<(&str, &str)> = defaults.into_iter().map(|name| (name, "")).chain([API]).collect();
    let world = World::with(&settings).await;
    let ann = world.api("ann");
    for number in 0..50 {
        ann.up(&format!("k{number}"), REPO, "main").await.expect(202);
        ann.get("/v1/sessions").await.expect(200);
    }
    let reply = ann.get("/v1/sessions").await;
    assert_eq!(figures(&reply)[0], 200);
}

/// As a client does: again when it was not yet the end, and later when the server has no place for the asking.
async fn wait_for_the_end(client: Api, path: String) -> Reply {
    loop {
        let reply = send(client.request(Method::GET, &path).header("prefer", "wait=60")).await;
        match reply.status.as_u16() {
            429 | 503 => tokio::time::sleep(Duration::from_secs(1)).await,
            200 if reply.body["finished_at"].is_null() => {}
            _ => return reply,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_that_wait_take_nobodys_place_and_little_memory() {
    let _alone = alone().await;
    const WAITERS: usize = 1000;
    let world = World::with(&[API, QUEUE, ("ALPINE_MAX_REQUESTS_PER_PRINCIPAL", "64")]).await;
    let ann = world.api("ann");
    let up = ann.up("k", REPO, "main").await;
    let (session, operation) = (text(up.expect(202), "session_id"), text(&up.body, "operation_id"));
    let strain = Strain::begin(&world).await;
    // One connection each, with as many requests on it as it takes.
    let clients: Vec<Api> = (0..8).map(|_| world.api("ann")).collect();
    let mut waiters = Vec::new();
    for n in 0..WAITERS {
        let (client, path) = (clients[n % clients.len()].clone(), format!("/v1/operations/{operation}"));
        waiters.push(tokio::spawn(wait_for_the_end(client, path)));
        // Not all at once: that would be a flood, and no wait.
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    let all = || async { (world.server.metric("alpine_http_requests_in_flight", &[]).await >= Some(1000.0)).then_some(()) };
    alpine_tests::until("a thousand wait", Duration::from_secs(60), all).await;
    for number in 0..20 {
        let begun = Instant::now();
        ann.get(&format!("/v1/sessions/{session}")).await.expect(200);
        ann.up(&format!("more{number}"), REPO, "main").await.expect(202);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    ann.down(&session, json!({})).await.expect(202);
    let begun = Instant::now();
    for waiter in waiters {
        let reply = waiter.await.unwrap();
        assert_eq!(reply.expect(200)["status"], "cancelled", "{}", reply.text);
    }
    eprintln!("a thousand were told of the end within {:?}", begun.elapsed());
    let seen = strain.end("1,000 waiters").await;
    assert!(seen.failures.is_empty(), "{:?}", seen.failures);
    assert!(seen.growth_mib() < 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starved_pool_is_told_at_once_and_forgotten_when_it_is_over() {
    let _alone = alone().await;
    // Four connections: one for reads, one for `up`s.
    let world = World::with(&[API, QUEUE, ("ALPINE_DB_CONNECTIONS", "4")]).await;
    let ann = world.api("ann");
    ann.up("k", REPO, "main").await.expect(202);
    let locked = world.db.lock("sessions, operations, leases, idempotency_keys").await;
    let asked: Vec<_> = (0..100)
        .map(|n| {
            let ann = ann.clone();
            tokio::spawn(async move {
                let begun = Instant::now();
                let reply = if n % 2 == 0 { ann.get("/v1/sessions").await } else { ann.up(&format!("s{n}"), REPO, "main").await };
                (reply, begun.elapsed())
            })
        })
        .collect();
    let mut slow = 0;
    for asked in asked {
        let (reply, took) = asked.await.unwrap();
        assert_eq!(reply.expect(503)["error_code"], "ERR_UNAVAILABLE");
        assert!(figure(&reply, "retry-after") >= 1);
        slow += usize::from(took > Duration::from_secs(4));
        assert!(took < Duration::from_secs(12), "{took:?}");
    }
    assert!(slow <= 4, "{slow} waited for the database, and there are two places");
    assert!(world.server.metric("alpine_requests_shed_total", &[]).await >= Some(90.0));
    locked.rollback().await.unwrap();
    let begun = Instant::now();
    ann.get("/v1/sessions").await.expect(200);
    ann.up("after", REPO, "main").await.expect(202);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_trickle_take_nobodys_place_and_are_given_up() {
    let _alone = alone().await;
    // One place for `up`s.
    let world = World::with(&[API, QUEUE, ("ALPINE_DB_CONNECTIONS", "4"), ("ALPINE_BODY_TIMEOUT_SECONDS", "3")]).await;
    let raw = Raw::new(&world.pki, world.server.port, "http/1.1");
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: slow\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{{",
        world.token("dev", "mallory", &[])
    );
    let trickles: Vec<_> = (0..20)
        .map(|_| {
            let (raw, head) = (raw.clone(), head.clone());
            tokio::spawn(async move {
                let mut stream = raw.connect().await.unwrap();
                stream.write_all(head.as_bytes()).await.unwrap();
                let (mut read, mut write) = tokio::io::split(stream);
                let trickle = async {
                    while write.write_all(b" ").await.is_ok() && write.flush().await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let mut answer = [0; 12];
                tokio::select! {
                    read = read.read_exact(&mut answer) => read.map(|_| String::from_utf8_lossy(&answer).into_owned()).unwrap(),
                    () = trickle => unreachable!(),
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One that waited for a place would be refused.
    for number in 0..10 {
        world.api("ann").up(&format!("k{number}"), REPO, "main").await.expect(202);
    }
    for trickle in trickles {
        let answer = tokio::time::timeout(Duration::from_secs(10), trickle).await.expect("it is given up").unwrap();
        assert_eq!(answer, "HTTP/1.1 408");
    }
    assert_eq!(world.db.count("idempotency_keys WHERE key = 'slow'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_principal_has_so_many_requests_under_way_and_no_more() {
    let _alone = alone().await;
    let world = World::with(&[API, QUEUE, ("ALPINE_MAX_REQUESTS_PER_PRINCIPAL", "2"), ("ALPINE_QUEUE_MILLISECONDS", "10000")]).await;
    let ann = world.api("ann");
    let locked = world.db.lock("sessions").await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let ann = ann.clone();
            tokio::spawn(async move { ann.get("/v1/sessions").await })
        })
        .collect();
    let both = || async { (world.server.metric("alpine_http_requests_in_flight", &[]).await >= Some(3.0)).then_some(()) };
    alpine_tests::until("two are under way, and the look at it", Duration::from_secs(10), both).await;
    let refused = ann.get("/v1/sessions").await;
    assert_eq!(refused.expect(429)["error_code"], "ERR_RATE_LIMITED");
    assert_eq!(figure(&refused, "retry-after"), 1);
    let bob = tokio::spawn({
        let bob = world.api("bob");
        async move { bob.get("/v1/sessions").await }
    });
    locked.rollback().await.unwrap();
    bob.await.unwrap().expect(200);
    for held in held {
        held.await.unwrap().expect(200);
    }
    ann.get("/v1/sessions").await.expect(200);
}
