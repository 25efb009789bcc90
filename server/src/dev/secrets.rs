//! Secrets that this machine makes for itself, once.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

use super::{error::DevError, files};

#[derive(Debug)]
pub struct SecretFiles {
    /// 64 hexadecimal characters without a line end: the HS256 secret is these 64 bytes, as they stand.
    pub jwt: PathBuf,
    /// 32 raw bytes: an AES-256-GCM key.
    pub credential_key: PathBuf,
}

pub fn ensure(dir: &Path) -> Result<SecretFiles, DevError> {
    files::private_dir(dir)?;
    let found = SecretFiles { jwt: dir.join("jwt-hs256.key"), credential_key: dir.join("credential.key") };
    // Text, because it is shared with the CLI: a reader that trims and one that does not see the same.
    ensure_file(&found.jwt, 64, |bytes| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes())?;
    ensure_file(&found.credential_key, 32, |bytes| bytes.to_vec())?;
    Ok(found)
}

fn ensure_file(path: &Path, length: usize, encode: impl Fn(&[u8; 32]) -> Vec<u8>) -> Result<(), DevError> {
    if files::read_optional(path)?.is_some_and(|content| content.len() == length) {
        // It may have come from a backup that forgot the mode.
        return fs::set_permissions(path, fs::Permissions::from_mode(files::PRIVATE))
            .map_err(DevError::io("cannot change the mode of", path));
    }
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| DevError::Random)?;
    files::write_atomic(path, &encode(&bytes), files::PRIVATE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_private() {
        let base = tempfile::tempdir().unwrap();
        let made = ensure(&base.path().join("secrets")).unwrap();
        let (jwt, key) = (fs::read(&made.jwt).unwrap(), fs::read(&made.credential_key).unwrap());
        assert_eq!((jwt.len(), key.len()), (64, 32));
        assert!(jwt.iter().all(u8::is_ascii_hexdigit));
        fs::set_permissions(&made.jwt, fs::Permissions::from_mode(0o644)).unwrap();
        let again = ensure(&base.path().join("secrets")).unwrap();
        assert_eq!((fs::read(&again.jwt).unwrap(), fs::read(&again.credential_key).unwrap()), (jwt, key));
        for path in [made.jwt, made.credential_key] {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
        }
    }
}
