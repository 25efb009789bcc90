use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn stopping_lets_programs_end_by_themselves() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let script = "trap 'sleep 0.3; echo saved > saved; exit 0' TERM; touch up; while :; do sleep 0.05; done";
        world.provider.serve(&handle, FENCE, sh(script)).await.unwrap();
        let workspace = world.sandbox(&handle).workspace();
        eventually("it runs", async || workspace.join("up").exists()).await;
        let before = Instant::now();
        world.provider.stop(&handle, FENCE, Duration::from_secs(20)).await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(10), "it did not wait for the whole grace");
        assert_eq!(fs::read_to_string(workspace.join("saved")).unwrap(), "saved\n");
        assert_eq!(world.running(&handle), 0);
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Idle);
        world.provider.stop(&handle, FENCE, Duration::from_secs(20)).await.unwrap();
    }
}

#[tokio::test]
async fn a_command_that_is_stopped_tells_how_it_ended() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let up = world.sandbox(&handle).workspace().join("up");
        let stop = async {
            eventually("it runs", async || up.exists()).await;
            world.provider.stop(&handle, FENCE, Duration::from_secs(20)).await.unwrap();
        };
        let command = world.sh(&handle, "trap 'sleep 0.2; echo bye; exit 5' TERM; touch up; while :; do sleep 0.05; done");
        let (ended, ()) = tokio::join!(command, stop);
        assert_eq!(ended.0, Exit::Code(5), "{mode:?}");
        assert!(ended.1.contains("bye"), "{}", ended.1);
    }
}

#[tokio::test]
async fn stopping_kills_what_does_not_end_in_time() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        for grace in [Duration::from_millis(300), Duration::ZERO] {
            let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & touch up; while :; do sleep 1; done";
            world.provider.serve(&handle, FENCE, sh(script)).await.unwrap();
            let up = world.sandbox(&handle).workspace().join("up");
            eventually("it runs", async || up.exists()).await;
            fs::remove_file(&up).unwrap();
            let before = Instant::now();
            world.provider.stop(&handle, FENCE, grace).await.unwrap();
            assert!(before.elapsed() >= grace);
            assert_eq!(world.running(&handle), 0);
        }
    }
}

#[tokio::test]
async fn destroying_leaves_no_file_process_or_slot() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        // A read-only tree, links out of it, and a daemon that forgot where it came from.
        let outside = world.dir.path().join("outside");
        fs::write(&outside, "stays").unwrap();
        let prepare = format!(
            "mkdir -p mod/a/b; echo x > mod/a/b/c; ln -s {} link; ln -s / root; chmod -R a-w mod; chmod 0 mod/a",
            outside.display()
        );
        assert_eq!(world.sh(&handle, &prepare).await.0, Exit::Code(0));
        let lost = if mode.has_walls() { "env -i" } else { "" };
        world.provider.serve(&handle, FENCE, sh(&format!("({lost} setsid sleep 1007 &); exec sleep 1008"))).await.unwrap();
        eventually("both run", async || has_argument(&world, &handle, "1007") && has_argument(&world, &handle, "1008")).await;
        let owner = world.owner(&handle);

        world.provider.destroy(handle.session, FENCE).await.unwrap();
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Absent);
        assert!(Table::read().unwrap().of(owner, &Which::All).unwrap().is_empty());
        let of_the_walls: &[&str] = match mode {
            Mode::Bubblewrap => &[".seccomp", ".seccomp/refused", ".seccomp/absent"],
            Mode::Docker => &[".resolv.conf"],
            Mode::Plain => &[],
        };
        // The fence is remembered for a while.
        let kept = [".slots", ".trash", ".fences", ".id"]
            .map(PathBuf::from)
            .into_iter()
            .chain([PathBuf::from(".fences").join(handle.session.to_string())])
            .chain(of_the_walls.iter().map(PathBuf::from));
        let kept: HashSet<PathBuf> = kept.map(|path| world.provider.inner.root.join(path)).collect();
        assert_eq!(files(&world.provider.inner.root).into_iter().collect::<HashSet<_>>(), kept);
        assert_eq!(fs::read_to_string(outside).unwrap(), "stays");
        assert!(world.provider.list().await.unwrap().is_empty());
        world.provider.destroy(handle.session, FENCE).await.unwrap();
        world.provider.stop(&handle, FENCE, Duration::ZERO).await.unwrap();
    }
}

#[tokio::test]
async fn destroying_what_never_was_is_done_already() {
    World::new(Mode::Plain).provider.destroy(SessionId::generate(), FENCE).await.unwrap();
}

#[tokio::test]
async fn destroying_finishes_what_a_crash_interrupted() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        world.provider.serve(&handle, FENCE, sh("exec sleep 1009")).await.unwrap();
        eventually("it runs", async || has_argument(&world, &handle, "1009")).await;
        // Only the program and what was moved away are left.
        let inner = &world.provider.inner;
        fs::rename(world.sandbox(&handle).dir, inner.trash().join(format!("{}.half", handle.session))).unwrap();
        inner.slots.release(handle.session).unwrap();
        assert!(has_argument(&world, &handle, "1009"), "found by its mark alone");
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Idle);
        world.provider.destroy(handle.session, FENCE).await.unwrap();
        assert_eq!(world.provider.inspect(handle.session).await.unwrap(), Status::Absent);
        assert_eq!(fs::read_dir(inner.trash()).unwrap().count(), 0);
        assert!(!has_argument(&world, &handle, "1009"));
    }
}

#[tokio::test]
async fn one_sessions_end_is_not_anothers() {
    for mode in modes() {
        let world = World::new(mode);
        let (mine, other) = (world.session().await, world.session().await);
        world.provider.serve(&mine, FENCE, sh("exec sleep 1010")).await.unwrap();
        world.provider.serve(&other, FENCE, sh("exec sleep 1011")).await.unwrap();
        eventually("both run", async || has_argument(&world, &mine, "1010") && has_argument(&world, &other, "1011")).await;
        world.provider.destroy(mine.session, FENCE).await.unwrap();
        assert!(has_argument(&world, &other, "1011"));
        assert!(matches!(world.provider.inspect(other.session).await.unwrap(), Status::Serving { .. }));
    }
}
