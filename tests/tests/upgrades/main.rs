//! Servers come and go, and versions with them, while people work.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests; the figures are the point")]

mod drain;
mod lint;
mod migrate;
mod phases;
mod rolling;
