//! Sessions that take more than their share. Each hog also stops by itself, should nobody stop it.

use super::*;
use crate::sandbox::host::walls::Kind;

const MB: u64 = 1024 * 1024;

fn limits() -> Limits {
    Limits { processes: 60, memory: 256 * MB, disk: 64 * MB, files: 3_000, patience: Duration::from_secs(2), ..Limits::default() }
}

fn world(mode: Mode) -> World {
    World::with(mode, |settings| settings.limits = limits())
}

fn python(program: &str) -> Command {
    argv(&["python3", "-c", program])
}

/// What a session does comes last on a busy machine.
async fn in_time(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The command does not come to its end; why.
async fn refused(world: &World, handle: &Handle, command: Command) -> String {
    let (sender, mut receiver) = mpsc::channel(4);
    let drain = async { while receiver.recv().await.is_some() {} };
    let (exit, ()) = tokio::join!(world.provider.exec(handle, FENCE, command, sender), drain);
    match exit {
        Err(ProviderError::Permanent { what, .. }) => what,
        other => panic!("it was not ended for good: {other:?}"),
    }
}

/// All of it is over, for good, and another session goes on.
async fn is_ended(world: &World, handle: &Handle, other: &Handle, cause: &str) {
    in_time("nothing runs", async || world.running(handle) == 0).await;
    assert_eq!(world.provider.ended(handle.session).await.unwrap(), cause);
    assert_eq!(refused(world, handle, sh("true")).await, cause, "nor does anything begin");
    assert_eq!(world.sh(other, "echo fine").await, (Exit::Code(0), "fine\n".to_owned()));
    assert_eq!(world.provider.ended(other.session).await, None);
    world.provider.destroy(handle.session, FENCE).await.unwrap();
    assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Absent);
    let (inner, session) = (Arc::clone(&world.provider.inner), handle.session);
    assert!(!blocking(move || inner.walls.is_there(session)).await.unwrap());
}

/// Without control groups there is none, as without root.
fn has_memory_limit(world: &World) -> bool {
    let has = world.provider.inner.walls.limits(Kind::Memory);
    assert!(has || !is_root(), "control groups have to work where these tests run as root");
    has
}

#[tokio::test]
async fn a_command_that_eats_memory_fails_with_the_limit_as_its_cause() {
    for mode in modes() {
        let world = world(mode);
        let handle = world.session().await;
        if !has_memory_limit(&world) {
            return;
        }
        let eat = python("for i in range(60): x = bytearray(10 << 20); globals()[f'x{i}'] = x");
        let cause = "the command was killed: the session's memory limit of 256 MB was reached";
        assert_eq!(refused(&world, &handle, eat).await, cause, "{mode:?}");
        assert_eq!(world.sh(&handle, "echo fine").await, (Exit::Code(0), "fine\n".to_owned()), "the session itself goes on");
        assert_eq!(world.sh(&handle, "exit 3").await.0, Exit::Code(3), "what fails by itself is not for want of memory");
    }
}

#[tokio::test]
async fn a_session_that_runs_out_of_memory_again_and_again_is_ended() {
    for mode in apart() {
        let (world, cause) = (world(mode), "the session was ended: it ran into its memory limit of 256 MB for 2 s");
        let (handle, other) = (world.session().await, world.session().await);
        if !world.provider.inner.walls.limits(Kind::Memory) {
            continue;
        }
        let eat = "for i in $(seq 60); do python3 -c 'x = bytearray(400 << 20)'; done";
        assert_eq!(refused(&world, &handle, sh(eat)).await, cause);
        is_ended(&world, &handle, &other, cause).await;
    }
}

