//! `alpine-server`: the control plane.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    alpine_server::program::main().await
}
