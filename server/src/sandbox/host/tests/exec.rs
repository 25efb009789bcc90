use secrecy::SecretString;

use super::*;

#[tokio::test]
async fn output_exit_codes_and_signals_come_through() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let (sender, mut receiver) = mpsc::channel(100);
        let exit = world.provider.exec(&handle, FENCE, sh("echo out; sleep 0.1; echo err >&2; exit 3"), sender).await.unwrap();
        assert_eq!(exit, Exit::Code(3));
        assert_eq!(receiver.recv().await, Some(Output::Stdout(b"out\n".to_vec())));
        assert_eq!(receiver.recv().await, Some(Output::Stderr(b"err\n".to_vec())));
        assert_eq!(receiver.recv().await, None);
        assert_eq!(world.sh(&handle, "kill -KILL $$").await.0, Exit::Signal(9));
        assert_eq!(world.sh(&handle, "kill -TERM $$").await.0, Exit::Signal(15));
        assert_eq!(world.sh(&handle, "exit 128").await.0, Exit::Code(128));
        let (exit, text) = run(&world.provider, &handle, argv(&["no-such-program"])).await;
        assert_eq!(exit, Exit::Code(127));
        assert!(text.contains("no-such-program"), "{text}");
    }
}

#[tokio::test]
async fn stdin_reaches_the_command_and_a_large_output_comes_whole() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let bytes: Vec<u8> = b"0123456789abcde\n".repeat(100_000);
        let (exit, text) = run(&world.provider, &handle, Command { stdin: Some(bytes.clone()), ..argv(&["cat"]) }).await;
        assert_eq!(exit, Exit::Code(0));
        assert!(text.as_bytes() == bytes, "{} of {} bytes", text.len(), bytes.len());
        // One that does not read it all, and one that is given none.
        let unread = Command { stdin: Some(bytes), ..argv(&["true"]) };
        assert_eq!(run(&world.provider, &handle, unread).await.0, Exit::Code(0));
        assert_eq!(run(&world.provider, &handle, argv(&["cat"])).await, (Exit::Code(0), String::new()));
    }
}

#[tokio::test]
async fn a_closed_receiver_does_not_stop_the_command() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let exit = world.provider.exec(&handle, FENCE, sh("head -c 1000000 /dev/zero; touch done"), sender).await.unwrap();
        assert_eq!(exit, Exit::Code(0));
        assert!(world.sandbox(&handle).workspace().join("done").exists());
    }
}

#[tokio::test]
async fn the_working_directory_is_the_workspace_or_within() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        world.sh(&handle, "mkdir -p a/b && ln -s / out && echo deep > a/b/file").await;
        let within = |cwd: &str| Command { cwd: Some(cwd.into()), ..argv(&["cat", "file"]) };
        assert_eq!(run(&world.provider, &handle, within("a/b")).await, (Exit::Code(0), "deep\n".to_owned()));
        for outside in ["..", "a/../..", "/etc"] {
            let (sender, _receiver) = mpsc::channel(1);
            let refused = world.provider.exec(&handle, FENCE, within(outside), sender).await;
            assert!(matches!(refused, Err(ProviderError::Permanent { .. })), "{outside}");
        }
        if mode == Mode::Plain {
            let (sender, _receiver) = mpsc::channel(1);
            assert!(world.provider.exec(&handle, FENCE, within("out"), sender).await.is_err(), "a link out of the workspace");
        }
    }
}

#[tokio::test]
async fn a_secret_reaches_its_command_and_no_command_line() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let secret = SessionId::generate().to_string();
        let command =
            Command { secret_env: vec![("TOKEN".into(), SecretString::from(secret.clone()))], ..sh("echo $TOKEN > seen; exec sleep 987") };
        let (sender, _receiver) = mpsc::channel(1);
        let seen = world.sandbox(&handle).workspace().join("seen");
        let look = async {
            eventually("the command runs", async || fs::read_to_string(&seen).is_ok_and(|seen| seen.trim() == secret)).await;
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&line).contains(&secret), "in the command line of {:?}", entry.path());
            }
        };
        tokio::select! {
            ended = world.provider.exec(&handle, FENCE, command, sender) => panic!("{ended:?}"),
            () = look => {}
        }
        assert_eq!(world.sh(&handle, "echo [$TOKEN]").await.1, "[]\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_ends_the_command_and_its_grandchildren() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let (sender, _receiver) = mpsc::channel(1);
        // Without an own user or a namespace, one that drops its environment and parents is out of sight.
        let lost = if mode.has_walls() { "env -i" } else { "" };
        let command = sh(&format!("setsid sleep 1001 & ({lost} setsid sleep 1002 &) ; sleep 1000"));
        let started = async {
            for wanted in ["1000", "1001", "1002"] {
                eventually("all run", async || has_argument(&world, &handle, wanted)).await;
            }
        };
        tokio::select! {
            ended = world.provider.exec(&handle, FENCE, command, sender) => panic!("{ended:?}"),
            () = started => {}
        }
        assert!(!world.provider.inner.cleared.is(handle.session, FENCE), "the next one looks for what is left");
        // One that dropped its environment is not known for this command's where commands share a namespace, but for the session's.
        let expected: &[&str] = if mode != Mode::Bubblewrap && mode.has_walls() { &["1000", "1001"] } else { &["1000", "1001", "1002"] };
        eventually("they are gone", async || !expected.iter().any(|wanted| has_argument(&world, &handle, wanted))).await;
    }
}

#[tokio::test]
async fn children_left_in_the_background_end_with_the_command() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let before = Instant::now();
        // They also hold the pipe that the output comes through.
        assert_eq!(world.sh(&handle, "setsid sleep 1000 & sleep 1001 & echo done").await, (Exit::Code(0), "done\n".to_owned()));
        assert!(before.elapsed() < Duration::from_secs(60));
        assert_eq!(world.running(&handle), 0);
        assert!(world.provider.inner.cleared.is(handle.session, FENCE), "nothing is left");
    }
}

#[tokio::test]
async fn what_a_killed_server_left_running_is_ended_by_the_next_command() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let meta = world.sandbox(&handle).meta().unwrap();
        // Started as a command is, and never waited for.
        let (inner, sandbox) = (Arc::clone(&world.provider.inner), world.sandbox(&handle));
        let begin = move || {
            let place = Place { sandbox: &sandbox, meta: &meta };
            inner.walls.begin(place, &sh("setsid sleep 1003 & sleep 1004"), false, "before")
        };
        let mut stray = blocking(begin).await.unwrap().unwrap();
        eventually("the stray runs", async || has_argument(&world, &handle, "1003") && has_argument(&world, &handle, "1004")).await;
        let (exit, _) = run(&world.again(), &handle, argv(&["true"])).await;
        assert_eq!(exit, Exit::Code(0));
        assert_eq!(world.running(&handle), 0);
        stray.waiting.ended().await.unwrap();
    }
}

#[tokio::test]
async fn a_command_for_a_sandbox_that_is_gone_says_so() {
    let world = World::new(Mode::Plain);
    let handle = world.session().await;
    world.provider.destroy(handle.session, FENCE).await.unwrap();
    let (sender, _receiver) = mpsc::channel(1);
    assert!(matches!(world.provider.exec(&handle, FENCE, argv(&["true"]), sender).await, Err(ProviderError::Gone)));
    assert!(matches!(world.provider.serve(&handle, FENCE, argv(&["true"])).await, Err(ProviderError::Gone)));
}
