//! The checks of the sandboxes, on real directories and processes.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use alpine_api::SessionId;
use alpine_tests::{
    World,
    cli::text,
    invariants,
    sandboxes::{self, docker},
    tools,
};
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
    Container(String),
    Process(i32),
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

/// In containers; by Docker, on whose word the checks rely.
const OF_CONTAINERS: &[Mutant] = &[
    Mutant { check: READY, what: "two containers", does: |place| place.container(&place.ready) },
    Mutant { check: READY, what: "served twice", does: |place| place.served_again() },
    Mutant { check: FINAL, what: "a container that was never started", does: |place| place.container(&place.stopped) },
    Mutant { check: UNKNOWN, what: "a container", does: |place| place.container(&place.stranger) },
];

impl Place {
    fn container(&self, session: &str) -> Undo {
        let root = fs::read_to_string(self.root.join(".id")).unwrap();
        let (of_root, of_session) = (format!("alpine.root={root}"), format!("alpine.session={session}"));
        Undo::Container(docker(&["create", "--label", &of_root, "--label", &of_session, "alpine-test", "true"]))
    }

    fn served_again(&self) -> Undo {
        let (session, name) = (format!("ALPINE_SESSION_ID={}", self.ready), format!("alpine-{}", self.ready));
        docker(&["exec", "--detach", "--env", "ALPINE_SERVE=1", "--env", &session, &name, "sleep", "61"]);
        let second = || {
            sandboxes::marked()
                .into_iter()
                .find(|(_, pid, _)| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x0061\0"))
        };
        for _ in 0..2000 {
            if let Some((_, pid, _)) = second() {
                return Undo::Process(pid);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("the second one does not begin");
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
        Undo::Container(id) => drop(docker(&["rm", &id])),
        Undo::Process(pid) => end(pid),
    }
}

fn end(pid: i32) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
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

/// A world whose server has ended, so that what looks for such things does not put them right.
async fn stage(mut world: World) -> (World, PgConnection, Place) {
    let stopped = text(&world.ready("ann").await, "session_id");
    world.down("ann", &stopped, &[]).await.ok();
    let ready = text(&world.ready("ann").await, "session_id");
    let mut connection = connect(&world).await;
    agrees(&mut connection, &world).await;
    world.server.kill();
    agrees(&mut connection, &world).await;
    let place = Place { root: sandboxes::root(&world.data_dir), ready, stopped, stranger: SessionId::generate().to_string() };
    (world, connection, place)
}

async fn each_is_caught(mutants: &[Mutant], (world, connection, place): &mut (World, PgConnection, Place)) {
    for mutant in mutants {
        let done = (mutant.does)(place);
        let found = invariants::sandboxes(connection, &world.data_dir).await.unwrap();
        undo(done);
        caught(mutant.check, mutant.what, &found);
        agrees(connection, world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_left_unknown_or_too_much_is_seen() {
    if !tools::has_docker() {
        return;
    }
    let world = World::of_provider("docker", &[]).await;
    world.git.with_files("org/repo", &[("README.md", "hello\n")]);
    let mut stage = stage(world).await;
    each_is_caught(OF_CONTAINERS, &mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_missing_left_or_unknown_is_seen() {
    let mut stage = stage(World::start().await).await;
    each_is_caught(MUTANTS, &mut stage).await;
    let (world, mut connection, place) = stage;
    let mut transaction = connection.begin().await.unwrap();
    execute(&mut transaction, "UPDATE sessions SET opencode_url = 'http://127.0.0.1:1/' WHERE state = 'ready'").await;
    let found = invariants::sandboxes(&mut transaction, &world.data_dir).await.unwrap();
    caught(READY, "nothing listens", &found);
    transaction.rollback().await.unwrap();
    for pid in sandboxes::processes(&place.ready) {
        end(pid);
    }
    let dead = alpine_tests::until("the dead program is seen", LIMIT, async || {
        let found = invariants::sandboxes(&mut connect(&world).await, &world.data_dir).await.unwrap();
        (!found.is_empty()).then_some(found)
    })
    .await;
    caught(READY, "the served program is dead", &dead);
}
