//! What a server takes of memory: idle, and after more and more operations, which must not leave anything behind.
//!
//! The operations are `up`s of a repository on the machine's own address, which the server refuses when it looks the name up: each
//! is accepted, claimed, failed and cleaned up, with all the commits of that, and starts no program.

use std::{fmt, net::IpAddr, ops::Range, time::Duration};

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::Options;
use crate::{World, api::Api};

/// The second is ten times the first.
const GROWTH: u64 = 10;
/// What is freed has been given back by then.
const SETTLE: Duration = Duration::from_secs(10);
const MB: f64 = 1024.0 * 1024.0;

#[derive(Debug, Serialize)]
pub struct Report {
    /// Resident memory, MB.
    pub idle: f64,
    pub rows: Vec<Row>,
    /// The last over the one before.
    pub ratio: f64,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub operations: u64,
    pub resident: f64,
    pub seconds: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "resident memory of one server that serves and works\n| operations | MB | in, s |\n|---|---|---|")?;
        writeln!(f, "| 0 (idle) | {:.1} | |", self.idle)?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} | {:.1} | {:.0} |", row.operations, row.resident, row.seconds))?;
        writeln!(f, "the last over the one before: {:.2}", self.ratio)
    }
}

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let host = own_name().await?;
    let world = World::with(&[("ALPINE_LOG", "warn"), ("ALPINE_WORKER_CONCURRENCY", "64")]).await;
    sleep(SETTLE).await;
    let idle = resident(&world).await?;
    let (mut rows, mut done) = (Vec::new(), 0);
    for until in [options.operations / GROWTH, options.operations] {
        let begun = tokio::time::Instant::now();
        fail(&world, &host, done..until, options.connections).await?;
        done = until;
        until_ended(&world, done).await?;
        let seconds = begun.elapsed().as_secs_f64();
        sleep(SETTLE).await;
        rows.push(Row { operations: done, resident: resident(&world).await?, seconds });
    }
    let ratio = rows[1].resident / rows[0].resident;
    Ok(Report { idle, rows, ratio })
}

/// A name that leads to this machine, and is not one of those that are refused at once.
async fn own_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let found = tokio::net::lookup_host((name.as_str(), 443)).await.with_context(|| format!("{name} has to lead to this machine"))?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    ensure!(addresses.iter().all(IpAddr::is_loopback), "{name} has to lead to this machine alone: {addresses:?}");
    Ok(name)
}

/// The `up`s of these numbers, over so many connections, all accepted.
async fn fail(world: &World, host: &str, numbers: Range<u64>, connections: usize) -> anyhow::Result<()> {
    let url = format!("https://{host}/org/repo.git");
    let mut all = JoinSet::new();
    for lane in 0..connections {
        let (api, url, numbers): (Api, String, _) = (world.api("ann"), url.clone(), numbers.clone());
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
    let mut before = 0.0;
    loop {
        let ended = world.server.metric("alpine_operations_total", &["kind=\"up\"", "outcome=\"failed\""]).await.unwrap_or(0.0);
        if ended >= operations as f64 {
            return Ok(());
        }
        ensure!(ended > before, "{ended} of {operations} operations have ended, and no more do");
        before = ended;
        sleep(Duration::from_secs(5)).await;
    }
}

async fn resident(world: &World) -> anyhow::Result<f64> {
    let bytes = world.server.metric("alpine_process_resident_memory_bytes", &[]).await;
    Ok(bytes.context("the server does not tell its memory")? / MB)
}
