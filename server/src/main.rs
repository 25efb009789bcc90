//! `alpine-server`: the control plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    alpine_server::program::run()
}
