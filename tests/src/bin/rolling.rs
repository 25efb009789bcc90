//! `cargo run -p alpine-tests --bin rolling -- --replicas 3 --restarts 20`

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

use std::process::ExitCode;

use alpine_tests::rolling::{self, Options};
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let report = Box::pin(rolling::run(&options)).await?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    println!("{report}");
    report.violations.iter().for_each(|what| println!("{what}"));
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
