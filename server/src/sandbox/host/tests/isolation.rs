use super::*;

#[tokio::test]
async fn home_workspace_and_temporary_folders_are_writable() {
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let script = r#"set -e
            touch file "$HOME/file" "$TMPDIR/file" "$XDG_RUNTIME_DIR/other"; mkdir -p "$XDG_CACHE_HOME/a" "$XDG_CONFIG_HOME" "$XDG_DATA_HOME"
            f=$(mktemp -p /tmp); rm "$f"; test "$ALPINE_SESSION_ID" && env | sort"#;
        let (exit, text) = world.sh(&handle, script).await;
        assert_eq!(exit, Exit::Code(0), "{mode:?}: {text}");
        assert!(text.contains(&format!("ALPINE_SESSION_ID={}", handle.session)));
        let sandbox = world.sandbox(&handle);
        assert!(sandbox.workspace().join("file").exists() && sandbox.home().join("file").exists() && sandbox.tmp().join("file").exists());
        let home = if mode != Mode::Plain { "/home/dev".to_owned() } else { sandbox.home().display().to_string() };
        assert!(text.contains(&format!("HOME={home}\n")), "{text}");
        for leak in ["CARGO", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            assert!(!text.contains(leak), "the server's own environment: {leak}");
        }
    }
}

#[tokio::test]
async fn in_bubblewrap_the_rest_of_the_host_is_out_of_sight() {
    let world = World::new(Mode::Bubblewrap);
    let (mine, other) = (world.session().await, world.session().await);
    let data = world.dir.path().join("data");
    fs::write(&data, "the server's").unwrap();
    world.sh(&other, "echo theirs > file; chmod -R 777 .").await;
    let hidden = ["/etc/shadow", "/root", "/run", "/var/lib", "/var/run/docker.sock", "/home/user", "/opt", "/sys"];
    let mut paths: Vec<String> = hidden.iter().map(|path| (*path).to_owned()).collect();
    for path in [data, world.sandbox(&other).workspace().join("file"), world.sandbox(&mine).dir.join("meta.json")] {
        paths.push(path.display().to_string());
    }
    for path in paths {
        let (exit, text) = run(&world.provider, &mine, argv(&["ls", "-d", &path])).await;
        assert_ne!(exit, Exit::Code(0), "{text}");
    }
    assert_eq!(world.sh(&mine, "touch /usr/x 2>/dev/null || touch /x 2>/dev/null || touch /etc/x").await.0, Exit::Code(1));
    let (_, text) = world.sh(&mine, "ls /proc | grep -c '^[0-9]'").await;
    assert!(text.trim().parse::<u32>().unwrap() < 8, "other processes are visible: {text}");
    assert_eq!(world.sh(&mine, "whoami; ls -1 /home").await.1, "dev\ndev\n");
}

#[tokio::test]
async fn as_root_each_session_has_a_user_that_can_do_nothing_to_others() {
    if !is_root() {
        return;
    }
    for mode in modes() {
        let world = World::new(mode);
        let (mine, other) = (world.session().await, world.session().await);
        let ids = [world.sh(&mine, "id -u; id -g; id -G").await.1, world.sh(&other, "id -u; id -g; id -G").await.1];
        assert_ne!(ids[0], ids[1]);
        let uid = world.sandbox(&mine).meta().unwrap().uid.unwrap();
        assert!((1_000_000..60_000_000).contains(&uid));
        assert_eq!(ids[0], format!("{uid}\n{uid}\n{uid}\n"), "no other group");
        world.sh(&other, "echo theirs > file; chmod -R 777 .").await;
        for path in ["/etc/shadow".to_owned(), world.sandbox(&other).workspace().join("file").display().to_string()] {
            assert_ne!(run(&world.provider, &mine, argv(&["cat", &path])).await.0, Exit::Code(0), "{path}");
        }
        let (_, status) = world.sh(&mine, "cat /proc/self/status").await;
        for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line}: {status}");
        }
    }
}

#[tokio::test]
async fn limits_hold() {
    for mode in modes() {
        let world = World::with(mode, |settings| settings.limits = Limits { open_files: 123, processes: 50, ..Limits::default() });
        let handle = world.session().await;
        assert_eq!(world.sh(&handle, "ulimit -n; ulimit -Hn; ulimit -c").await.1, "123\n123\n0\n");
        if is_root() || mode == Mode::Bubblewrap {
            let (_, text) = world.sh(&handle, "for i in $(seq 80); do sleep 60 & done; echo forked").await;
            assert!(text.to_lowercase().contains("fork"), "{text}");
            assert!(!text.ends_with("forked\n"), "80 processes where 50 are allowed: {text}");
        }
    }
}

#[tokio::test]
async fn visible_paths_are_there_and_read_only() {
    let tools = tempfile::tempdir().unwrap();
    fs::set_permissions(tools.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(tools.path().join("tool"), "#!/bin/sh\necho a tool\n").unwrap();
    fs::set_permissions(tools.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = tools.path().display().to_string();
    let world = World::with(Mode::Bubblewrap, |settings| {
        settings.visible = vec![tools.path().to_owned(), "/no/such/folder".into()];
        settings.path = format!("{path}:{}", settings.path);
        settings.pass_env = vec![("GIVEN".into(), "to all".into())];
    });
    let handle = world.session().await;
    assert_eq!(world.sh(&handle, "tool; echo $GIVEN").await, (Exit::Code(0), "a tool\nto all\n".to_owned()));
    assert_ne!(world.sh(&handle, &format!("touch {path}/new")).await.0, Exit::Code(0));
}

#[tokio::test]
async fn tools_below_a_closed_home_can_be_made_visible() {
    if !is_root() {
        return;
    }
    let tools = tempfile::tempdir_in("/root").unwrap();
    fs::set_permissions(tools.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(tools.path().join("data"), "readable").unwrap();
    let world = World::with(Mode::Bubblewrap, |settings| settings.visible = vec![tools.path().join("data")]);
    let handle = world.session().await;
    let (exit, text) = run(&world.provider, &handle, argv(&["cat", tools.path().join("data").to_str().unwrap()])).await;
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "readable"));
    let seen = world.sh(&handle, "ls -A /root").await.1;
    assert_eq!(seen.trim(), tools.path().file_name().unwrap().to_str().unwrap(), "and nothing else of it");
}
