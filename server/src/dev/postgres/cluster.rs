//! The cluster's directory: where things are in it, how it is made, and who runs on it.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::{PostgresOptions, binaries::Binaries};
use crate::dev::{
    account::{self, Account},
    error::DevError,
    tools,
};

/// The longest path of a unix socket, without its closing zero.
const SOCKET_PATH: usize = 107;
const SOCKET_NAME: &str = ".s.PGSQL.5432";
pub(super) const PORT: u16 = 5432;
pub(super) const USER: &str = "alpine";
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) data: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) account: Option<Account>,
}

impl Layout {
    pub(super) fn prepare(options: &PostgresOptions) -> Result<Self, DevError> {
        let dir = std::path::absolute(&options.dir).map_err(DevError::io("cannot resolve", &options.dir))?;
        let account = account::stand_in(&dir.join("data"))?;
        account::own_dir(&dir, account.as_ref())?;
        if let Some(account) = &account {
            account::check_reach(&dir, account)?;
        }
        let socket_dir = socket_dir(&dir);
        own_socket_dir(&socket_dir, account.as_ref())?;
        let log = dir.join("postgres.log");
        if fs::metadata(&log).is_ok_and(|m| m.len() > LOG_LIMIT) {
            fs::rename(&log, dir.join("postgres.log.1")).map_err(DevError::io("cannot rename", &log))?;
        }
        Ok(Self { data: dir.join("data"), dir, socket_dir, log, account })
    }

    /// A command of PostgreSQL's, as the user that may run it, whatever this process's environment says.
    pub(super) fn command(&self, program: &Path) -> std::process::Command {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(program);
        command.current_dir(&self.dir).stdin(Stdio::null());
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGOPTIONS", "PGDATESTYLE", "PGTZ", "PGCLIENTENCODING"] {
            command.env_remove(name);
        }
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    pub(super) fn broken(&self, detail: impl Into<String>) -> DevError {
        DevError::BrokenCluster { path: self.data.clone(), detail: detail.into(), log: self.log.clone() }
    }

    pub(super) fn start_failed(&self, detail: impl Into<String>) -> DevError {
        DevError::PostgresStart { detail: detail.into(), data: self.data.clone(), log: self.log.clone() }
    }

    /// The version that made the cluster; `None` where there is no cluster yet.
    pub(super) fn version(&self) -> Result<Option<u32>, DevError> {
        if fs::symlink_metadata(&self.data).is_err() {
            return Ok(None);
        }
        let text = fs::read_to_string(self.data.join("PG_VERSION")).map_err(|_| self.broken("it has no PG_VERSION"))?;
        let major = text.trim().parse().map_err(|_| self.broken("its PG_VERSION is not a number"))?;
        if self.data.join("global/pg_control").is_file() { Ok(Some(major)) } else { Err(self.broken("it has no global/pg_control")) }
    }

    /// Make the cluster beside its place and move it there whole, so that an interrupted attempt leaves
    /// nothing that looks like a database; its leftovers go here, they never held anything.
    pub(super) async fn initdb(&self, binaries: &Binaries, fsync: bool) -> Result<(), DevError> {
        let partial = self.dir.join("data.partial");
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DevError::Io { what: "cannot remove", path: partial, source: error });
            }
            _ => {}
        }
        let mut command = self.command(&binaries.program("initdb"));
        command.arg("-D").arg(&partial).args(["-U", USER, "--auth-local=trust", "--auth-host=reject"]);
        command.args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]);
        if !fsync {
            command.arg("--no-sync");
        }
        let output = Command::from(command).kill_on_drop(true).output().await;
        let output = output.map_err(|error| self.start_failed(format!("initdb: {error}")))?;
        let _ = fs::write(self.dir.join("initdb.log"), [output.stdout, output.stderr.clone()].concat());
        if !output.status.success() {
            let log = self.dir.join("initdb.log");
            let detail = format!("initdb: {}: {}", output.status, tools::tail(&output.stderr));
            return Err(DevError::PostgresStart { detail, data: partial, log });
        }
        fs::rename(&partial, &self.data).map_err(DevError::io("cannot rename", partial))
    }

    /// The last lines of the log from `offset` on.
    pub(super) fn log_since(&self, offset: u64) -> String {
        let mut content = Vec::new();
        let read = || -> io::Result<()> {
            let mut file = fs::File::open(&self.log)?;
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut content).map(drop)
        };
        match { read }() {
            Ok(()) => tools::tail(&content),
            Err(error) => error.to_string(),
        }
    }

    /// The postmaster that `postmaster.pid` names, if that process is alive and is one.
    pub(super) fn postmaster(&self) -> Option<Postmaster> {
        let content = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let found = Postmaster::parse(&content)?;
        if found.alive() {
            return Some(found);
        }
        // The number may be another program's by now, at which PostgreSQL would refuse to start. We hold the
        // directory's lock and have looked: nobody runs on it.
        if Path::new("/proc").join(found.pid.to_string()).exists() {
            let _ = fs::remove_file(self.data.join("postmaster.pid"));
        }
        None
    }
}

