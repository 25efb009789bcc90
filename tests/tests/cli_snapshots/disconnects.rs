//! `alpine events --follow` over a network that breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alpine_tests::{World, cli::text, until};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Leads to the server, and cuts every connection a moment after the server's first word.
struct Line {
    address: String,
    cuts: Arc<AtomicUsize>,
}

async fn line(server: String) -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let cuts = Arc::new(AtomicUsize::new(0));
    let server = server.trim_start_matches("https://").to_owned();
    tokio::spawn({
        let cuts = Arc::clone(&cuts);
        async move {
            for n in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(upstream) = TcpStream::connect(&server).await else { continue };
                // Never in step with anything.
                tokio::spawn(relay(client, upstream, Duration::from_millis(60 + n % 5 * 40), Arc::clone(&cuts)));
            }
        }
    });
    Line { address, cuts }
}

async fn relay(client: TcpStream, upstream: TcpStream, life: Duration, cuts: Arc<AtomicUsize>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), upstream.into_split());
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut first = [0; 1];
        from_server.read_exact(&mut first).await?;
        to_client.write_all(&first).await?;
        tokio::select! {
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            () = tokio::time::sleep(life) => drop(cuts.fetch_add(1, Ordering::SeqCst)),
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = up => {}
        _ = down => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_disconnects_leave_no_gap_and_repeat_nothing() {
    let world = World::start().await;
    let steps = "install = \"for n in $(seq 3000); do echo step $n; sleep 0.1; done\"\n";
    world.git.with_files("org/long", &[(".alpine.toml", steps)]);
    let up = world.up("ann", "https://github.com/org/long.git", "main", &["--no-wait"]).run().await.ok();
    let session = text(&up, "session_id");
    let line = line(world.server.base()).await;
    let events = world
        .alpine("ann")
        .env("ALPINE_SERVER", &line.address)
        .args(&["events", &session, "--follow", "--json"])
        .limit(Duration::from_secs(400))
        .spawn();
    let cut = || async { (line.cuts.load(Ordering::SeqCst) >= 100).then_some(()) };
    until("a hundred cuts", Duration::from_secs(240), cut).await;
    // The network is no better while it ends.
    world.down("ann", &session, &[]).await;
    let answer = events.await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer}");
    let seen: Vec<i64> = answer.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64().unwrap()).collect();
    let all = world.alpine("ann").args(&["events", &session, "--json"]).run().await.ok();
    let all: Vec<i64> = all.as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seen, all, "{answer}");
    assert_eq!(seen, (1..=seen.last().copied().unwrap()).collect::<Vec<_>>());
}