#[tokio::test]
async fn a_session_has_what_its_own_size_says_and_keeps_it() {
    for mode in modes() {
        let small = Size { memory: Some(96 * MB), cpu_millis: Some(500), disk: Some(24 * MB), image: None };
        let world = World::with(mode, |settings| {
            settings.limits = limits();
            settings.sizes = vec![small.clone()];
        });
        if !has_memory_limit(&world) {
            return;
        }
        assert!(world.provider.inner.walls.limits(Kind::Cpu), "it is wanted by a size alone");
        let handle = world.provider.ensure(&SandboxSpec { size: small.clone(), ..spec(SessionId::generate()) }).await.unwrap();
        let standard = world.session().await;
        let eat = || python("x = bytearray(150 << 20)");
        let fill = |seconds: u32| sh(&format!("head -c 40000000 /dev/zero > big; sleep {seconds}; ls -l big"));
        let (inner, session) = (Arc::clone(&world.provider.inner), handle.session);
        let kept = blocking(move || Ok(inner.limits_of(session))).await.unwrap();
        assert_eq!((kept.memory, kept.cpu_millis, kept.disk, kept.processes), (96 * MB, Some(500), 24 * MB, 60), "{mode:?}");
        let spin = async |handle: &Handle, fence: i64| {
            let (sender, _receiver) = mpsc::channel(64);
            let spin = "import time\nend = time.time() + 2\nwhile time.time() < end: pass\nassert time.process_time() < 1.5, 'it had all of a CPU'";
            world.provider.exec(handle, fence, python(spin), sender).await.unwrap()
        };
        assert_eq!(spin(&handle, FENCE).await, Exit::Code(0), "{mode:?}");
        // Whoever comes later may say something else, or know of no sizes.
        world.provider.ensure(&SandboxSpec { fence: FENCE + 1, ..spec(handle.session) }).await.unwrap();
        let killed = "the command was killed: the session's memory limit of 96 MB was reached";
        let (sender, _receiver) = mpsc::channel(64);
        let ate = world.provider.exec(&handle, FENCE + 1, eat(), sender).await;
        assert!(matches!(&ate, Err(ProviderError::Permanent { what, .. }) if what == killed), "{mode:?}: {ate:?}");
        assert_eq!(run(&world.provider, &standard, eat()).await.0, Exit::Code(0), "{mode:?}: the other has room for it");
        assert_eq!(run(&world.provider, &standard, fill(3)).await.0, Exit::Code(0), "{mode:?}");
        let (sender, _receiver) = mpsc::channel(64);
        // It is ended long before, however late it is measured on a busy machine.
        let filled = world.provider.exec(&handle, FENCE + 1, fill(60), sender).await;
        let full = "the session was ended: it reached its disk limit of 24 MB";
        assert!(
            matches!(&filled, Err(ProviderError::Permanent { what, .. }) if what == full) || filled.is_ok_and(|exit| !exit.success()),
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn a_bomb_of_processes_ends_its_session_and_no_other() {
    let bomb = "import os, time\nend = time.time() + 30\nwhile time.time() < end:\n  try: os.fork()\n  except OSError: time.sleep(.01)";
    for mode in modes() {
        let world = world(mode);
        if !world.provider.inner.walls.limits(Kind::Pids) {
            assert!(!is_root(), "control groups have to work where these tests run as root");
            return;
        }
        let (handle, other) = (world.session().await, world.session().await);
        let begun = Instant::now();
        let cause = "the session was ended: it stood at its limit of 60 processes for 2 s";
        assert_eq!(refused(&world, &handle, python(bomb)).await, cause, "{mode:?}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        is_ended(&world, &handle, &other, cause).await;
    }
}

#[tokio::test]
async fn as_root_without_control_groups_the_user_is_what_bounds_a_bomb() {
    if !is_root() {
        return;
    }
    // No group can be made below a file's name.
    let world = World::with(Mode::Bubblewrap, |settings| {
        settings.limits = Limits { memory: 0, ..limits() };
        settings.cgroup_parent = "cgroup.procs".into();
    });
    assert!(!world.provider.inner.walls.limits(Kind::Pids));
    let (handle, other) = (world.session().await, world.session().await);
    let bomb = "import os, time\nend = time.time() + 30\nwhile time.time() < end:\n  try: os.fork()\n  except OSError: time.sleep(.01)";
    let cause = "the session was ended: it stood at its limit of 60 processes for 2 s";
    assert_eq!(refused(&world, &handle, python(bomb)).await, cause);
    is_ended(&world, &handle, &other, cause).await;
}

#[tokio::test]
async fn whatever_way_a_session_fills_the_disk_it_is_ended() {
    for mode in apart() {
        let (disk, files) =
            ("the session was ended: it reached its disk limit of 64 MB", "the session was ended: it reached its limit of 3000 files");
        let fillers = [
            ("one file", sh("head -c 200M /dev/zero > big; sleep 90"), disk),
            ("one file, and its writer fails", sh("head -c 200M /dev/zero > big"), disk),
            ("many files", sh("for i in $(seq 40); do head -c 5M /dev/zero > $HOME/$i; sleep 0.05; done; sleep 90"), disk),
            (
                "removed and still open",
                python(
                    "import os, time\nf = [open(str(i), 'wb') for i in range(8)]\nfor i in range(8): os.remove(str(i))\nfor g in f: g.write(b'x' * (20 << 20)); g.flush()\ntime.sleep(90)",
                ),
                disk,
            ),
            ("empty files", python("import time\nfor i in range(9000): open(f'f{i}', 'w')\ntime.sleep(90)"), files),
            (
                "folders",
                python("import os, time\nfor i in range(3000): os.mkdir('d'); os.chdir('d')\ntime.sleep(90)"),
                "the session was ended: it nested folders deeper than 256",
            ),
        ];
        let world = world(mode);
        let other = world.session().await;
        for (what, filler, cause) in fillers {
            let handle = world.session().await;
            let begun = Instant::now();
            assert_eq!(refused(&world, &handle, filler).await, cause, "{what}");
            // After a look that took long on a busy machine comes a long rest, and what shows no sign of life waits for the look at
            // everybody, once a minute.
            assert!(begun.elapsed() < Duration::from_secs(85), "{what}: {:?}", begun.elapsed());
            is_ended(&world, &handle, &other, cause).await;
        }
    }
}

#[tokio::test]
async fn a_served_program_that_fills_the_disk_is_ended_and_the_cause_is_known_to_another_server() {
    for mode in apart() {
        let (world, cause) = (world(mode), "the session was ended: it reached its disk limit of 64 MB");
        let (handle, other) = (world.session().await, world.session().await);
        let filler = "sleep 0.5; for i in 1 2 3 4 5 6; do head -c 30M /dev/zero > $i; done; sleep 30";
        world.provider.serve(&handle, FENCE, sh(filler)).await.unwrap();
        in_time("it is ended", async || world.provider.inspect(handle.session).await.unwrap() == Status::Idle).await;
        assert_eq!(world.again().ended(handle.session).await.unwrap(), cause);
        is_ended(&world, &handle, &other, cause).await;
    }
}

#[tokio::test]
async fn a_served_program_that_memory_ends_has_the_limit_as_its_cause() {
    for mode in modes() {
        let world = world(mode);
        let handle = world.session().await;
        if !has_memory_limit(&world) {
            return;
        }
        let eat = "x = bytearray(400 << 20)";
        assert!(refused(&world, &handle, python(eat)).await.contains("the command was killed"), "{mode:?}");
        let gone = async || world.provider.inspect(handle.session).await.unwrap() == Status::Idle;
        world.provider.serve(&handle, FENCE, sh("sleep 3; exit 1")).await.unwrap();
        assert_eq!(world.provider.ended(handle.session).await, None, "{mode:?}: it runs");
        in_time("it has ended", gone).await;
        assert_eq!(world.provider.ended(handle.session).await, None, "{mode:?}: by itself, and what was killed was before it");

        world.provider.serve(&handle, FENCE, python(&format!("import time\ntime.sleep(0.5)\n{eat}\ntime.sleep(60)"))).await.unwrap();
        in_time("it has ended", gone).await;
        let cause = "what served it has ended, and since it began the kernel killed a process of the session for want of memory: its memory limit is 256 MB";
        assert_eq!(world.again().ended(handle.session).await.as_deref(), Some(cause), "{mode:?}");
        assert_eq!(world.sh(&handle, "echo fine").await, (Exit::Code(0), "fine\n".to_owned()), "the sandbox itself is not ended");
    }
}

#[tokio::test]
async fn a_program_that_writes_without_end_does_not_fill_the_disk_with_its_log() {
    for mode in apart() {
        let world = World::with(mode, |settings| settings.limits = Limits { disk: 2048 * MB, ..limits() });
        let handle = world.session().await;
        world.provider.serve(&handle, FENCE, sh("head -c 60M /dev/zero; touch done; sleep 30")).await.unwrap();
        let log = world.sandbox(&handle).log();
        let done = world.sandbox(&handle).workspace().join("done");
        in_time("it has written", async || done.exists()).await;
        in_time("the log is cut", async || fs::metadata(&log).unwrap().len() <= 10 * MB).await;
    }
}

#[tokio::test]
async fn when_the_disk_runs_short_the_session_that_grows_is_ended() {
    for mode in apart() {
        let world = World::with(mode, |settings| settings.limits = Limits { disk: 0, disk_reserve: 0, ..limits() });
        let quiet = world.session().await;
        world.sh(&quiet, "head -c 100M /dev/zero > large").await;
        // Another server of this root, for which no disk has enough.
        let limits = Limits { disk_reserve: u64::MAX, ..world.settings.limits };
        let _strict = provider(world.mode, &Settings { limits, ..world.settings.clone() });
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let handle = world.session().await;
        let why = refused(&world, &handle, sh("for i in $(seq 40); do head -c 2M /dev/zero > $i; sleep 0.2; done; sleep 10")).await;
        assert!(why.contains("this session grew most"), "{why}");
        assert_eq!(world.provider.ended(quiet.session).await, None, "it is larger, and does not grow");
    }
}

#[tokio::test]
async fn one_file_is_no_larger_than_the_disk_a_session_may_fill() {
    let world = World::with(Mode::Plain, |settings| settings.limits = Limits { disk: 64 * MB, ..limits() });
    let handle = world.session().await;
    assert_eq!(world.sh(&handle, "ulimit -f").await.1.trim().parse::<u64>().unwrap() * 512, 64 * MB);
}

#[tokio::test]
async fn folders_in_memory_are_bounded_too() {
    for mode in apart() {
        let world = world(mode);
        let handle = world.session().await;
        let (exit, text) = world.sh(&handle, "for i in 1 2 3; do head -c 50M /dev/zero > /tmp/$i; done; du -s --block-size=M /tmp").await;
        assert_eq!(exit, Exit::Code(0), "{text}");
        assert!(text.contains("No space left") && text.contains("128M"), "{text}");
    }
}

#[tokio::test]
async fn a_session_keeps_to_the_cpus_it_was_given() {
    for mode in apart() {
        if !is_root() {
            continue;
        }
        let world = World::with(mode, |settings| settings.limits = Limits { cpu_millis: Some(200), ..limits() });
        let handle = world.session().await;
        let spin = "import time\nend = time.time() + 2\nwhile time.time() < end: pass\nprint(time.process_time())";
        let (exit, text) = run(&world.provider, &handle, python(spin)).await;
        let used: f64 = text.trim().parse().unwrap();
        assert!(exit.success() && used < 0.7, "a fifth of two seconds was allowed: {used}");
    }
}
