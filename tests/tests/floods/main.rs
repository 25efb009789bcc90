//! Floods from the network, on loopback and bounded: the server stays up, takes little memory, and serves others.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; the measurements are the point")]

mod http2;
mod sockets;

use std::time::{Duration, Instant};

use alpine_tests::{
    REPO, World, alone,
    api::{Api, send},
    cli::text,
    strain::{Seen, Strain, percentile},
};
use reqwest::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const GROWTH_MIB: u64 = 100;

/// A server without a worker: nothing else takes its memory.
async fn api_only() -> World {
    World::with(&[("ALPINE_ROLE", "api"), ("ALPINE_LOG", "warn"), ("ALPINE_QUEUE_MILLISECONDS", "250")]).await
}

/// The server is up, took little memory, served somebody else meanwhile, and nothing in it panicked.
fn assert_held(world: &mut World, seen: &Seen) {
    assert!(world.server.exited().is_none(), "the server has ended");
    assert!(seen.failures.is_empty(), "somebody else was not served: {:?}", seen.failures);
    assert!(!seen.times.is_empty() && seen.p95() < Duration::from_secs(3), "{:?}", seen.p95());
    assert!(seen.growth_mib() < GROWTH_MIB, "memory grew by {} MiB", seen.growth_mib());
    let log = world.server.log_text();
    assert!(!log.contains("panicked"), "{}", world.server.log_tail());
}

