//! What always holds, as named checks: of the ledger, of the sandboxes, of what callers were told. The fault
//! tests ask them while faults happen and when all is quiet again; each has a mutant in `tests/invariants.rs`.

pub mod answers;
pub mod ledger;
pub mod sandboxes;

use std::{fmt, path::Path, time::Duration};

use sqlx::PgConnection;

pub use answers::Answer;

/// Something that must never be so, and is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub check: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// What the checks must know of the servers' settings.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub lease: Duration,
    /// A clean-up's own time, which begins when an operation's is over: the deadline of a `down`.
    pub cleanup: Duration,
    /// For an operation that nobody holds to be claimed: the workers' poll, and what a fault of the test takes away.
    pub slack: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { lease: Duration::from_secs(30), cleanup: Duration::from_secs(180), slack: Duration::from_secs(5) }
    }
}

/// What holds at any moment. One statement, so one snapshot, in a transaction or not.
pub async fn always(connection: &mut PgConnection, limits: &Limits) -> sqlx::Result<Vec<Violation>> {
    ledger::run(connection, ledger::ALWAYS, limits).await
}

/// What holds at any moment, and what holds when nothing is under way.
pub async fn ledger(connection: &mut PgConnection, limits: &Limits) -> sqlx::Result<Vec<Violation>> {
    let mut found = always(connection, limits).await?;
    found.extend(ledger::run(connection, ledger::AT_REST, limits).await?);
    Ok(found)
}

/// Whether the ledger and what the `local` provider has are the same sessions; at rest.
pub async fn sandboxes(connection: &mut PgConnection, data_dir: &Path) -> sqlx::Result<Vec<Violation>> {
    sandboxes::run(connection, data_dir).await
}

/// Whether callers were told the truth, and all of them the same.
pub async fn answers(connection: &mut PgConnection, answers: &[Answer]) -> sqlx::Result<Vec<Violation>> {
    answers::run(connection, answers).await
}

/// Every check there is.
pub fn names() -> Vec<&'static str> {
    let of_the_ledger = ledger::ALWAYS.iter().chain(ledger::AT_REST).map(|check| check.name);
    of_the_ledger.chain(sandboxes::CHECKS.iter().copied()).chain(answers::CHECKS.iter().copied()).collect()
}
