//! What a local provider is told when it is made.

use std::{
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use super::docker::Allowed;
use super::{
    layout::{GUEST_HOME, GUEST_TMP, GUEST_WORKSPACE},
    walls::Kind,
};
use crate::sandbox::{ProviderError, Size};

/// How the local provider runs sandboxes. The environment is read by `config`, never here.
#[derive(Clone)]
pub struct Settings {
    /// Where the sandboxes are; the provider's alone.
    pub root: PathBuf,
    /// The bubblewrap to use. `None`: the one on the path, if it works.
    pub bubblewrap: Option<PathBuf>,
    /// Never use bubblewrap.
    pub plain: bool,
    /// Given to every process of every sandbox: CA bundle variables, say.
    pub pass_env: Vec<(String, String)>,
    /// `PATH` inside.
    pub path: String,
    /// What is visible inside, read-only, besides the system's own folders: tools, toolchains, mirrors.
    pub visible: Vec<PathBuf>,
    pub limits: Limits,
    /// What else sessions may be made in.
    pub sizes: Vec<Size>,
    /// Below which of each hierarchy's control groups the sessions' are; relative to its top.
    pub cgroup_parent: PathBuf,
}

/// How the docker provider runs sandboxes.
#[derive(Clone)]
pub struct DockerSettings {
    /// Where the sandboxes' files are; the provider's alone. At the same path for Docker.
    pub root: PathBuf,
    /// Of Docker's API.
    pub socket: PathBuf,
    /// What sessions find themselves in: a shell, git, and what their repositories need.
    pub image: String,
    /// Given to every process of every sandbox.
    pub pass_env: Vec<(String, String)>,
    /// `PATH` inside.
    pub path: String,
    /// What is visible inside, read-only, at the same path: CA bundles, mirrors.
    pub visible: Vec<PathBuf>,
    pub limits: Limits,
    /// What else sessions may be made in.
    pub sizes: Vec<Size>,
    /// What sessions may reach although it is not the public Internet.
    pub allowed: Vec<Allowed>,
    /// Name servers that sessions may ask; none: those of this host.
    pub resolvers: Vec<Ipv4Addr>,
}

// By hand, as below.
impl fmt::Debug for DockerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, socket, image, pass_env, path, visible, limits, sizes, allowed, resolvers } = self;
        let shown = &mut f.debug_struct("DockerSettings");
        shown.field("root", root).field("socket", socket).field("image", image).field("path", path);
        shown.field("pass_env", &pass_env.iter().map(|(name, _)| name).collect::<Vec<_>>());
        shown.field("visible", visible).field("limits", limits).field("sizes", sizes).field("allowed", allowed);
        shown.field("resolvers", resolvers).finish()
    }
}

/// Limits of one sandbox's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files, a process.
    pub open_files: u64,
    /// Processes and threads, a session. Not applied where all sessions share the server's own user
    /// outside bubblewrap: it would count the server too. 0, here and below: no limit.
    pub processes: u64,
    /// Bytes of memory, a session. Needs control groups.
    pub memory: u64,
    /// Thousandths of a CPU, a session. Needs control groups.
    pub cpu_millis: Option<u32>,
    /// Bytes of disk, a session.
    pub disk: u64,
    /// Files and folders, a session.
    pub files: u64,
    /// Bytes of the disk's free space below which the largest session that grows is ended.
    pub disk_reserve: u64,
    /// How long a session may stand at its limit of processes or memory before it is ended.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self::STANDARD
    }
}

impl Limits {
    /// Where nothing is set.
    pub const STANDARD: Self = Self {
        open_files: 65_536,
        processes: 2_048,
        memory: 4 << 30,
        cpu_millis: None,
        disk: 20 << 30,
        files: 2_000_000,
        disk_reserve: 1 << 30,
        patience: Duration::from_secs(10),
    };

    /// Whether there is one of this kind.
    pub(super) const fn bound(&self, kind: Kind) -> bool {
        match kind {
            Kind::Memory => self.memory > 0,
            Kind::Pids => self.processes > 0,
            Kind::Cpu => self.cpu_millis.is_some(),
        }
    }

    /// Of sessions of all sizes, these first.
    pub(super) fn of_all(self, sizes: &[Size]) -> Vec<Self> {
        std::iter::once(self).chain(sizes.iter().map(|size| self.of(size))).collect()
    }

    /// Of a session of that size.
    #[must_use]
    pub fn of(self, size: &Size) -> Self {
        Self {
            memory: size.memory.unwrap_or(self.memory),
            cpu_millis: size.cpu_millis.or(self.cpu_millis),
            disk: size.disk.unwrap_or(self.disk),
            ..self
        }
    }
}

pub const STANDARD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/var/lib/alpine/sandboxes"),
            bubblewrap: None,
            plain: false,
            pass_env: Vec::new(),
            path: STANDARD_PATH.to_owned(),
            visible: Vec::new(),
            limits: Limits::default(),
            sizes: Vec::new(),
            cgroup_parent: PathBuf::from("alpine"),
        }
    }
}

// By hand: a proxy's address in the environment can hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("root", &self.root)
            .field("bubblewrap", &self.bubblewrap)
            .field("plain", &self.plain)
            .field("pass_env", &self.pass_env.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("path", &self.path)
            .field("visible", &self.visible)
            .field("limits", &self.limits)
            .field("sizes", &self.sizes)
            .field("cgroup_parent", &self.cgroup_parent)
            .finish()
    }
}

/// Below these every sandbox has its own, and nothing of the host's is seen.
pub const HIDDEN: [&str; 5] = [GUEST_HOME, GUEST_WORKSPACE, GUEST_TMP, "/proc", "/dev"];

/// Refuses visible paths that would show other sessions, or hide what every sandbox has.
pub(super) fn check_visible(visible: &[PathBuf], root: &Path) -> Result<(), ProviderError> {
    let own = ["/proc", "/dev", "/tmp", "/etc/passwd", GUEST_TMP, GUEST_HOME, GUEST_WORKSPACE].map(Path::new);
    for path in visible {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let covers = |inner: &Path| inner.starts_with(path) || inner.starts_with(&real);
        let inside = |outer: &str| path.starts_with(outer) || real.starts_with(outer);
        let problem = if !path.is_absolute() {
            "is not absolute"
        } else if covers(root) || real.starts_with(root) {
            "would show one session's files to another"
        } else if own.iter().any(|own| covers(own)) || HIDDEN.iter().any(|outer| inside(outer)) {
            "is in the way of what every sandbox has there"
        } else {
            continue;
        };
        return Err(ProviderError::Permanent { what: format!("the visible path {} {problem}", path.display()), source: None });
    }
    Ok(())
}
