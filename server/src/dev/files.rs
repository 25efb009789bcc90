//! Files that are whole or absent, and private from their first byte.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::error::DevError;

pub const PRIVATE: u32 = 0o600;
pub const PUBLIC: u32 = 0o644;

/// Write beside the target, then rename: a reader, or a crash, sees the old file or the new one.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32) -> Result<(), DevError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        // The umask may have taken more than was asked.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&beside);
        DevError::Io { what: "cannot write", path: path.to_owned(), source }
    })
}

/// A directory for the owner only, its parents too where they are missing.
pub fn private_dir(path: &Path) -> Result<(), DevError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(DevError::io("cannot create", path))
}

/// `None` where there is no such file.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, DevError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DevError::Io { what: "cannot read", path: path.to_owned(), source }),
    }
}
