//! PostgreSQL refuses to run as root. When Alpine is root, another user stands in.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::error::DevError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whose cluster it is, else `postgres`, else `nobody`; `None` where this process is not root and needs nobody.
pub fn stand_in(cluster: &Path) -> Result<Option<Account>, DevError> {
    if !is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(DevError::io("cannot read", "/etc/passwd"))?;
    let owner = fs::metadata(cluster).ok().map(|m| m.uid()).filter(|uid| *uid != 0);
    choose(&passwd, owner).map(Some).ok_or(DevError::NoAccount)
}

fn choose(passwd: &str, owner: Option<u32>) -> Option<Account> {
    let accounts: Vec<Account> = passwd.lines().filter_map(parse).collect();
    // The cluster's owner first: it was `nobody`'s if PostgreSQL was installed only later.
    let by_owner = owner.and_then(|uid| accounts.iter().find(|a| a.uid == uid));
    by_owner.or_else(|| ["postgres", "nobody"].iter().find_map(|name| accounts.iter().find(|a| a.name == *name))).cloned()
}

fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name, uid, gid })
}

/// A directory of the account's own (or of this process's user), closed to all others.
pub fn own_dir(path: &Path, account: Option<&Account>) -> Result<(), DevError> {
    super::files::private_dir(path)?;
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid)).map_err(DevError::io("cannot change the owner of", path))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(DevError::io("cannot change the mode of", path))
}

/// Can the account come to `dir` at all?
pub fn check_reach(dir: &Path, account: &Account) -> Result<(), DevError> {
    match first_closed(dir, account) {
        None => Ok(()),
        Some(parent) => Err(DevError::DataDirUnreachable { path: dir.to_owned(), parent, user: account.name.clone() }),
    }
}

/// The first directory on the way to `path`, itself included, that the account may not pass.
#[must_use]
pub fn first_closed(path: &Path, account: &Account) -> Option<PathBuf> {
    let mut way: Vec<&Path> = path.ancestors().filter(|p| p.is_absolute()).collect();
    way.reverse();
    way.into_iter().find(|dir| fs::metadata(dir).is_ok_and(|m| m.is_dir() && !may_pass(&m, account))).map(Path::to_owned)
}

fn may_pass(metadata: &fs::Metadata, account: &Account) -> bool {
    let bit = if metadata.uid() == account.uid {
        0o100
    } else if metadata.gid() == account.gid {
        0o010
    } else {
        0o001
    };
    metadata.mode() & bit != 0
}

/// May any user of this machine run it?
#[must_use]
pub fn open_to_all(program: &Path) -> bool {
    let Ok(program) = program.canonicalize() else { return false };
    // No account has these ids, so only what is open to others counts.
    let anyone = Account { name: String::new(), uid: u32::MAX, gid: u32::MAX };
    first_closed(&program, &anyone).is_none() && fs::metadata(&program).is_ok_and(|m| m.mode() & 0o005 == 0o005)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n";

    #[test]
    fn postgres_is_preferred_to_nobody_and_the_owner_to_both() {
        assert_eq!(choose(PASSWD, None).map(|a| a.name), Some("nobody".to_owned()));
        let with_postgres = format!("{PASSWD}postgres:x:104:110::/var/lib/postgresql:/bin/bash\n");
        assert_eq!(choose(&with_postgres, None), Some(Account { name: "postgres".to_owned(), uid: 104, gid: 110 }));
        assert_eq!(choose(&with_postgres, Some(65534)).map(|a| a.name), Some("nobody".to_owned()));
        assert_eq!(choose("root:x:0:0::/:/bin/sh\n", None), None);
    }

    #[test]
    fn the_first_closed_parent_is_named() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let closed = base.path().join("closed");
        fs::create_dir_all(closed.join("deep")).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { name: "stranger".to_owned(), uid: 4_000_000, gid: 4_000_000 };
        assert_eq!(first_closed(&closed.join("deep"), &stranger), Some(closed.clone()));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(first_closed(&closed.join("deep"), &stranger), None);
    }
}
