//! Settings of sandboxes: where sessions run, and with how much of it.

use std::{net::Ipv4Addr, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::sandbox::host::Allowed;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderArg {
    /// Processes of this host.
    Local,
    /// Containers of this host.
    Docker,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sandboxes")]
pub struct SandboxArgs {
    /// Where sessions run.
    #[arg(long, env = "ALPINE_PROVIDER", value_enum, default_value_t = ProviderArg::Local)]
    pub provider: ProviderArg,
    /// A file of sandbox classes: named sizes, and whose they are. The same for all servers; unset: one size for all.
    #[arg(long, env = "ALPINE_CLASSES_FILE")]
    pub classes_file: Option<PathBuf>,
    /// How long a session is ready where nobody says, in seconds; then it is stopped. Unset: for as long as somebody wants it.
    #[arg(long, env = "ALPINE_SESSION_LIFETIME_SECONDS", value_parser = clap::value_parser!(i32).range(60..=31_536_000))]
    pub session_lifetime_seconds: Option<i32>,
    /// The longest lifetime that may be asked for, in seconds, and what a session has if nothing else is set; unset: no limit.
    #[arg(long, env = "ALPINE_SESSION_LIFETIME_MAX_SECONDS", value_parser = clap::value_parser!(i32).range(60..=31_536_000))]
    pub session_lifetime_max_seconds: Option<i32>,
    /// How long a session stays ready that nobody uses, where nobody says, in seconds; needs ALPINE_APPS_DOMAIN. Unset: for as long as somebody wants it.
    #[arg(long, env = "ALPINE_SESSION_IDLE_SECONDS", value_parser = clap::value_parser!(i32).range(60..=31_536_000))]
    pub session_idle_seconds: Option<i32>,
    /// The longest idle timeout that may be asked for, in seconds, and what a session has if nothing else is set; unset: no limit.
    #[arg(long, env = "ALPINE_SESSION_IDLE_MAX_SECONDS", value_parser = clap::value_parser!(i32).range(60..=31_536_000))]
    pub session_idle_max_seconds: Option<i32>,
    /// The shell command that serves a workspace; it gets $HOST and $PORT. Default: opencode.
    #[arg(long, env = "ALPINE_SANDBOX_SERVE")]
    pub sandbox_serve: Option<String>,
    /// Variables of the server's environment that sandboxes get, comma-separated, besides proxies and CA bundles.
    #[arg(long, env = "ALPINE_SANDBOX_PASS_ENV", value_delimiter = ',')]
    pub sandbox_pass_env: Vec<String>,
    /// Paths that sandboxes see read-only, comma-separated, besides the system's and the found toolchains'.
    #[arg(long, env = "ALPINE_SANDBOX_VISIBLE", value_delimiter = ',')]
    pub sandbox_visible: Vec<PathBuf>,
    /// Processes and threads a session may have; 0: no limit.
    #[arg(long, env = "ALPINE_SANDBOX_PROCESSES", default_value_t = 2048)]
    pub sandbox_processes: u64,
    /// Memory a session may have, in MB (needs control groups); 0: no limit.
    #[arg(long, env = "ALPINE_SANDBOX_MEMORY_MB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(..=1 << 30))]
    pub sandbox_memory_mb: u64,
    /// CPUs a session may use, as in `1.5` (needs control groups); unset: all, with the lowest priority.
    #[arg(long, env = "ALPINE_SANDBOX_CPUS", value_parser = cpus)]
    pub sandbox_cpus: Option<f64>,
    /// Disk a session may fill, in MB; 0: no limit.
    #[arg(long, env = "ALPINE_SANDBOX_DISK_MB", default_value_t = 20_480, value_parser = clap::value_parser!(u64).range(..=1 << 30))]
    pub sandbox_disk_mb: u64,
    /// Files and folders a session may have; 0: no limit.
    #[arg(long, env = "ALPINE_SANDBOX_FILES", default_value_t = 2_000_000)]
    pub sandbox_files: u64,
    /// Free disk, in MB, below which the largest session that grows is ended; 0: none is.
    #[arg(long, env = "ALPINE_SANDBOX_DISK_RESERVE_MB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(..=1 << 30))]
    pub sandbox_disk_reserve_mb: u64,
    /// Where sessions' control groups are, relative to the top of each hierarchy.
    #[arg(long, env = "ALPINE_SANDBOX_CGROUP_PARENT", default_value = "alpine", value_parser = cgroup_parent)]
    pub sandbox_cgroup_parent: PathBuf,
    /// Open files a process may have.
    #[arg(long, env = "ALPINE_SANDBOX_OPEN_FILES", default_value_t = 65536)]
    pub sandbox_open_files: u64,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Docker")]
pub struct DockerArgs {
    /// The socket of Docker's API, on this very host.
    #[arg(long, env = "ALPINE_DOCKER_SOCKET", default_value = "/var/run/docker.sock")]
    pub docker_socket: PathBuf,
    /// The image that sessions run in.
    #[arg(long, env = "ALPINE_DOCKER_IMAGE")]
    pub docker_image: Option<String>,
    /// Addresses that sessions may reach although they are not of the public Internet, as `10.0.0.0/8` or `10.1.2.3:443`, comma-separated. A private git host has to be in ALPINE_GIT_ALLOW_HOSTS too.
    #[arg(long, env = "ALPINE_DOCKER_ALLOW", value_delimiter = ',')]
    pub docker_allow: Vec<Allowed>,
    /// Name servers that sessions may ask, comma-separated; unset: this host's.
    #[arg(long, env = "ALPINE_DOCKER_RESOLVERS", value_delimiter = ',')]
    pub docker_resolvers: Vec<Ipv4Addr>,
}

fn cpus(text: &str) -> Result<f64, String> {
    let cpus: f64 = text.parse().map_err(|_| "a number such as 1.5 is needed".to_owned())?;
    if (0.01..=4096.0).contains(&cpus) { Ok(cpus) } else { Err("it has to be from 0.01 to 4096".to_owned()) }
}

fn cgroup_parent(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text.trim_matches('/'));
    let named = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if named && path.iter().next().is_some() { Ok(path) } else { Err("a path such as alpine or tenants/alpine is needed".to_owned()) }
}
