//! `alpine events --follow` over a network that breaks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alpine_tests::cli::text;
use serde_json::Value;
use tokio::{io::copy_bidirectional, net::TcpListener, net::TcpStream, sync::watch};

/// Leads to the server, until it is cut.
struct Line {
    address: String,
    cut: watch::Sender<u64>,
    lived: Arc<AtomicUsize>,
}

async fn line(server: String) -> Line {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (cut, lived) = (watch::Sender::new(0), Arc::new(AtomicUsize::new(0)));
    let server = server.trim_start_matches("https://").to_owned();
    tokio::spawn({
        let (cut, lived) = (cut.clone(), Arc::clone(&lived));
        async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut cuts, lived, server) = (cut.subscribe(), Arc::clone(&lived), server.clone());
                tokio::spawn(async move {
                    let Ok(mut upstream) = TcpStream::connect(&server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => {}
                        _ = cuts.changed() => drop(lived.fetch_add(1, Ordering::SeqCst)),
                    }
                });
            }
        }
    });
    Line { address, cut, lived }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_disconnects_leave_no_gap_and_repeat_nothing() {
    let world = super::world().await;
    let steps = "install = \"for n in $(seq 90); do echo step $n; sleep 0.1; done\"\n";
    world.git.with_files("org/long", &[(".alpine.toml", steps)]);
    let up = world.up("ann", "https://github.com/org/long.git", "main", &["--no-wait"]).run().await.ok();
    let session = text(&up, "session_id");
    let line = line(world.server.base()).await;
    let events = world.alpine("ann").env("ALPINE_SERVER", &line.address).args(&["events", &session, "--follow", "--json"]).spawn();
    let mut round = 0;
    while !events.is_finished() {
        // Often enough for a hundred within the install, and never in step with anything.
        tokio::time::sleep(Duration::from_millis(60 + round % 7 * 6)).await;
        line.cut.send_modify(|cuts| *cuts += 1);
        round += 1;
    }
    let answer = events.await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer}");
    let seen: Vec<i64> = answer.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_i64().unwrap()).collect();
    let all = world.alpine("ann").args(&["events", &session, "--json"]).run().await.ok();
    let all: Vec<i64> = all.as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert_eq!(seen, all, "{answer}");
    assert_eq!(seen, (1..=seen.last().copied().unwrap()).collect::<Vec<_>>());
    let lived = line.lived.load(Ordering::SeqCst);
    assert!(lived >= 100, "only {lived} connections were cut");
}
