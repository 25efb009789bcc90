//! `alpine`: ready, isolated development sandboxes from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    alpine_cli::main()
}
