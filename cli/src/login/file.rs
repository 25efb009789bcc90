//! `credentials.toml`: which profile has a login, and its tokens unless a keyring has them.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{About, StoreError, Tokens};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    #[serde(default)]
    pub logins: BTreeMap<String, Entry>,
}

/// One profile's login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name under which a keyring has the tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    pub about: About,
    /// The tokens, where no keyring has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
}

fn path(dir: &Path) -> PathBuf {
    dir.join("credentials.toml")
}

/// An absent file is one without logins.
pub fn read(dir: &Path) -> Result<Credentials, StoreError> {
    let path = path(dir);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Credentials::default()),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    // The parser's own message may quote a line with a token in it.
    toml::from_str(&text).map_err(|_| StoreError::Form { path })
}

/// At once or not at all, and readable by nobody else from its first byte on.
pub fn write(dir: &Path, credentials: &Credentials) -> Result<(), StoreError> {
    let path = path(dir);
    let failed = |source| StoreError::Write { path: path.clone(), source };
    let text = toml::to_string(credentials).map_err(|_| StoreError::Form { path: path.clone() })?;
    make_dir(dir).map_err(failed)?;
    replace(&path, &text).map_err(failed)
}

/// The whole of a file, at once or not at all; only its owner can read it.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension(format!("{}.tmp", Uuid::new_v4().simple()));
    let written = create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    if written.is_err() {
        // It may hold tokens.
        let _ = fs::remove_file(&new);
    }
    written
}

/// The file whose lock is held by who changes logins. It is never removed, so that all lock the same.
pub fn lock_file(dir: &Path) -> Result<fs::File, StoreError> {
    let path = dir.join("credentials.lock");
    let failed = |source| StoreError::Write { path: path.clone(), source };
    make_dir(dir).map_err(failed)?;
    options().create(true).truncate(false).open(&path).map_err(failed)
}

fn create(path: &Path) -> io::Result<fs::File> {
    options().create_new(true).open(path)
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
