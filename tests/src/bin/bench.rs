//! `cargo run --release -p alpine-tests --bin bench -- rls`, or `cli`

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use alpine_tests::bench::{self, Options};
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let report = Box::pin(bench::run(&options)).await?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)?;
    }
    println!("{report}");
    Ok(())
}
