//! What every provider has to hold, with real processes: in bubblewrap, plain, and in containers; as root, and once more as an ordinary user.

mod docker;
mod ensure;
mod exec;
mod fences;
mod hostile;
mod images;
mod isolation;
mod limits;
mod restart;
mod serve;
mod stop;
mod unprivileged;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::*;
use crate::sandbox::{Command, Endpoint, Exit, Output, Provider, SandboxSpec, Size};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bubblewrap,
    Plain,
    Docker,
}

impl Mode {
    /// What a session starts cannot get away from it, whatever it drops.
    fn has_walls(self) -> bool {
        is_root() || self == Self::Bubblewrap
    }
}

const FENCE: i64 = 7;
/// Where tests/run.sh has a Docker of its own, and an image.
const DOCKER: &str = "ALPINE_TEST_DOCKER";
const IMAGE: &str = "alpine-test";

#[expect(clippy::disallowed_methods, reason = "the tests' own switch")]
fn docker() -> Option<PathBuf> {
    let socket = std::env::var_os(DOCKER).map(PathBuf::from).filter(|_| is_root());
    assert!(socket.is_some() || !is_root() || std::env::var_os("CI").is_none(), "CI has Docker");
    socket
}

/// All there are here.
fn modes() -> Vec<Mode> {
    on_the_hosts_network().into_iter().chain(docker().map(|_| Mode::Docker)).collect()
}

/// Those in which ports are the host's.
fn on_the_hosts_network() -> [Mode; 2] {
    [Mode::Bubblewrap, Mode::Plain]
}

/// Those in which a session sees nothing of the host.
fn apart() -> Vec<Mode> {
    modes().into_iter().filter(|mode| *mode != Mode::Plain).collect()
}

/// As the server's: a provider waits for Docker on threads that are not its own.
fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap()).handle().clone()
}

fn provider(mode: Mode, settings: &Settings) -> HostProvider {
    let made = std::thread::scope(|scope| {
        scope
            .spawn(|| match mode {
                Mode::Docker => HostProvider::docker(docker_settings(settings), runtime()),
                Mode::Bubblewrap | Mode::Plain => HostProvider::local(settings.clone()),
            })
            .join()
    });
    made.unwrap().unwrap()
}

fn docker_settings(Settings { root, pass_env, visible, limits, sizes, .. }: &Settings) -> DockerSettings {
    DockerSettings {
        root: root.clone(),
        socket: docker().unwrap(),
        image: IMAGE.to_owned(),
        pass_env: pass_env.clone(),
        path: STANDARD_PATH.to_owned(),
        visible: visible.clone(),
        limits: *limits,
        sizes: sizes.clone(),
        allowed: Vec::new(),
        resolvers: Vec::new(),
    }
}

struct World {
    // Dropped after the provider has cleaned up.
    dir: tempfile::TempDir,
    mode: Mode,
    settings: Settings,
    provider: HostProvider,
}

impl World {
    fn new(mode: Mode) -> Self {
        Self::with(mode, |_| {})
    }

    fn with(mode: Mode, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Plain sessions' users have to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = Settings { root: dir.path().join("sandboxes"), plain: mode == Mode::Plain, ..Settings::default() };
        change(&mut settings);
        let provider = provider(mode, &settings);
        assert_eq!(provider.isolates(), mode != Mode::Plain, "bubblewrap has to work where these tests run");
        Self { dir, mode, settings, provider }
    }

    /// As after a restart of the server.
    fn again(&self) -> HostProvider {
        provider(self.mode, &self.settings)
    }

    async fn session(&self) -> Handle {
        self.provider.ensure(&spec(SessionId::generate())).await.unwrap()
    }

    fn sandbox(&self, handle: &Handle) -> Sandbox {
        self.provider.inner.locate(handle).unwrap()
    }

    fn owner(&self, handle: &Handle) -> Owner {
        self.provider.inner.owner(handle.session).unwrap()
    }

    /// What keeps a container there does not count. Nor does what is on its way out: on a busy machine that takes a while, and it runs
    /// nothing any more.
    fn running(&self, handle: &Handle) -> usize {
        let mut found = Table::read().unwrap().of(self.owner(handle), &Which::Guests).unwrap();
        found.retain(|process| !process.has_no_memory());
        if !found.is_empty() {
            // Shown with the assertion that it breaks.
            println!("{:?}: {found:?}", self.mode);
        }
        found.len()
    }

    /// Runs a shell script; both outputs as one text.
    async fn sh(&self, handle: &Handle, script: &str) -> (Exit, String) {
        run(&self.provider, handle, sh(script)).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let provider = self.provider.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                for listed in provider.list().await.unwrap() {
                    provider.destroy(listed.session, listed.fence).await.unwrap();
                }
            });
        });
        let cleaned = cleaning.join().is_ok();
        if self.mode == Mode::Docker {
            remove_network(&self.provider.inner.root_id);
        }
        let own = self.provider.inner.slots.users();
        let left = Table::read().unwrap().with_user(own);
        assert!((cleaned && left.is_empty()) || std::thread::panicking(), "what a test made can be destroyed: {left:?}");
    }
}

/// A server leaves it to the next one of its place; here there is none.
fn remove_network(root_id: &str) {
    let network = format!("alpine-{}", &root_id[..8]);
    let socket = format!("unix://{}", docker().unwrap().display());
    let removed = std::process::Command::new("docker").args(["--host", &socket, "network", "rm", &network]).output();
    assert!(removed.is_ok_and(|removed| removed.status.success()) || std::thread::panicking(), "nothing is in {network} any more");
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn spec(session: SessionId) -> SandboxSpec {
    SandboxSpec { tenant: TenantId::parse("team").unwrap(), session, fence: FENCE, size: Size::default() }
}

fn sh(script: &str) -> Command {
    argv(&["sh", "-c", script])
}

fn argv(argv: &[&str]) -> Command {
    Command { argv: argv.iter().map(|arg| (*arg).to_owned()).collect(), ..Command::default() }
}

async fn run(provider: &HostProvider, handle: &Handle, command: Command) -> (Exit, String) {
    let (sender, mut receiver) = mpsc::channel(4);
    let collect = async {
        let mut all = Vec::new();
        while let Some(Output::Stdout(bytes) | Output::Stderr(bytes)) = receiver.recv().await {
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    };
    let (exit, text) = tokio::join!(provider.exec(handle, FENCE, command, sender), collect);
    (exit.unwrap(), text)
}

async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A process of the session has this as an argument.
fn has_argument(world: &World, handle: &Handle, wanted: &str) -> bool {
    let table = Table::read().unwrap();
    table.of(world.owner(handle), &Which::All).unwrap().iter().any(|process| arguments(process.id.pid).iter().any(|arg| arg == wanted))
}

fn arguments(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()
}

fn files(root: &std::path::Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found
}
