//! `alpine-server` in the build that can be told to go wrong (`ALPINE_FAULTS`). For tests only.

use std::process::ExitCode;

fn main() -> ExitCode {
    alpine_server::program::run()
}
