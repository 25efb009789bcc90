//! `cargo run --release -p alpine-tests --bin bench -- [all|accept|reads|…] [--json FILE] [--svg FILE]`

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use alpine_tests::bench::{self, Options};
use clap::Parser;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = std::iter::once("bench".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>().join(" ");
    if let Some(report) = Box::pin(bench::run(Options::parse(), command)).await? {
        println!("{report}");
    }
    Ok(())
}
