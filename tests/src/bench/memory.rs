//! What a server takes of memory: idle, and after more and more operations, which must not leave anything behind.
//!
//! The operations are `up`s of a repository on the machine's own address, which the server refuses when it looks the name up: each
//! is accepted, claimed, failed and cleaned up, with all the commits of that, and starts no program (see `refused_repository`).

use std::{net::IpAddr, ops::Range, time::Duration};

use anyhow::{Context, ensure};
use tokio::{task::JoinSet, time::sleep};

use super::{
    Options,
    report::{Row, Section, Target},
};
use crate::{World, api::Api};

/// The second is ten times the first.
const GROWTH: u64 = 10;
const MB: f64 = 1024.0 * 1024.0;

/// Idle, and the growth from the first part of the operations to all.
const MOST_IDLE: f64 = 40.0;
const MOST_GROWTH: f64 = 1.1;
const CONNECTIONS: usize = 24;

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let url = refused_repository().await;
    // What is freed has been given back by then, in a run that counts.
    let settle = Duration::from_secs(if options.short { 1 } else { 10 });
    let world = World::with(&[("ALPINE_LOG", "warn"), ("ALPINE_WORKER_CONCURRENCY", "64")]).await;
    sleep(settle).await;
    let idle = resident(&world).await?;
    let all = u64::from(options.at_scale(100_000));
    let (mut after, mut done, begun) = (Vec::new(), 0, tokio::time::Instant::now());
    for until in [all / GROWTH, all] {
        fail(&world, &url, done..until, CONNECTIONS).await?;
        done = until;
        until_ended(&world, done).await?;
        sleep(settle).await;
        after.push(resident(&world).await?);
    }
    let (first, last) = (after[0], after[1]);
    let rows = vec![
        Row::within("idle", "MB", idle, MOST_IDLE),
        Row::of_pairs(format!("after {all} operations"), "MB", format!("after {}", all / GROWTH), &[(last, first)])
            .target(Target::AtMost(MOST_GROWTH))
            .detail(format!("in {:.0} s", begun.elapsed().as_secs_f64())),
    ];
    let about = "Resident memory of one server that serves and works.".to_owned();
    Ok(Section { name: "memory", about, rows })
}

/// A repository whose `up` fails at its first phase. On the machine's own name it is refused when that is looked up, and no program is
/// started; where the name does not lead to the machine alone, it is one that is not there, and git has to find that out.
pub async fn refused_repository() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let found: Vec<IpAddr> =
        tokio::net::lookup_host((name.as_str(), 443)).await.map(|found| found.map(|address| address.ip()).collect()).unwrap_or_default();
    let own = !found.is_empty() && found.iter().all(IpAddr::is_loopback);
    if own { format!("https://{name}/org/repo.git") } else { "https://github.com/org/absent.git".to_owned() }
}

/// The `up`s of these numbers, over so many connections, all accepted.
async fn fail(world: &World, url: &str, numbers: Range<u64>, connections: usize) -> anyhow::Result<()> {
    let mut all = JoinSet::new();
    for lane in 0..connections {
        let (api, url, numbers): (Api, String, _) = (world.api("ann"), url.to_owned(), numbers.clone());
        all.spawn(async move {
            for number in numbers.skip(lane).step_by(connections) {
                let up = api.up(&format!("memory{number}"), &url, "main").await;
                // It may have failed before it is answered.
                ensure!(up.status == 202 || up.status == 502, "{}", up.text);
            }
            Ok(())
        });
    }
    while let Some(lane) = all.join_next().await {
        lane??;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
async fn until_ended(world: &World, operations: u64) -> anyhow::Result<()> {
    let (mut before, mut still) = (0.0, 0);
    loop {
        let ended = world.server.metric("alpine_operations_total", &["kind=\"up\"", "outcome=\"failed\""]).await.unwrap_or(0.0);
        if ended >= operations as f64 {
            return Ok(());
        }
        still = if ended > before { 0 } else { still + 1 };
        ensure!(still < 6, "{ended} of {operations} operations have ended, and no more do");
        before = ended;
        sleep(Duration::from_secs(5)).await;
    }
}

async fn resident(world: &World) -> anyhow::Result<f64> {
    let bytes = world.server.metric("alpine_process_resident_memory_bytes", &[]).await;
    Ok(bytes.context("the server does not tell its memory")? / MB)
}
