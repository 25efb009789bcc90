use super::*;

const REQUEST: &str = "session-to-serve";

/// The server that the test below kills, in the working directory that it is started in.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of the test below, which starts it"]
async fn a_server() {
    let here = std::env::current_dir().unwrap();
    let session = fs::read_to_string(here.join(REQUEST)).unwrap().parse().unwrap();
    let mode = modes().into_iter().find(|mode| here.ends_with(format!("{mode:?}"))).unwrap();
    let settings = Settings { root: here.parent().unwrap().join("sandboxes"), plain: mode == Mode::Plain, ..Settings::default() };
    let provider = provider(mode, &settings);
    let handle = provider.ensure(&spec(session)).await.unwrap();
    provider.serve(&handle, FENCE, argv(&["/usr/bin/python3", "-m", "http.server", "$PORT", "--bind", "$HOST"])).await.unwrap();
    let (sender, _receiver) = mpsc::channel(1);
    provider.exec(&handle, FENCE, sh("touch in-a-command; setsid sleep 1020 & sleep 1021"), sender).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_once_leaves_its_programs_running_for_the_next() {
    for mode in modes() {
        let world = World::new(mode);
        let session = SessionId::generate();
        let here = world.dir.path().join(format!("{mode:?}"));
        fs::create_dir(&here).unwrap();
        fs::write(here.join(REQUEST), session.to_string()).unwrap();
        let mut server = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "sandbox::host::tests::restart::a_server"])
            .current_dir(&here)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let sandbox = Sandbox::of(&world.provider.inner.root, session);
        eventually("it runs a command", async || sandbox.workspace().join("in-a-command").exists()).await;
        server.kill().unwrap();
        server.wait().unwrap();

        let listening = async || matches!(world.provider.inspect(session).await.unwrap(), Status::Serving { listening: true, .. });
        eventually("the program answers", listening).await;
        let handle = world.provider.ensure(&spec(session)).await.unwrap();
        eventually("both go on", async || has_argument(&world, &handle, "1020") && has_argument(&world, &handle, "1021")).await;
        assert_eq!(world.sh(&handle, "true").await.0, Exit::Code(0));
        assert!(!has_argument(&world, &handle, "1020") && !has_argument(&world, &handle, "1021"));
        assert!(listening().await);
        world.provider.stop(&handle, FENCE, Duration::from_secs(5)).await.unwrap();
        assert_eq!(world.running(&handle), 0);
    }
}