/// A running PostgreSQL, as its own pid file tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    pub(super) socket_dir: PathBuf,
}

impl Postmaster {
    /// Lines: pid, data directory, start time, port, socket directory, listen address, shared memory, status.
    fn parse(content: &str) -> Option<Self> {
        let mut lines = content.lines();
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 0)?;
        Some(Self { pid, socket_dir: PathBuf::from(lines.nth(3).unwrap_or_default()) })
    }

    fn alive(&self) -> bool {
        is_postgres(self.pid)
    }
}

/// Alive, not a zombie, and named as PostgreSQL names itself.
pub(super) fn is_postgres(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((name, rest)) = stat.rsplit_once(") ") else { return false };
    name.ends_with("(postgres") && !rest.starts_with(['Z', 'X'])
}

/// In the cluster's directory, unless the socket's path would be too long for the kernel, or hold what
/// PostgreSQL reads as a list.
fn socket_dir(dir: &Path) -> PathBuf {
    let near = dir.join("run");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let bytes = near.as_os_str().as_encoded_bytes();
    if bytes.len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH && bytes.iter().copied().all(plain) {
        return near;
    }
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    PathBuf::from(format!("/tmp/alpine-pg-{hash}"))
}

/// /tmp is everyone's: another user's directory, or link, under our name is refused.
fn own_socket_dir(dir: &Path, account: Option<&Account>) -> Result<(), DevError> {
    let wanted = account.map_or_else(|| geteuid().as_raw(), |a| a.uid);
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() && [wanted, geteuid().as_raw()].contains(&found.uid()) => {}
        Ok(found) => return Err(DevError::SocketDir { path: dir.to_owned(), owner: found.uid() }),
        Err(_) => fs::create_dir(dir).map_err(DevError::io("cannot create", dir))?,
    }
    account::own_dir(dir, account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_odd_path_gets_a_short_socket_directory_of_its_own() {
        assert_eq!(socket_dir(Path::new("/var/lib/alpine/postgres")), Path::new("/var/lib/alpine/postgres/run"));
        let longest = format!("/{}", "d".repeat(SOCKET_PATH - SOCKET_NAME.len() - 1 - "/run".len() - 1));
        assert!(socket_dir(Path::new(&longest)).starts_with(&longest));
        let long = socket_dir(Path::new(&format!("{longest}d")));
        let odd = socket_dir(Path::new("/srv/a,b"));
        assert!(long.starts_with("/tmp") && odd.starts_with("/tmp") && long != odd, "{long:?} {odd:?}");
    }

    #[test]
    fn a_pid_file_is_read_and_a_stranger_is_no_postmaster() {
        let found = Postmaster::parse("77\n/d\n1700000000\n5432\n/d/run\n\n  1 2\nready   \n").unwrap();
        assert_eq!(found, Postmaster { pid: 77, socket_dir: PathBuf::from("/d/run") });
        assert_eq!(Postmaster::parse(""), None);
        assert_eq!(Postmaster::parse("-1\n"), None);
        assert!(!is_postgres(i32::try_from(std::process::id()).unwrap()));
    }
}
