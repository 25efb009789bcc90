//! What a session tries to reach, from inside. The same tries, made outside, have to succeed: a try that cannot
//! is no test.

use std::{
    os::unix::{net::UnixListener, process::CommandExt as _},
    process::{Child, Command as Process, Stdio},
};

use super::*;

const TRIES: &str = include_str!("escape.py");
const SECRET: &str = "canary-7f3a9c51d0e2";

/// What stands for the server: a process with a secret in its environment and command line, a data directory, a
/// socket as PostgreSQL's, a segment of shared memory.
struct Target {
    process: Child,
    dir: tempfile::TempDir,
    shm: PathBuf,
    _socket: UnixListener,
}

impl Target {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("credential.key"), SECRET).unwrap();
        let shm = PathBuf::from(format!("/dev/shm/alpine-{}", SessionId::generate()));
        fs::write(&shm, SECRET).unwrap();
        let socket = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let mut process = Process::new("sleep");
        let process = process.arg("600").arg0(format!("sleep {SECRET}")).env("DATABASE_URL", SECRET).stdin(Stdio::null()).spawn().unwrap();
        Self { process, dir, shm, _socket: socket }
    }

    fn facts(&self, world: &World, mine: &Handle, other: &Handle) -> String {
        let namespace = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let others = Table::read().unwrap().of(world.owner(other), &Which::Served).unwrap();
        json!({
            "pid": self.process.id(),
            "data": self.dir.path().join("credential.key"),
            "secret": SECRET,
            "socket": self.dir.path().join(".s.PGSQL.5432"),
            "shm": self.shm,
            "docker": docker(),
            "other": world.sandbox(other).workspace().join("file"),
            "other_pid": others.last().unwrap().id.pid,
            "meta": world.sandbox(mine).dir.join("meta.json"),
            "ipc": namespace("ipc"),
            "pids": namespace("pid"),
            "cgroups": namespace("cgroup"),
        })
        .to_string()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.shm);
    }
}

fn reached(text: &str) -> Vec<String> {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn nothing_of_the_host_or_of_another_session_can_be_reached() {
    for mode in apart() {
        let (world, target) = (World::new(mode), Target::new());
        let (mine, other) = (world.session().await, world.session().await);
        world.sh(&other, &format!("echo {SECRET} > file; chmod -R 777 .")).await;
        world.provider.serve(&other, FENCE, argv(&["sleep", "600"])).await.unwrap();
        let facts = target.facts(&world, &mine, &other);

        fs::write(target.dir.path().join("facts"), &facts).unwrap();
        let stdin = fs::File::open(target.dir.path().join("facts")).unwrap();
        let outside = Process::new("python3").args(["-c", TRIES]).stdin(stdin).current_dir(target.dir.path()).output().unwrap();
        let outside = reached(&String::from_utf8(outside.stdout).unwrap());
        let command = Command { stdin: Some(facts.into_bytes()), ..argv(&["python3", "-c", TRIES]) };
        let (exit, text) = run(&world.provider, &mine, command).await;
        assert_eq!(exit, Exit::Code(0), "{text}");
        // An image has its own, and Docker's list of system calls is Docker's.
        let harmless: &[&str] = if mode == Mode::Docker { &["/sys", "/etc/shadow", "io_uring"] } else { &[] };
        let reached_within: Vec<String> = reached(&text).into_iter().filter(|one| !harmless.contains(&one.as_str())).collect();
        assert_eq!(reached_within, Vec::<String>::new(), "{mode:?}");

        for name in [
            "its environment",
            "any command line",
            "its root",
            "the data",
            "a signal",
            "the database's socket",
            "shared memory",
            "no filter",
        ] {
            assert!(outside.iter().any(|reached| reached == name), "the try at {name} fails outside too: {outside:?}");
        }
        // Docker's socket, where there is one.
        for name in docker().map(|_| ["docker's socket", "docker's socket in sight"]).into_iter().flatten() {
            assert!(outside.iter().any(|reached| reached == name), "the try at {name} fails outside too: {outside:?}");
        }
        assert!(outside.len() >= 25, "{} tries succeed outside: {outside:?}", outside.len());
    }
}

/// The tree is changed under the server's hands: whatever it does there by itself, it follows no link.
#[tokio::test]
async fn links_in_a_workspace_lead_the_server_nowhere() {
    for mode in modes() {
        let world = World::new(mode);
        let outside = tempfile::tempdir().unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(outside.path().join("file"), "the host's").unwrap();
        let before = fs::metadata(outside.path().join("file")).unwrap();
        let handle = world.session().await;
        let target = outside.path().display();
        let script = format!(
            "ln -s {target} dir; ln -s {target}/file .alpine.toml; ln -s {target}/file package.json; ln -s {target} $HOME/.config; \
             ln -s {target}/file served.log; ln -s {target}/file meta.json; mkdir -p a/b; ln -s {target} a/b/c; rm -rf $TMPDIR/x; ln -s {target} $TMPDIR/x"
        );
        assert_eq!(world.sh(&handle, &script).await.0, Exit::Code(0));
        // All that the server does with files by itself: made anew, measured, logged to, listed, removed.
        world.provider.ensure(&SandboxSpec { fence: FENCE, ..spec(handle.session) }).await.unwrap();
        let sandbox = world.sandbox(&handle);
        let (usage, over) = super::super::limits::measure(&world.provider.inner, handle.session, &sandbox).unwrap();
        assert!(usage.files < 40 && over.is_none(), "{usage:?}");
        world.provider.serve(&handle, FENCE, sh("echo words; exec sleep 600")).await.unwrap();
        world.provider.list().await.unwrap();
        world.provider.served_output(&handle, 100).await.unwrap();
        world.provider.destroy(handle.session, FENCE).await.unwrap();
        assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "the host's");
        let after = fs::metadata(outside.path().join("file")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!((before.uid(), before.mode(), before.ino()), (after.uid(), after.mode(), after.ino()));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn as_root_a_sessions_own_files_are_all_that_its_user_can_change() {
    if !is_root() {
        return;
    }
    for mode in modes() {
        let world = World::new(mode);
        let handle = world.session().await;
        let dir = world.sandbox(&handle).dir.display().to_string();
        let script = format!(
            "for f in meta.json served.log ended etc/passwd new; do (echo x > {dir}/$f) 2>/dev/null && echo $f; done; \
             mv {dir}/workspace {dir}/w 2>/dev/null && echo moved; rmdir {dir}/tmp 2>/dev/null && echo removed; ls {dir} 2>/dev/null"
        );
        assert_eq!(world.sh(&handle, &script).await.1, "", "{mode:?}");
    }
}

/// Not kept apart, by design, and said in docs/security.md: the host's network, and with it its abstract sockets.
#[tokio::test]
async fn the_network_is_the_hosts() {
    let world = World::new(Mode::Bubblewrap);
    let handle = world.session().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("import socket; socket.create_connection(('127.0.0.1', {port})); print('connected')");
    assert_eq!(run(&world.provider, &handle, argv(&["python3", "-c", &connect])).await.1, "connected\n");
}
