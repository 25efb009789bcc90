//! Measurements as ratios in one run: what is compared takes turns, on one machine, in one process.

mod accept;
mod bare;
pub mod claim;
mod cli;
mod gateway;
mod load;
mod machine;
mod memory;
mod nginx;
mod pgbench;
mod plot;
mod predecessor;
mod reads;
mod ready;
mod report;
mod rls;
mod samples;
mod scale;
mod stage;
mod wait;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use claim::{Said as EngineSaid, said as engine_said};
use reads::Read;
pub use report::Report;
use report::Section;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Everything, one after the other.
    All,
    /// An `up`'s accept, and many of one key.
    Accept,
    /// Many `status`es.
    Status,
    /// Many `list`s.
    List,
    /// From an `up` to the start of its operation; whole operations, and claims.
    Claim,
    /// Row-level security, on and off.
    Rls,
    /// From a commit to the client that waits for it.
    Wait,
    /// A whole `up`, next to a script that does the same by hand.
    Ready,
    /// What a session serves, through its host and through nginx.
    Gateway,
    /// How long the command line takes to start and to list.
    Cli,
    /// What a server takes of memory, idle and after many operations.
    Memory,
    /// What took seconds before Alpine.
    Predecessor,
    /// Reads with five million sessions, next to ten thousand.
    Scale,
}

#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[arg(value_enum, default_value = "all")]
    pub what: What,
    /// Rounds; each thing is measured once in each.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of one measurement.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Whose session the gateway leads to: `local`, or `docker` (with tests/docker/run.sh, which has one).
    #[arg(long, default_value = "local")]
    pub provider: String,
    /// One round of little, to see that it runs: its figures say nothing.
    #[arg(long)]
    pub short: bool,
    /// Seconds of steady load before claims are measured again: 600 unless it is said.
    #[arg(long)]
    pub steady_seconds: Option<u64>,
    /// Where the figures are written as JSON too.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where they are drawn (SVG).
    #[arg(long)]
    pub svg: Option<PathBuf>,
    #[command(subcommand)]
    pub part: Option<Part>,
}

/// What the bench starts of itself.
#[derive(Debug, Clone, Subcommand)]
pub enum Part {
    #[command(hide = true)]
    Bare(bare::BareArgs),
}

impl Options {
    /// So many rows, or a fiftieth.
    const fn at_scale(&self, rows: u32) -> u32 {
        if self.short { rows / 50 } else { rows }
    }
}

/// `None`: it was a part of another bench, and has ended.
pub async fn run(mut options: Options, command: String) -> anyhow::Result<Option<Report>> {
    if let Some(Part::Bare(args)) = &options.part {
        bare::serve(args).await?;
        return Ok(None);
    }
    if options.short {
        (options.rounds, options.seconds) = (1, 1);
    }
    let all = [
        What::Accept,
        What::Claim,
        What::Status,
        What::List,
        What::Rls,
        What::Wait,
        What::Ready,
        What::Gateway,
        What::Cli,
        What::Memory,
        What::Predecessor,
        What::Scale,
    ];
    let mut sections = Vec::new();
    for what in all.into_iter().filter(|what| [*what, What::All].contains(&options.what)) {
        sections.push(section(what, &options).await?);
    }
    let report = Report { machine: machine::described(), command, sections };
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, plot::svg(&report))?;
    }
    Ok(Some(report))
}

async fn section(what: What, options: &Options) -> anyhow::Result<Section> {
    match what {
        What::Accept => Box::pin(accept::run(options)).await,
        What::Status => Box::pin(reads::run(Read::Status, options)).await,
        What::List => Box::pin(reads::run(Read::List, options)).await,
        What::Claim => Box::pin(claim::run(options)).await,
        What::Rls => Box::pin(rls::run(options)).await,
        What::Wait => Box::pin(wait::run(options)).await,
        What::Ready => Box::pin(ready::run(options)).await,
        What::Gateway => Box::pin(gateway::run(options)).await,
        What::Cli => Box::pin(cli::run(options)).await,
        What::Memory => Box::pin(memory::run(options)).await,
        What::Predecessor => Box::pin(predecessor::run(options)).await,
        What::Scale => Box::pin(scale::run(options)).await,
        What::All => anyhow::bail!("everything is no section"),
    }
}
