//! Sessions' own hosts, from outside: who is let through to what a session serves, what goes through, and when it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod browser;
mod codes;
mod containers;
mod exchange;
mod hosts;
mod idle;
mod kept;
mod paths;
mod ports;
mod shares;
mod stage;
mod streams;
