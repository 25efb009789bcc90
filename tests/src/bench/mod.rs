//! Measurements as ratios in one run: what is compared takes turns, on one machine, in one process.

mod cli;
mod load;
mod memory;
mod pgbench;
mod rls;
mod wait;

use std::{fmt, path::PathBuf};

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Row-level security, on and off.
    Rls,
    /// From a commit to the client that waits for it.
    Wait,
    /// How long the command line takes to start and to list.
    Cli,
    /// What a server takes of memory, idle and after many operations.
    Memory,
}

#[derive(Debug, Parser)]
pub struct Options {
    pub what: What,
    /// Rounds; each thing is measured once in each.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// Connections at once; sessions at once of `wait`.
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Sessions of `wait`.
    #[arg(long, default_value_t = 200)]
    pub sessions: usize,
    /// Who wait beside them for one operation, in `wait`, and are told of its end all at once.
    #[arg(long, default_value_t = 0)]
    pub waiters: usize,
    /// Operations of `memory`, the first tenth of which is what the rest is compared with.
    #[arg(long, default_value_t = 100_000)]
    pub operations: u64,
    /// Where the figures are written as JSON too.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Report {
    Rls(rls::Report),
    Wait(wait::Report),
    Cli(cli::Report),
    Memory(memory::Report),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rls(report) => report.fmt(f),
            Self::Wait(report) => report.fmt(f),
            Self::Cli(report) => report.fmt(f),
            Self::Memory(report) => report.fmt(f),
        }
    }
}

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    match options.what {
        What::Rls => rls::run(options).await.map(Report::Rls),
        What::Wait => wait::run(options).await.map(Report::Wait),
        What::Cli => Box::pin(cli::run(options)).await.map(Report::Cli),
        What::Memory => Box::pin(memory::run(options)).await.map(Report::Memory),
    }
}

/// The middle one; the lower of two.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
