//! `cargo run --release -p alpine-tests --bin chaos -- --replicas 3 --minutes 30 --seed 1`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is what it is for")]

use std::process::ExitCode;

use alpine_tests::chaos::{self, Options};
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let report = Box::pin(chaos::run(&options)).await?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    println!("{report}");
    for (check, all) in &report.violations {
        all.iter().for_each(|what| println!("{check}: {what}"));
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
