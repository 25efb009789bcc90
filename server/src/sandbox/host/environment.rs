//! Where a command runs, and what every process of a sandbox finds in its environment.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

use secrecy::ExposeSecret as _;

use super::{
    layout::{GUEST_HOME, GUEST_TMP, Sandbox},
    settings::STANDARD_PATH,
};
use crate::sandbox::{Command, ProviderError};

/// Its own, as its processes see them.
#[derive(Debug)]
pub(super) struct Folders {
    home: PathBuf,
    tmp: PathBuf,
}

impl Folders {
    pub fn guest() -> Self {
        Self { home: GUEST_HOME.into(), tmp: GUEST_TMP.into() }
    }

    pub fn of(sandbox: &Sandbox) -> Self {
        Self { home: sandbox.home(), tmp: sandbox.tmp() }
    }
}

/// Later ones replace earlier ones: a command may change all but the marks.
pub(super) fn of(path: &str, passed: &[(String, String)], folders: &Folders, command: &Command) -> BTreeMap<String, String> {
    let shown = |path: &Path| path.display().to_string();
    let fixed = [("USER", "dev"), ("LOGNAME", "dev"), ("LANG", "C.UTF-8"), ("SHELL", "/bin/sh"), ("TERM", "dumb"), ("PATH", path)];
    let mut environment: BTreeMap<String, String> = fixed.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (name, folder) in [
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ] {
        environment.insert(name.to_owned(), shown(&folders.home.join(folder)));
    }
    environment.insert("HOME".to_owned(), shown(&folders.home));
    environment.extend(["TMPDIR", "XDG_RUNTIME_DIR"].map(|name| (name.to_owned(), shown(&folders.tmp))));
    environment.extend(passed.iter().cloned());
    environment.extend(command.env.iter().cloned());
    environment.extend(command.secret_env.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())));
    environment
}

/// Relative to the workspace, and within it.
pub(super) fn working_directory(command: &Command) -> Result<&Path, ProviderError> {
    let permanent = |what| ProviderError::Permanent { what, source: None };
    if command.argv.first().is_none_or(String::is_empty) {
        return Err(permanent("a command needs a program".to_owned()));
    }
    let cwd = command.cwd.as_deref().unwrap_or(Path::new(""));
    if cwd.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        Ok(cwd)
    } else {
        Err(permanent(format!("the working directory {} is not within the workspace", cwd.display())))
    }
}
/// The first program of this name in `path` and where the system's are.
pub(super) fn program(path: &str, name: &str) -> Option<PathBuf> {
    let runs = |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let folders = path.split(':').chain(STANDARD_PATH.split(':'));
    folders.map(|folder| Path::new(folder).join(name)).find(|found| found.is_absolute() && runs(found))
}
