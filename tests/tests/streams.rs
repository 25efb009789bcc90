//! Events and logs as they come, on every replica, over every kind of break; and a thousand who wait.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use alpine_tests::{
    REPO, World, alone,
    api::{Api, send},
    cli::text,
    db::{Db, uuid},
    git_server::url,
    server::Server,
    sse::{self, Block, Message, Stream},
    strain::{Strain, percentile},
    until,
};
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

const LIMIT: Duration = Duration::from_secs(60);
/// No worker: what is accepted stays as it is.
const API: (&str, &str) = ("ALPINE_ROLE", "api");

fn events_of(session: &str) -> String {
    format!("/v1/sessions/{session}/events")
}

fn log_of(session: &str) -> String {
    format!("/v1/sessions/{session}/log")
}

/// A progress of the session as a worker appends it, and the hint of a replica that is none of these.
async fn happen(db: &Db, session: &str, hinted: bool) -> u64 {
    let id = uuid(session);
    let appended = db
        .execute(&format!(
            "WITH s AS (
                 UPDATE sessions SET event_seq = coalesce(event_seq, transition_seq) + 1
                 WHERE session_id = '{id}' AND state NOT IN ('stopped', 'failed') RETURNING tenant_id, session_id, event_seq, state, operation_id
             )
             INSERT INTO progress (tenant_id, session_id, seq, state, phase, message, actor, operation_id, fence)
             SELECT tenant_id, session_id, event_seq, state, 'install', repeat('so far ', 20), 'system', operation_id, 1 FROM s"
        ))
        .await;
    if hinted {
        hint(db, 'e', session).await;
    }
    appended
}

async fn hint(db: &Db, what: char, session: &str) {
    let id = session.parse::<SessionId>().unwrap().uuid().simple().to_string();
    db.execute(&format!("SELECT pg_notify('alpine_hints', '@00000000000000ff,{what}{id}')")).await;
}

/// Pieces of the session's log, each of so many bytes.
async fn write_log(db: &Db, session: &str, pieces: u32, size: u32) {
    let id = uuid(session);
    db.execute(&format!(
        "WITH head AS (
             INSERT INTO session_log_heads AS h (tenant_id, session_id, seq) SELECT tenant_id, session_id, {pieces} FROM sessions WHERE session_id = '{id}'
             ON CONFLICT (tenant_id, session_id) DO UPDATE SET seq = h.seq + excluded.seq RETURNING *
         )
         INSERT INTO session_logs (tenant_id, session_id, seq, source, text)
         SELECT tenant_id, session_id, seq - {pieces} + n, 'install', repeat('x', {size}) FROM head, generate_series(1, {pieces}) n"
    ))
    .await;
    hint(db, 'l', session).await;
}

/// All events, by pages.
async fn pages(api: &Api, session: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = api.get(&format!("{}?limit=7&after={after}", events_of(session))).await;
        let events = page.expect(200)["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
        after = page.body["next_after"].as_i64().unwrap();
    }
}

async fn rest(stream: &mut Stream) -> Vec<Message> {
    let mut all = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        all.push(message);
    }
    all
}

