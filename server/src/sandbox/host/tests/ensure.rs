use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn ensuring_twice_is_one_sandbox() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        assert_eq!(world.provider.inspect(session).await.unwrap(), Status::Absent);
        let first = world.provider.ensure(&spec(session)).await.unwrap();
        world.sh(&first, "echo kept > file").await;
        let second = world.again().ensure(&spec(session)).await.unwrap();
        assert_eq!(first, second);
        assert_eq!(world.sh(&second, "cat file").await, (Exit::Code(0), "kept\n".to_owned()));
        assert_eq!(world.provider.inspect(session).await.unwrap(), Status::Idle);
        assert_eq!(world.provider.list().await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_sessions_at_once_get_distinct_users_and_ports() {
    let world = World::new(Mode::Plain);
    let made: Vec<_> = (0..30)
        .map(|_| {
            // Half of them by another server on the same root.
            let provider = world.again();
            tokio::spawn(async move { provider.ensure(&spec(SessionId::generate())).await.unwrap() })
        })
        .collect();
    let (mut ports, mut users) = (HashSet::new(), HashSet::new());
    for handle in made {
        let meta = world.sandbox(&handle.await.unwrap()).meta().unwrap();
        ports.insert(world.provider.inner.slots.free_port(meta.slot).unwrap());
        users.insert(meta.uid);
    }
    assert_eq!(ports.len(), 30);
    assert_eq!(users.len(), if is_root() { 30 } else { 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_ensured_by_ten_at_once_is_one_sandbox() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        let made: Vec<_> = (0..10)
            .map(|_| {
                let provider = world.again();
                tokio::spawn(async move { provider.ensure(&spec(session)).await.unwrap() })
            })
            .collect();
        let mut handles = Vec::new();
        for handle in made {
            handles.push(handle.await.unwrap());
        }
        handles.dedup();
        assert_eq!(handles.len(), 1, "{mode:?}: {handles:?}");
        assert_eq!(world.provider.inner.slots.sessions().unwrap(), [session], "{mode:?}");
        assert_eq!(world.provider.list().await.unwrap().len(), 1, "{mode:?}");
        assert_eq!(world.sh(&handles[0], "touch here").await.0, Exit::Code(0), "{mode:?}");
    }
}

#[tokio::test]
async fn an_interrupted_ensure_is_seen_completed_and_removed() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        // The slot was taken, and nothing else done.
        world.provider.inner.slots.reserve(&Label::of(&spec(session)), |_| true).unwrap();
        assert_eq!(world.provider.inspect(session).await.unwrap(), Status::Idle, "{mode:?}");
        let listed = world.provider.list().await.unwrap();
        assert_eq!((listed[0].session, listed[0].tenant.as_str(), listed[0].fence), (session, "team", 7), "{mode:?}");
        // Or the directory too, but not what says whose it is.
        fs::create_dir(Sandbox::of(&world.provider.inner.root, session).dir).unwrap();
        let handle = world.provider.ensure(&spec(session)).await.unwrap();
        assert_eq!(world.sh(&handle, "touch here").await.0, Exit::Code(0), "{mode:?}");

        let orphan = SessionId::generate();
        fs::create_dir(Sandbox::of(&world.provider.inner.root, orphan).dir).unwrap();
        let listed = world.provider.list().await.unwrap();
        assert!(listed.iter().any(|listed| listed.session == orphan && listed.fence == 0), "{mode:?}: {listed:?}");
        world.provider.destroy(orphan, FENCE).await.unwrap();
        assert_eq!(world.provider.inspect(orphan).await.unwrap(), Status::Absent, "{mode:?}");
    }
}

#[tokio::test]
async fn a_sandbox_is_found_by_its_handle_from_another_root() {
    let (world, other) = (World::new(Mode::Plain), World::new(Mode::Plain));
    let handle = world.session().await;
    world.sh(&handle, "echo mine > file").await;
    let (exit, text) = run(&other.provider, &handle, argv(&["cat", "file"])).await;
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "mine\n"));
    let foreign = Handle { provider: "another".into(), ..handle };
    assert!(matches!(other.provider.stop(&foreign, FENCE, Duration::ZERO).await, Err(ProviderError::Permanent { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_at_the_same_path_of_another_host_is_not_ones_own() {
    let world = World::new(Mode::Plain);
    let handle = world.session().await;
    for server in [world.provider.clone(), world.again()] {
        assert!(server.reaches(&handle));
    }
    fs::remove_file(world.provider.inner.root.join(".id")).unwrap();
    let starting: Vec<_> = (0..8)
        .map(|_| {
            tokio::task::spawn_blocking({
                let settings = world.settings.clone();
                move || HostProvider::local(settings).unwrap()
            })
        })
        .collect();
    let mut theirs = Vec::new();
    for provider in starting {
        let provider = provider.await.unwrap();
        assert!(!provider.reaches(&handle));
        theirs.push(provider.inner.root_id.clone());
    }
    theirs.dedup();
    assert_eq!(theirs.len(), 1, "servers that start at once agree: {theirs:?}");
}

#[test]
fn a_visible_path_that_shows_other_sessions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("sandboxes");
    for visible in [dir.path().to_owned(), root.clone(), root.join("x"), "/".into(), "/home".into(), "relative".into(), "/tmp".into()] {
        let settings = Settings { root: root.clone(), visible: vec![visible.clone()], ..Settings::default() };
        if visible.ends_with("x") {
            fs::create_dir(&visible).unwrap();
        }
        assert!(matches!(HostProvider::local(settings), Err(ProviderError::Permanent { .. })), "{}", visible.display());
    }
}

#[test]
fn a_bubblewrap_that_does_not_work_is_an_error_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { root: dir.path().join("s"), bubblewrap: Some("/bin/false".into()), ..Settings::default() };
    assert!(matches!(HostProvider::local(settings), Err(ProviderError::Permanent { .. })));
}

#[test]
fn plain_sandboxes_that_their_users_could_not_reach_are_refused() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let settings = Settings { root: dir.path().join("s"), plain: true, ..Settings::default() };
    let error = HostProvider::local(settings).unwrap_err();
    assert!(error.to_string().contains(&format!("{} is closed", dir.path().display())), "{error}");
}
