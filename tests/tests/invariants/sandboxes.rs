//! The checks of the sandboxes, on real directories and processes.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use alpine_api::SessionId;
use alpine_tests::{World, cli::text, invariants};
use sqlx::{Connection, PgConnection};

use crate::{LIMIT, caught, connect, execute, shown};

/// What is done to a world with a ready and a stopped session; what it returns is undone.
pub struct Mutant {
    pub check: &'static str,
    what: &'static str,
    does: fn(&Place) -> Undo,
}

pub struct Place {
    root: PathBuf,
    ready: String,
    stopped: String,
    /// A session that no ledger knows.
    stranger: String,
}

pub enum Undo {
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
    Kill(Child),
}

const READY: &str = "ready_has_one_living_sandbox";
const FINAL: &str = "final_has_no_sandbox";
const UNKNOWN: &str = "no_sandbox_is_unknown";

pub const MUTANTS: &[Mutant] = &[
    Mutant { check: READY, what: "the directory is gone", does: |place| place.away(&place.root.join(&place.ready)) },
    Mutant { check: READY, what: "the slot is gone", does: |place| place.away(&place.slot_of_ready()) },
    Mutant { check: READY, what: "two slots", does: |place| made(&place.root.join(format!(".slots/999.{}", place.ready))) },
    Mutant { check: READY, what: "served twice", does: |place| place.process(&place.ready, true) },
    Mutant { check: FINAL, what: "a directory", does: |place| made(&place.root.join(&place.stopped)) },
    Mutant { check: FINAL, what: "a slot", does: |place| made(&place.root.join(format!(".slots/999.{}", place.stopped))) },
    Mutant { check: FINAL, what: "trash", does: |place| made(&place.root.join(format!(".trash/{}.1", place.stopped))) },
    Mutant { check: FINAL, what: "a process", does: |place| place.process(&place.stopped, false) },
    Mutant { check: UNKNOWN, what: "a directory", does: |place| made(&place.root.join(&place.stranger)) },
    Mutant { check: UNKNOWN, what: "a slot", does: |place| made(&place.root.join(format!(".slots/999.{}", place.stranger))) },
    Mutant { check: UNKNOWN, what: "trash", does: |place| made(&place.root.join(format!(".trash/{}.1", place.stranger))) },
    Mutant { check: UNKNOWN, what: "a process", does: |place| place.process(&place.stranger, false) },
];

fn made(path: &Path) -> Undo {
    fs::create_dir(path).unwrap();
    Undo::Remove(path.to_owned())
}

impl Place {
    fn slot_of_ready(&self) -> PathBuf {
        let slots = fs::read_dir(self.root.join(".slots")).unwrap().map(|entry| entry.unwrap().path());
        slots.into_iter().find(|slot| slot.to_string_lossy().ends_with(&self.ready)).unwrap()
    }

    fn away(&self, path: &Path) -> Undo {
        let aside = self.root.parent().unwrap().join("aside");
        fs::rename(path, &aside).unwrap();
        Undo::Rename(aside, path.to_owned())
    }

    /// A process with a session's mark; a served one in a pid namespace of its own.
    fn process(&self, session: &str, served: bool) -> Undo {
        let mut command = if served { Command::new("unshare") } else { Command::new("sleep") };
        if served {
            command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sleep"]).env("ALPINE_SERVE", "1");
        }
        let command = command.arg("60").env("ALPINE_SESSION_ID", session).current_dir(&self.root).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().unwrap();
        // Until it is what was started, and its child too.
        let begun = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sleep");
        let children = |pid: u32| fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let child_begun = |pid: u32| children(pid).split(' ').any(|child| child.parse().is_ok_and(begun));
        while !begun(child.id()) && !child_begun(child.id()) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Undo::Kill(child)
    }
}

fn undo(undo: Undo) {
    match undo {
        Undo::Remove(path) => fs::remove_dir(path).unwrap(),
        Undo::Rename(from, to) => fs::rename(from, to).unwrap(),
        Undo::Kill(mut child) => {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

async fn agrees(connection: &mut PgConnection, world: &World) {
    // What was killed is not gone at once.
    alpine_tests::until("ledger and sandboxes agree", LIMIT, async || {
        let found = invariants::sandboxes(&mut connect(world).await, &world.data_dir).await.unwrap();
        found.is_empty().then_some(())
    })
    .await;
    let found = invariants::sandboxes(connection, &world.data_dir).await.unwrap();
    assert!(found.is_empty(), "{}", shown(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_missing_left_or_unknown_is_seen() {
    let mut world = World::start().await;
    let stopped = text(&world.ready("ann").await, "session_id");
    world.down("ann", &stopped, &[]).await.ok();
    let ready = text(&world.ready("ann").await, "session_id");
    let mut connection = connect(&world).await;
    agrees(&mut connection, &world).await;
    // So that what looks for such things does not put them right.
    world.server.kill();
    agrees(&mut connection, &world).await;
    let place = Place { root: world.data_dir.join("sandboxes"), ready, stopped, stranger: SessionId::generate().to_string() };
    for mutant in MUTANTS {
        let done = (mutant.does)(&place);
        let found = invariants::sandboxes(&mut connection, &world.data_dir).await.unwrap();
        undo(done);
        caught(mutant.check, mutant.what, &found);
        agrees(&mut connection, &world).await;
    }
    let mut transaction = connection.begin().await.unwrap();
    execute(&mut transaction, "UPDATE sessions SET opencode_url = 'http://127.0.0.1:1/' WHERE state = 'ready'").await;
    let found = invariants::sandboxes(&mut transaction, &world.data_dir).await.unwrap();
    caught(READY, "nothing listens", &found);
    transaction.rollback().await.unwrap();
    for pid in alpine_tests::sandboxes::processes(&place.ready) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
    }
    let dead = alpine_tests::until("the dead program is seen", LIMIT, async || {
        let found = invariants::sandboxes(&mut connect(&world).await, &world.data_dir).await.unwrap();
        (!found.is_empty()).then_some(found)
    })
    .await;
    caught(READY, "the served program is dead", &dead);
}