async fn stopped(api: &Api, session: &str) {
    let request = api.request(Method::POST, &format!("/v1/sessions/{session}/down")).header("prefer", "wait=60").json(&json!({}));
    assert_eq!(send(request).await.expect(200)["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_stream_is_its_pages_and_ends_when_it_is_over() {
    let world = World::start().await;
    let ann = world.api("ann");
    let session = text(ann.up("k", REPO, "main").await.expect(202), "session_id");
    let (events, log) = (events_of(&session), log_of(&session));
    let mut live = Stream::open(&ann, &events, None).await;
    let mut live_log = Stream::open(&ann, &log, None).await;
    assert!(matches!(live.block().await.unwrap(), Some(Block::Retry(500..1500))), "first of all");
    world.db.wait_for_state(&session, &["ready"], LIMIT).await;
    for n in 0..20 {
        happen(&world.db, &session, n % 2 == 0).await;
    }
    write_log(&world.db, &session, 5, 10).await;
    stopped(&ann, &session).await;
    let told = rest(&mut live).await;
    let expected = pages(&ann, &session).await;
    assert_eq!(told.iter().map(|m| m.data.clone()).collect::<Vec<_>>(), expected);
    for message in &told {
        assert_eq!((message.id, message.event.as_str()), (message.data["seq"].as_i64().unwrap(), message.data["kind"].as_str().unwrap()));
    }
    assert_eq!(told.iter().map(|m| m.id).collect::<Vec<_>>(), (1..=i64::try_from(expected.len()).unwrap()).collect::<Vec<_>>());
    assert!(told.len() >= 28 && told.last().unwrap().data["to_state"] == "stopped", "{told:?}");
    let chunks = ann.get(&format!("{log}?limit=500")).await.expect(200)["chunks"].as_array().unwrap().clone();
    let told_log = rest(&mut live_log).await;
    assert_eq!(told_log.iter().map(|m| m.data.clone()).collect::<Vec<_>>(), chunks);
    assert!(chunks.len() >= 5 && told_log.iter().all(|m| m.event == "log"));
    // Again, when it is over: from the middle, from the end, and from beyond.
    let half = rest(&mut Stream::open(&ann, &format!("{events}?after=3"), Some(9)).await).await;
    assert_eq!(half, told[9..], "the header counts before the parameter");
    for (path, last) in [(&events, expected.len()), (&events, 1_000_000), (&log, chunks.len())] {
        let answer = sse::ask(&ann, path, Some(i64::try_from(last).unwrap())).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (204, ""), "{path} after {last}");
    }
    let answer = sse::ask(&ann, &events, None).await.unwrap();
    for (name, value) in [("cache-control", "no-store"), ("x-accel-buffering", "no"), ("content-type", "text/event-stream")] {
        assert_eq!(answer.headers()[name], value);
    }
    let bad = send(ann.request(Method::GET, &events).header("accept", "text/event-stream").header("last-event-id", "-1")).await;
    assert_eq!(bad.expect(400)["error_code"], "ERR_INVALID_REQUEST");
    strangers_see_no_more_than_of_pages(&world, &session).await;
}

/// Another principal is refused, another tenant knows nothing, an admin's watching is written down once.
async fn strangers_see_no_more_than_of_pages(world: &World, session: &str) {
    let stream = |api: Api, path: String| async move {
        send(api.request(Method::GET, &path).header("accept", "text/event-stream").header("last-event-id", "2")).await
    };
    let unknown = "ses_019ab1c24d3e7f508192a3b4c5d6e7f8";
    for of in [events_of, log_of] {
        assert_eq!(stream(world.api("bob"), of(session)).await.expect(403)["error_code"], "ERR_SESSION_FORBIDDEN");
        let (other, none) = (stream(world.api_of("other", "ann", &[]), of(session)).await, stream(world.api("ann"), of(unknown)).await);
        assert_eq!(other.expect(404)["error_code"], "ERR_SESSION_NOT_FOUND");
        assert_eq!(other.general(), none.general());
    }
    let root = world.api_of("dev", "root", &["alpine.admin"]);
    let before = world.db.count("audit_log WHERE outcome = 'done' AND action = 'events.read'").await;
    assert!(rest(&mut Stream::open(&root, &events_of(session), None).await).await.len() > 20);
    assert_eq!(world.db.count("audit_log WHERE outcome = 'done' AND action = 'events.read'").await, before + 1);
}

/// A way to a server that breaks after so many bytes of what it sends.
async fn breaking_way(port: u16, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let ((mut from_client, mut to_client), (from_server, mut to_server)) = (client.into_split(), server.into_split());
        let there = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
        let _ = tokio::io::copy(&mut from_server.take(after as u64), &mut to_client).await;
        there.abort();
    });
    base
}

