//! Connections that are slow on purpose, and bodies without an end.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use alpine_tests::strain::{Raw, many_files};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use super::*;

const LORISES: usize = 5000;
const LASTS: Duration = Duration::from_secs(25);
const ENOUGH: f64 = 0.95 * LORISES as f64;

/// Half of a handshake, and silence: again and again, as the server closes it.
async fn never_shakes_hands(raw: Raw, gate: Arc<Semaphore>) {
    loop {
        let connected = {
            let _permit = gate.acquire().await.unwrap();
            TcpStream::connect(raw.address).await
        };
        let Ok(mut stream) = connected else { continue };
        // The beginning of a ClientHello that says it has 512 bytes.
        let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]).await;
        let _ = stream.read(&mut [0; 16]).await;
    }
}

/// One request, and then the head of the next a byte every few seconds.
async fn trickles(raw: Raw, gate: Arc<Semaphore>) {
    loop {
        let connected = {
            let _permit = gate.acquire().await.unwrap();
            raw.connect().await
        };
        let Ok(mut stream) = connected else { continue };
        let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\nx: ").await;
        while stream.write_all(b"a").await.is_ok() && stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_connections_are_borne() {
    let _alone = alone().await;
    many_files();
    let mut world = api_only().await;
    let raw = Raw::new(&world.pki, world.server.port, "http/1.1");
    let gate = Arc::new(Semaphore::new(64));
    let strain = Strain::begin(&world).await;
    let mut lorises = JoinSet::new();
    for n in 0..LORISES {
        let (raw, gate) = (raw.clone(), Arc::clone(&gate));
        if n % 2 == 0 {
            lorises.spawn(never_shakes_hands(raw, gate))
        } else {
            lorises.spawn(trickles(raw, gate))
        };
    }
    let (begun, mut most) = (Instant::now(), 0.0_f64);
    while begun.elapsed() < LASTS || (most < ENOUGH && begun.elapsed() < 4 * LASTS) {
        most = most.max(world.server.metric("alpine_http_connections_open", &[]).await.unwrap());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seen = strain.end(&format!("{LORISES} slow connections, {most} open at once")).await;
    lorises.shutdown().await;
    assert!(most >= ENOUGH, "only {most} were open at once");
    assert_held(&mut world, &seen);
    let gone = || async { (world.server.metric("alpine_http_connections_open", &[]).await <= Some(5.0)).then_some(()) };
    alpine_tests::until("what is closed is not counted", Duration::from_secs(20), gone).await;
}

/// Write a request without an end; the first line of the answer, if one came, and how much was taken.
async fn endless(raw: Raw, head: String, chunked: bool) -> (String, u64) {
    const GIB: u64 = 1 << 30;
    let stream = raw.connect().await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let taken = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let taken = Arc::clone(&taken);
        let mut piece = vec![b' '; 64 << 10];
        if chunked {
            piece = [b"10000\r\n", &piece[..], b"\r\n"].concat();
        }
        async move {
            let _ = write.write_all(head.as_bytes()).await;
            while taken.load(Ordering::Relaxed) < GIB && write.write_all(&piece).await.is_ok() {
                taken.fetch_add(64 << 10, Ordering::Relaxed);
            }
            write
        }
    });
    let mut answer = Vec::new();
    // It ends with an error when the server closes on what was not read.
    let ended = tokio::time::timeout(Duration::from_secs(30), read.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the server goes on reading");
    writer.abort();
    let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    (line, taken.load(Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_a_gibibyte_are_not_taken() {
    let _alone = alone().await;
    let mut world = api_only().await;
    let session = text(world.api("mallory").up("k", REPO, "main").await.expect(202), "session_id");
    let raw = Raw::new(&world.pki, world.server.port, "http/1.1");
    let (good, bad) = (world.token("dev", "mallory", &[]), "nonsense".to_owned());
    let strain = Strain::begin(&world).await;
    let mut all = JoinSet::new();
    let down = format!("/v1/sessions/{session}/down");
    for (request, token, expected) in [
        ("POST /v1/sessions", &good, "413"),
        (&format!("POST {down}"), &good, "413"),
        ("POST /v1/sessions", &bad, "401"),
        ("GET /v1/sessions", &good, "200"),
        ("POST /nowhere", &bad, "404"),
        ("GET /livez", &bad, "200"),
    ] {
        for chunked in [false, true] {
            for n in 0..3 {
                let length = if chunked { "transfer-encoding: chunked" } else { "content-length: 1073741824" };
                let head = format!(
                    "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nidempotency-key: large{n}\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
                );
                let (raw, what) = (raw.clone(), format!("{request} {length}"));
                all.spawn(async move { (what, expected, endless(raw, head, chunked).await) });
            }
        }
    }
    let (mut most, mut sum, mut answered, mut count) = (0, 0, 0, 0);
    while let Some(one) = all.join_next().await {
        let (what, expected, (line, taken)) = one.unwrap();
        (most, sum, count) = (taken.max(most), sum + taken, count + 1);
        // An answer may be lost on the way when the server closes on what was not read; a wrong one may not come.
        assert!(line.is_empty() || line.starts_with(&format!("HTTP/1.1 {expected}")), "{what}: {line}");
        answered += usize::from(!line.is_empty());
    }
    let seen = strain.end("36 bodies of 1 GiB").await;
    eprintln!("written until closed: at most {} KiB of one, {} KiB in all; {answered} of {count} were answered", most >> 10, sum >> 10);
    assert!(most < 32 << 20, "{most} bytes of one body were taken");
    assert!(answered > 0);
    assert_held(&mut world, &seen);
}
