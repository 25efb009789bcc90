//! What the end-to-end tests stand on: a private PostgreSQL, git over HTTPS, the built programs.
//!
//! Everything lives below one directory a test process ([`base`]); a guardian removes it, and ends all
//! that still runs of it, however the process ends. A test begins with [`World::start`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a harness says what is wrong by panicking")]
#![allow(clippy::zombie_processes, reason = "the guardian and PostgreSQL outlive every place that could wait for them")]

pub mod api;
pub mod audit;
pub mod base;
pub mod bench;
pub mod bins;
pub mod chaos;
pub mod cli;
pub mod cluster;
pub mod contract_diff;
pub mod db;
pub mod drive;
pub mod git_repo;
pub mod git_server;
pub mod ground;
pub mod hostile;
pub mod invariants;
pub mod oidc;
pub mod otlp;
pub mod pki;
pub mod postgres;
pub mod predecessor_file;
pub mod pty;
pub mod rolling;
pub mod sandboxes;
pub mod server;
pub mod sse;
#[path = "../../server/src/lifecycle/tests/sshd.rs"]
pub mod sshd;
pub mod strain;
pub mod team;
pub mod tools;
pub mod wait;
pub mod world;

pub use cli::Answer;
pub use wait::{alone, until};
pub use world::World;

/// A served program that is there at once and needs nothing.
pub const LIGHT_SERVE: &str = "python3 -m http.server $PORT --bind $HOST";
/// The rewritten URL of the examples.
pub const REPO: &str = "https://github.com/org/repo.git";