/// So many `up`s at a time until told to stop, each with a key of its own; how many were accepted, and how many refused.
async fn flood(world: &World, at_once: usize, stop: &CancellationToken) -> tokio::task::JoinSet<[u32; 2]> {
    let (mut flood, clients) = (tokio::task::JoinSet::new(), (0..8).map(|_| world.api("mallory")).collect::<Vec<_>>());
    for n in 0..at_once {
        let (client, stop) = (clients[n % clients.len()].clone(), stop.clone());
        flood.spawn(async move {
            let mut counts = [0, 0];
            for k in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                let accepted = match client.up(&format!("flood{n}-{k}"), REPO, "main").await.status.as_u16() {
                    202 => true,
                    503 => false,
                    status => panic!("{status}"),
                };
                counts[usize::from(!accepted)] += 1;
                // As it was told to: sooner would be a test of this machine's processor.
                if !accepted {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            counts
        });
    }
    flood
}

/// What somebody does meanwhile, on sessions of their own: how long each `down` and each read took, sorted.
async fn downs_and_reads(ann: &Api, sessions: &[String]) -> [Vec<Duration>; 2] {
    let (mut downs, mut reads) = (Vec::new(), Vec::new());
    for session in sessions {
        let begun = Instant::now();
        ann.down(session, json!({})).await.expect(202);
        downs.push(begun.elapsed());
        for path in [&format!("/v1/sessions/{session}"), "/v1/sessions"] {
            let begun = Instant::now();
            ann.get(path).await.expect(200);
            reads.push(begun.elapsed());
        }
    }
    downs.sort_unstable();
    reads.sort_unstable();
    [downs, reads]
}

/// With 300 `up`s in flight; `hang`: the database does not answer them.
async fn a_flood_of_ups(hang: bool) {
    const AT_ONCE: usize = 300;
    let _alone = alone().await;
    let mut world = api_only().await;
    let ann = world.api("ann");
    let mut sessions = Vec::new();
    for number in 0..40 {
        sessions.push(text(ann.up(&format!("own{number}"), REPO, "main").await.expect(202), "session_id"));
    }
    let strain = Strain::begin(&world).await;
    let locked = if hang { Some(world.db.lock("idempotency_keys").await) } else { None };
    let stop = CancellationToken::new();
    let mut ups = flood(&world, AT_ONCE, &stop).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let [downs, reads] = downs_and_reads(&ann, &sessions).await.map(|times| percentile(&times, 0.95));
    stop.cancel();
    if let Some(locked) = locked {
        locked.rollback().await.unwrap();
    }
    let mut counts = [0; 2];
    while let Some(one) = ups.join_next().await {
        let one = one.unwrap();
        counts = [counts[0] + one[0], counts[1] + one[1]];
    }
    let [accepted, refused] = counts;
    eprintln!("{AT_ONCE} ups in flight, hanging: {hang} ({accepted} accepted, {refused} refused): down p95 {downs:?}, reads p95 {reads:?}");
    for class in ["class=\"down\"", "class=\"read\""] {
        assert_eq!(world.server.metric("alpine_requests_shed_total", &[class]).await, Some(0.0), "{class}");
    }
    // Less than the database takes to give up on one that hangs.
    assert!(downs < Duration::from_secs(4) && reads < Duration::from_secs(4));
    let seen = strain.end("a flood of ups").await;
    assert_held(&mut world, &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_ups_takes_nothing_from_downs_and_reads() {
    a_flood_of_ups(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ups_that_hang_in_the_database_take_nothing_from_downs_and_reads() {
    a_flood_of_ups(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bombs_are_refused_packed() {
    let _alone = alone().await;
    let mut world = api_only().await;
    let bombs = [("gzip", bomb(true)), ("deflate", bomb(false)), ("br", vec![0x5b; 60_000]), ("zstd", vec![0x28; 60_000])];
    let strain = Strain::begin(&world).await;
    for round in 0..50 {
        for (coding, body) in &bombs {
            let request = world.api("mallory").request(Method::POST, "/v1/sessions").header("Idempotency-Key", format!("b{round}"));
            let request = request.header("Content-Type", "application/json").header("Content-Encoding", *coding);
            assert_eq!(send(request.body(body.clone())).await.expect(415)["error_code"], "ERR_INVALID_REQUEST");
        }
    }
    let seen = strain.end("packed bombs of 20 MiB").await;
    assert_held(&mut world, &seen);
}

/// Some KB that are 20 MiB: within the bound of a body as it comes.
fn bomb(gzip: bool) -> Vec<u8> {
    use std::io::Write;
    let zeroes = vec![b' '; 1 << 20];
    let mut packed = Vec::new();
    let best = flate2::Compression::best();
    let write = |writer: &mut dyn Write| (0..20).for_each(|_| writer.write_all(&zeroes).unwrap());
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, best);
        write(&mut encoder);
        encoder.finish().unwrap();
    } else {
        let mut encoder = flate2::write::ZlibEncoder::new(&mut packed, best);
        write(&mut encoder);
        encoder.finish().unwrap();
    }
    assert!(packed.len() < 65_536, "{}", packed.len());
    packed
}

#[tokio::test(flavor = "multi_thread")]
async fn json_however_deep_is_a_bad_request() {
    let _alone = alone().await;
    let mut world = api_only().await;
    let session = text(world.api("mallory").up("k", REPO, "main").await.expect(202), "session_id");
    let strain = Strain::begin(&world).await;
    for (depth, statuses) in [(100_000, &[413_u16][..]), (60_000, &[400, 422]), (30_000, &[400, 422]), (200, &[400, 422])] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let depth = depth.min(if open.len() == 1 || depth == 100_000 { depth } else { 10_000 });
            for before in ["", "{\"repo_url\":", "{\"x\":"] {
                let body = format!("{before}{}1{}", open.repeat(depth), close.repeat(if depth > 32_000 { 0 } else { depth }));
                for path in ["/v1/sessions".to_owned(), format!("/v1/sessions/{session}/down")] {
                    let request = world.api("mallory").request(Method::POST, &path).header("Idempotency-Key", "deep");
                    let reply = send(request.header("Content-Type", "application/json").body(body.clone())).await;
                    assert!(statuses.contains(&reply.status.as_u16()), "{depth} {open} {before}: {} {}", reply.status, reply.text);
                    assert_eq!(reply.body["error_code"], "ERR_INVALID_REQUEST");
                }
            }
        }
    }
    let seen = strain.end("deep JSON").await;
    assert_held(&mut world, &seen);
}
