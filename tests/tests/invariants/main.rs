//! Each invariant has a check, and each check a mutant that it catches: the guard is removed, the forbidden thing
//! done, and the check must say so.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

mod answers;
mod ledger;
mod sandboxes;
mod zombie;

use std::{collections::BTreeSet, time::Duration};

use alpine_tests::{
    World,
    cli::text,
    db::uuid,
    invariants::{self, Limits, Violation},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub const LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug)]
/// A session in each state of interest, and the world that they are in.
pub struct Sessions {
    pub world: World,
    pub ready: String,
    pub stopped: String,
    pub failed: String,
    pub cancelled: String,
    /// Its `up` is in flight and stays so.
    pub installing: String,
}

impl Sessions {
    pub async fn make() -> Self {
        let world = World::start().await;
        let (broken, _) = world.git.with_files("org/broken", &[(".alpine.toml", "install = \"exit 1\"")]);
        let (slow, _) = world.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 300\"")]);
        let begin = async |repo: &str| text(&world.up("ann", repo, "main", &["--no-wait"]).run().await.ok(), "session_id");
        let stopped = text(&world.ready("ann").await, "session_id");
        world.down("ann", &stopped, &[]).await.ok();
        let ready = text(&world.ready("bob").await, "session_id");
        let failed = begin(&broken).await;
        world.db.wait_for_state(&failed, &["failed"], LIMIT).await;
        let cancelled = begin(&slow).await;
        world.db.wait_for_state(&cancelled, &["installing"], LIMIT).await;
        world.down("ann", &cancelled, &["--force"]).await.ok();
        let installing = begin(&slow).await;
        world.db.wait_for_state(&installing, &["installing"], LIMIT).await;
        Self { world, ready, stopped, failed, cancelled, installing }
    }

    /// The statements with `{ready}`, `{stopped}`, … as ids.
    pub fn sql(&self, sql: &str) -> String {
        [
            ("{ready}", &self.ready),
            ("{stopped}", &self.stopped),
            ("{failed}", &self.failed),
            ("{cancelled}", &self.cancelled),
            ("{installing}", &self.installing),
        ]
        .iter()
        .fold(sql.to_owned(), |sql, (name, id)| sql.replace(name, &format!("'{}'", uuid(id))))
    }
}

pub async fn connect(world: &World) -> PgConnection {
    PgConnection::connect(&world.db.url).await.unwrap()
}

/// Statements whose last one must touch something.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(done.rows_affected() > 0, "touched nothing: {sql}");
}

pub fn shown(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The named check must be among those that report.
pub fn caught(check: &str, mutant: &str, violations: &[Violation]) {
    let others: BTreeSet<&str> = violations.iter().map(|violation| violation.check).filter(|name| *name != check).collect();
    let first = violations.iter().find(|violation| violation.check == check);
    let first = first.unwrap_or_else(|| panic!("{check} does not see: {mutant}\n{}", shown(violations)));
    eprintln!("{first}\n    (also {others:?})");
}

pub async fn nothing_broken(connection: &mut PgConnection) {
    let found = invariants::always(connection, &Limits::default()).await.unwrap();
    assert!(found.is_empty(), "{}", shown(&found));
}

#[test]
fn every_check_has_a_mutant() {
    let ledger = ledger::MUTANTS.iter().map(|mutant| mutant.check).chain(ledger::IN_FLIGHT.iter().copied());
    let mutants: BTreeSet<&str> =
        ledger.chain(sandboxes::MUTANTS.iter().map(|m| m.check)).chain(answers::MUTANTS.iter().map(|m| m.check)).collect();
    let checks: Vec<&str> = invariants::names();
    assert_eq!(checks.iter().copied().collect::<BTreeSet<_>>(), mutants);
    assert_eq!(checks.len(), mutants.len(), "two checks of one name");
}
