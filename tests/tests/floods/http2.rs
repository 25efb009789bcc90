//! What HTTP/2 allows that HTTP/1 does not.

use alpine_tests::strain::Raw;
use http::{Request, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// Streams that are opened and reset at once; how many until the server had enough.
async fn resets(raw: Raw, base: String, token: String, up: bool, most: usize) -> usize {
    let stream = raw.connect().await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for n in 0..most {
        let Ok(ready) = client.ready().await else {
            return n;
        };
        client = ready;
        let request = Request::builder().uri(format!("{base}/v1/sessions")).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let sent = if up {
            let request =
                request.method("POST").header("idempotency-key", format!("r{n}")).header(header::CONTENT_TYPE, "application/json");
            client.send_request(request.body(()).unwrap(), false).and_then(|(_, mut stream)| {
                let body = json!({ "repo_url": REPO, "branch": "main", "public": true }).to_string();
                stream.send_data(body.into(), true)?;
                stream.send_reset(h2::Reason::CANCEL);
                Ok(())
            })
        } else {
            client.send_request(request.body(()).unwrap(), true).map(|(_, mut stream)| stream.send_reset(h2::Reason::CANCEL))
        };
        if sent.is_err() {
            return n;
        }
        // Let it go out before the next: else the reset takes the request back before it was sent.
        tokio::task::yield_now().await;
    }
    connection.abort();
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_cost_little() {
    const MOST: usize = 20_000;
    let _alone = alone().await;
    let mut world = api_only().await;
    let raw = Raw::new(&world.pki, world.server.port, "h2");
    let strain = Strain::begin(&world).await;
    let (begun, mut all) = (Instant::now(), JoinSet::new());
    for n in 0..8 {
        let (raw, base, token) = (raw.clone(), world.server.base(), world.token("dev", "mallory", &[]));
        all.spawn(async move {
            let (mut connections, mut streams) = (0, 0);
            while begun.elapsed() < Duration::from_secs(8) {
                streams += resets(raw.clone(), base.clone(), token.clone(), n % 2 == 0, MOST).await;
                connections += 1;
            }
            (connections, streams)
        });
    }
    let (mut connections, mut streams) = (0, 0);
    while let Some(one) = tokio::time::timeout(Duration::from_secs(30), all.join_next()).await.expect("each has an end") {
        let one: (usize, usize) = one.unwrap();
        (connections, streams) = (connections + one.0, streams + one.1);
    }
    eprintln!("{streams} streams reset on {connections} connections, as the server closed each for it");
    // Of one that bore with them each connection would have reset as many as it had time for.
    assert!(connections > 8 && streams < 1_000 * connections, "{streams} on {connections}: it bears with them");
    let seen = strain.end("rapid resets").await;
    assert_held(&mut world, &seen);
}

/// A head that goes on for ever; how many bytes until the server closed.
async fn continuations(raw: Raw) -> usize {
    let stream = raw.connect().await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    // A literal header without indexing, `a: xxx…`, of 16,000 bytes.
    let field = [&[0x00, 0x01, b'a', 0x7f, 0x81, 0x7c], &[b'x'; 16_000][..]].concat();
    let mut sent = 0;
    let flood = async {
        write.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &frame(1, 0, 1, &[0x82, 0x84, 0x87])].concat()).await?;
        while sent < 256 << 20 {
            let piece = frame(9, 0, 1, &field);
            write.write_all(&piece).await?;
            sent += piece.len();
        }
        Ok::<_, std::io::Error>(())
    };
    let mut answer = Vec::new();
    tokio::select! {
        _ = read.read_to_end(&mut answer) => {}
        _ = flood => {}
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_an_end_is_not_kept() {
    let _alone = alone().await;
    let mut world = api_only().await;
    let raw = Raw::new(&world.pki, world.server.port, "h2");
    let strain = Strain::begin(&world).await;
    let mut all = JoinSet::new();
    for _ in 0..50 {
        all.spawn(continuations(raw.clone()));
    }
    let mut most = 0;
    while let Some(sent) = tokio::time::timeout(Duration::from_secs(30), all.join_next()).await.expect("the server closes them") {
        most = most.max(sent.unwrap());
    }
    eprintln!("CONTINUATION until closed: at most {} KiB", most >> 10);
    assert!(most < 8 << 20, "{most} bytes of one head were taken");
    let reply = send(world.api("mallory").request(Method::GET, "/livez").header("x", "y".repeat(40 << 10))).await;
    assert_eq!(reply.status, 431);
    let many = (0..120).fold(world.api("mallory").request(Method::GET, "/livez"), |request, n| request.header(format!("x-{n}"), "y"));
    assert_eq!(send(many).await.expect(431)["error_code"], "ERR_INVALID_REQUEST");
    let seen = strain.end("endless heads").await;
    assert_held(&mut world, &seen);
}
