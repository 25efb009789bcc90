use std::io::{BufRead as _, BufReader};

use super::*;

fn at(session: SessionId, fence: i64) -> SandboxSpec {
    SandboxSpec { fence, ..spec(session) }
}

async fn exec(provider: &HostProvider, handle: &Handle, fence: i64, script: &str) -> Result<Exit, ProviderError> {
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    provider.exec(handle, fence, sh(script), sender).await
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(result: Result<T, ProviderError>) {
    assert!(matches!(result, Err(ProviderError::Fenced)), "{result:?}");
}

/// Of a race: each takes a second with containers.
fn rounds(mode: Mode, most: u64) -> u64 {
    if mode == Mode::Docker { most / 5 } else { most }
}

#[tokio::test]
async fn a_create_that_comes_after_the_destroy_makes_nothing() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        // The `down` overtook the `up` before anything was made.
        world.provider.destroy(session, 8).await.unwrap();
        assert_fenced(world.provider.ensure(&at(session, 7)).await);
        assert_fenced(world.again().ensure(&at(session, 8)).await);
        assert_eq!(world.provider.inspect(session).await.unwrap(), Status::Absent, "{mode:?}");
        assert_eq!(world.provider.list().await.unwrap(), [], "{mode:?}");
    }
}

#[tokio::test]
async fn a_lower_fence_is_refused_whatever_it_wants_and_an_equal_one_goes_on() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        let handle = world.provider.ensure(&at(session, 7)).await.unwrap();
        let newer = world.again();
        assert_eq!(newer.ensure(&at(session, 9)).await.unwrap(), handle);
        newer.serve(&handle, 9, sh("exec sleep 1030")).await.unwrap();
        let served = newer.inspect(session).await.unwrap();
        let command = exec(&newer, &handle, 9, "touch begun; while ! test -e end; do sleep 0.02; done; touch done");
        let zombie = async {
            let begun = world.sandbox(&handle).workspace().join("begun");
            eventually("the newer worker's command runs", async || begun.exists()).await;
            // One that was paused after it had been let in would end these.
            let commands = |fence| Table::read().unwrap().of(world.owner(&handle), &Which::Execs(fence)).unwrap().len();
            assert!(commands(9) > 0 && commands(8) == 0);
            assert_fenced(world.provider.ensure(&at(session, 8)).await);
            assert_fenced(exec(&world.provider, &handle, 8, "touch late").await);
            assert_fenced(world.provider.serve(&handle, 8, sh("touch late")).await);
            assert_fenced(world.provider.stop(&handle, 8, Duration::ZERO).await);
            assert_fenced(world.provider.destroy(session, 8).await);
            fs::write(world.sandbox(&handle).workspace().join("end"), "").unwrap();
        };
        let (ended, ()) = tokio::join!(command, zombie);
        assert_eq!(ended.unwrap(), Exit::Code(0), "the command was left alone");
        assert_eq!(newer.inspect(session).await.unwrap(), served, "and so was the served program");
        assert!(!world.sandbox(&handle).workspace().join("late").exists());
        assert_eq!(newer.list().await.unwrap()[0].fence, 9);

        newer.ensure(&at(session, 9)).await.unwrap();
        newer.serve(&handle, 9, sh("exec sleep 1030")).await.unwrap();
        newer.stop(&handle, 9, Duration::ZERO).await.unwrap();
        newer.destroy(session, 9).await.unwrap();
        newer.destroy(session, 9).await.unwrap();
    }
}

/// The older worker is anywhere between its first look at the fence and the start of its command.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_command_begins_after_a_newer_workers() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.provider.ensure(&at(SessionId::generate(), 1)).await.unwrap();
        for round in 1..=rounds(mode, 40) {
            let fence = i64::try_from(round * 2).unwrap();
            let (older, newer) = (world.again(), world.again());
            let (one, two) = (handle.clone(), handle.clone());
            let older = tokio::spawn(async move { exec(&older, &one, fence, &format!("echo {fence} >> log")).await });
            tokio::time::sleep(Duration::from_millis(round % 10)).await;
            let ended = exec(&newer, &two, fence + 1, &format!("echo {} >> log; sleep 0.1", fence + 1)).await.unwrap();
            assert_eq!(ended, Exit::Code(0), "the newer worker's command is not ended by the older's beginning");
            drop(older.await.unwrap());
        }
        let log = fs::read_to_string(world.sandbox(&handle).workspace().join("log")).unwrap();
        let fences: Vec<i64> = log.lines().map(|line| line.parse().unwrap()).collect();
        assert!(fences.is_sorted(), "{mode:?}: {fences:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_create_and_the_destroy_that_overtakes_it_never_leave_anything() {
    for mode in modes() {
        let world = World::new(mode);
        for round in 0..rounds(mode, 20) {
            let session = SessionId::generate();
            let late: Vec<_> = (0..4)
                .map(|turn| {
                    let provider = world.again();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis((round + turn) % 5)).await;
                        match provider.ensure(&at(session, 7)).await {
                            Ok(_) | Err(ProviderError::Fenced) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(round % 4)).await;
            world.provider.destroy(session, 8).await.unwrap();
            for one in late {
                one.await.unwrap();
            }
            assert_eq!(world.provider.inspect(session).await.unwrap(), Status::Absent, "{mode:?}, round {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_with_a_fence_in_its_hands_holds_up_nobody() {
    let world = World::new(Mode::Plain);
    let handle = world.session().await;
    let file = world.provider.inner.root.join(".fences").join(handle.session.to_string());
    let script = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); time.sleep(60)";
    let mut holder = std::process::Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();

    let waiting = tokio::time::timeout(Duration::from_millis(300), world.provider.ensure(&spec(handle.session))).await;
    assert!(waiting.is_err(), "as long as it lives it is waited for");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let ensured = tokio::time::timeout(Duration::from_secs(10), world.provider.ensure(&spec(handle.session))).await;
    assert_eq!(ensured.unwrap().unwrap(), handle);
}