/// Messages until the connection is cut: by the client after so many bytes, or on its way; whether it was the end.
async fn some(world: &World, server: &Server, session: &str, had: &mut Vec<Message>, cut: usize) -> bool {
    let last = had.last().map(|message| message.id);
    let on_the_way = cut.is_multiple_of(3);
    // What TLS says first is about 2 KB.
    let base = if on_the_way { breaking_way(server.port, 2_000 + cut).await } else { server.base() };
    let api = Api::new(world.pki.client(), base, world.token("dev", "ann", &[]));
    let Ok(mut response) = sse::ask(&api, &events_of(session), last).await else { return false };
    if response.status() == 204 {
        return true;
    }
    let mut bytes = Vec::new();
    while bytes.len() < cut
        && let Ok(Ok(Some(chunk))) = tokio::time::timeout(Duration::from_millis(100), response.chunk()).await
    {
        bytes.extend_from_slice(&chunk);
    }
    if !on_the_way {
        bytes.truncate(cut);
    }
    // Of a message that is not whole nothing is known.
    let whole = String::from_utf8(bytes).unwrap();
    let whole = whole.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    had.extend(whole.split("\n\n").filter(|block| !block.is_empty()).filter_map(|block| match sse::parse(block) {
        Block::Message(message) => Some(message),
        _ => None,
    }));
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_cuts_over_two_replicas_lose_nothing_and_tell_nothing_twice() {
    let _alone = alone().await;
    let world = World::start().await;
    world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 4\"")]);
    let second = world.another_server(&[]).await;
    let ann = world.api("ann");
    let session = text(ann.up("k", &url("org/slow"), "main").await.expect(202), "session_id");
    let enough = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn({
        let (db, session, enough) = (world.db.clone(), session.clone(), Arc::clone(&enough));
        async move {
            let mut n = 0;
            while !enough.load(Ordering::Relaxed) {
                happen(&db, &session, n % 4 != 0).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                n += 1;
            }
        }
    });
    let (mut had, mut breaks) = (Vec::new(), 0);
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let server = if breaks % 2 == 0 { &world.server } else { &second };
        if some(&world, server, &session, &mut had, random.usize(50..4_000)).await {
            break;
        }
        breaks += 1;
        if breaks == 100 {
            enough.store(true, Ordering::Relaxed);
            world.db.wait_for_state(&session, &["ready"], LIMIT).await;
            stopped(&ann, &session).await;
        }
    }
    worker.await.unwrap();
    let expected = pages(&ann, &session).await;
    eprintln!("{breaks} breaks, {} events", had.len());
    assert!(breaks >= 100 && expected.len() > 100, "{breaks} breaks, {} events", expected.len());
    assert_eq!(had.iter().map(|m| m.id).collect::<Vec<_>>(), (1..=i64::try_from(expected.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(had.into_iter().map(|m| m.data).collect::<Vec<_>>(), expected);
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn since(at: &Value) -> Duration {
    let at: DateTime<Utc> = at.as_str().unwrap().parse().unwrap();
    (Utc::now() - at).to_std().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_elsewhere_sees_at_once_what_a_worker_commits_and_soon_when_hints_are_lost() {
    let _alone = alone().await;
    let world = World::start().await;
    let second = world.another_server(&[API]).await;
    let (ann, elsewhere) = (world.api("ann"), Api::new(world.pki.client(), second.base(), world.token("dev", "ann", &[])));
    let mut took = Vec::new();
    for key in ["a", "b", "c"] {
        let session = text(ann.up(key, REPO, "main").await.expect(202), "session_id");
        let mut stream = Stream::open(&elsewhere, &events_of(&session), Some(1)).await;
        while let Some(message) = stream.message().await.unwrap() {
            took.push(since(&message.data["at"]));
            if message.data["to_state"] == "ready" {
                break;
            }
        }
    }
    took.sort_unstable();
    eprintln!("begin of the commit to the client elsewhere: p50 {:?}, at most {:?}", percentile(&took, 0.5), took.last().unwrap());
    assert!(took.len() >= 9 && *took.last().unwrap() < Duration::from_secs(2), "{took:?}");
    // Nobody says anything, and who listens is cut off.
    let session = text(ann.up("d", REPO, "main").await.expect(202), "session_id");
    world.db.wait_for_state(&session, &["ready"], LIMIT).await;
    let mut stream = Stream::open(&elsewhere, &events_of(&session), None).await;
    let (begun, seen) = (pages(&ann, &session).await.len(), 5);
    for _ in 0..begun {
        stream.message().await.unwrap().unwrap();
    }
    let cut = world
        .db
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
        .await;
    assert!(cut >= 2, "{cut} listened");
    for _ in 0..seen {
        happen(&world.db, &session, false).await;
        let begun = Instant::now();
        let message = tokio::time::timeout(Duration::from_secs(4), stream.message()).await.expect("it is found").unwrap().unwrap();
        assert_eq!(message.event, "progress");
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    }
    stopped(&ann, &session).await;
    assert_eq!(rest(&mut stream).await.last().unwrap().data["to_state"], "stopped");
}

/// Waits for an operation's end, as a client does that also waits for a machine that is slow today; when it knew.
async fn the_end(client: Api, path: String) -> Instant {
    loop {
        let reply = send(client.request(Method::GET, &path).header("prefer", "wait=60")).await;
        if reply.status == 200 && !reply.body["finished_at"].is_null() {
            assert_eq!(reply.body["status"], "succeeded");
            return Instant::now();
        }
        assert!(matches!(reply.status.as_u16(), 200 | 503), "{}", reply.text);
    }
}

async fn reads(server: &Server) -> f64 {
    server.metric("alpine_watch_reads_total", &[]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiters_of_one_operation_and_of_fifty_are_told_by_a_few_reads() {
    let _alone = alone().await;
    let world = World::with(&[API]).await;
    let ann = world.api("ann");
    let mut sessions = Vec::new();
    for n in 0..51 {
        let up = ann.up(&format!("k{n}"), REPO, "main").await;
        sessions.push((text(up.expect(202), "session_id"), text(&up.body, "operation_id")));
    }
    let clients: Vec<Api> = (0..8).map(|_| world.api("ann")).collect();
    let waiters: Vec<_> = (0..1000)
        .map(|n| {
            // Half of them wait for one and the same.
            let operation = &sessions[if n % 2 == 0 { 50 } else { n / 2 % 50 }].1;
            tokio::spawn(the_end(clients[n % clients.len()].clone(), format!("/v1/operations/{operation}")))
        })
        .collect();
    let all = || async { (world.server.metric("alpine_http_requests_in_flight", &[]).await >= Some(1000.0)).then_some(()) };
    until("a thousand wait", Duration::from_secs(180), all).await;
    let (before, begun) = (reads(&world.server).await, Instant::now());
    // All end in one moment, as if another replica had done it.
    world.db.meddle("UPDATE operations SET status = 'succeeded', finished_at = now()").await;
    let ids: Vec<&str> = sessions.iter().map(|(_, operation)| operation.as_str()).collect();
    world.db.execute(&format!("SELECT pg_notify('alpine_hints', '@00000000000000ff,{}')", ids.join(","))).await;
    let ended = Instant::now();
    let mut told = Vec::new();
    for waiter in waiters {
        let at = waiter.await.unwrap();
        told.push(at.saturating_duration_since(ended));
    }
    told.sort_unstable();
    let (reads, polls) = (reads(&world.server).await - before, begun.elapsed().as_secs_f64().ceil() + 1.0);
    eprintln!("1,000 waiters told by {reads} reads: p50 {:?}, p95 {:?}", percentile(&told, 0.5), percentile(&told, 0.95));
    // One or two for the ends, and what the poll asks each second.
    assert!(reads <= 4.0 + 2.0 * polls, "{reads} reads");
    // A build for tests on a busy machine: what it takes to answer a thousand. Each alone is told at once.
    assert!(percentile(&told, 0.95) < Duration::from_secs(45), "{:?}", percentile(&told, 0.95));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_beat_end_with_their_time_and_with_the_server() {
    let _alone = alone().await;
    let settings =
        [API, ("ALPINE_MAX_STREAMS_PER_PRINCIPAL", "2"), ("ALPINE_STREAM_HEARTBEAT_SECONDS", "1"), ("ALPINE_STREAM_SECONDS", "4")];
    let mut world = World::with(&settings).await;
    let ann = world.api("ann");
    let session = text(ann.up("k", REPO, "main").await.expect(202), "session_id");
    let events = events_of(&session);
    let token = text(
        ann.send(Method::POST, "/v1/tokens", &json!({ "name": "t", "scopes": ["sessions:read"], "expires_in_days": 1 })).await.expect(201),
        "token",
    );
    let script = Api::new(world.pki.client(), world.server.base(), token);
    let (mut one, two) = (Stream::open(&script, &events, None).await, Stream::open(&ann, &events, None).await);
    let full = send(ann.request(Method::GET, &log_of(&session)).header("accept", "text/event-stream")).await;
    assert_eq!(full.expect(429)["error_code"], "ERR_RATE_LIMITED");
    ann.get(&events).await.expect(200);
    let watchers = || world.server.metric("alpine_event_stream_watchers", &[]);
    assert_eq!(watchers().await, Some(2.0));
    // Who goes away is gone.
    drop(two);
    until("one is left", Duration::from_secs(5), || async { (watchers().await == Some(1.0)).then_some(()) }).await;
    // What is revoked is good until the stream's time is over, and not longer.
    let tokens = ann.get("/v1/tokens").await.expect(200).clone();
    send(ann.request(Method::DELETE, &format!("/v1/tokens/{}", text(&tokens["tokens"][0], "token_id")))).await;
    let (mut beats, begun) = (0, Instant::now());
    let mut last = None;
    while let Some(block) = one.block().await.unwrap() {
        beats += usize::from(block == Block::Comment(String::new()));
        last = Some(block);
    }
    assert!(beats >= 2 && last == Some(Block::Comment("come again".into())), "{beats} beats, then {last:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(sse::ask(&script, &events, Some(1)).await.unwrap().status(), 401);
    // The server goes: at once, and who watches is told to come again.
    let mut stream = Stream::open(&ann, &events, None).await;
    assert_eq!(stream.message().await.unwrap().unwrap().id, 1);
    let end = tokio::spawn(async move {
        let mut last = None;
        while let Some(block) = stream.block().await.unwrap() {
            last = Some(block);
        }
        last
    });
    let (status, took) = world.server.terminate().await;
    assert!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}");
    assert_eq!(end.await.unwrap(), Some(Block::Comment("the server is going".into())));
    world.server.start_again().await;
    happen(&world.db, &session, false).await;
    let mut again = Stream::open(&world.api("ann"), &events, Some(1)).await;
    assert_eq!(again.message().await.unwrap().unwrap().id, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_slowly_takes_no_memory_and_has_everything_in_the_end() {
    let _alone = alone().await;
    const PIECES: i64 = 1000;
    let world = World::with(&[API]).await;
    let ann = world.api("ann");
    let session = text(ann.up("k", REPO, "main").await.expect(202), "session_id");
    let mut slow = Stream::open(&ann, &log_of(&session), None).await;
    slow.block().await.unwrap();
    let strain = Strain::begin(&world).await;
    for _ in 0..PIECES / 20 {
        write_log(&world.db, &session, 20, 60_000).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = strain.end("60 MB for one that does not read").await;
    assert!(seen.growth_mib() < 40, "{} MiB", seen.growth_mib());
    for seq in 1..=PIECES {
        assert_eq!(slow.message().await.unwrap().unwrap().id, seq);
    }
}
