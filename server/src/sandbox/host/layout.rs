//! The files of one sandbox:
//!
//! ```text
//! <root>/<session id>/meta.json   whose it is and what is served      (the server's)
//!                    /served.log  what the served program wrote       (the server's)
//!                    /served.from how much of it is gone from the file's beginning (the server's)
//!                    /ended       why all of it was ended           (the server's)
//!                    /go/         what may begin, where it is another that begins it (the server's)
//!                    /etc/        the passwd and group shown inside   (the server's)
//!                    /workspace/  /home/  /tmp/                       (the session's user's)
//! ```
//!
//! As root, nothing is ever made, opened or re-owned below the last three: their user may have put links there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use alpine_api::SessionId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{flock::Held, process::Started, processes::User, slots::Label};
use crate::sandbox::Size;

/// Where they are inside bubblewrap.
pub(super) const GUEST_WORKSPACE: &str = "/workspace";
pub(super) const GUEST_HOME: &str = "/home/dev";
pub(super) const GUEST_TMP: &str = "/var/tmp";

#[derive(Debug, Clone)]
pub(super) struct Sandbox {
    pub dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    #[serde(flatten)]
    pub label: Label,
    /// Of the files: made anew after they were removed it is another one.
    #[serde(default)]
    pub generation: String,
    pub slot: u32,
    /// The session's own user and group id, if the server is root.
    pub uid: Option<u32>,
    #[serde(default)]
    pub size: Size,
    pub served: Option<Served>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Served {
    /// Where it is reached from this host.
    #[serde(default = "loopback")]
    pub host: String,
    pub port: u16,
    pub boot: String,
    pub process: Started,
    /// The first process of its pid namespace, in bubblewrap: it outlives the one that started it.
    pub init: Option<Started>,
    /// How often a process of the session had been killed for want of memory before it began.
    #[serde(default)]
    pub kills: Option<u64>,
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}

impl Served {
    pub fn seeds(&self) -> impl Iterator<Item = Started> {
        [Some(self.process), self.init].into_iter().flatten()
    }

    pub fn alive(&self) -> io::Result<bool> {
        if self.boot != super::process::boot_id()? {
            return Ok(false);
        }
        for seed in self.seeds() {
            if seed.alive()? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Meta {
    pub const fn user(&self) -> User {
        match self.uid {
            Some(uid) => User::Own(uid),
            None => User::Servers,
        }
    }
}

impl Sandbox {
    pub fn of(root: &Path, session: SessionId) -> Self {
        Self { dir: root.join(session.to_string()) }
    }

    pub fn workspace(&self) -> PathBuf {
        self.dir.join("workspace")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    pub fn etc(&self) -> PathBuf {
        self.dir.join("etc")
    }

    /// Names of what may begin in a container.
    pub fn go(&self) -> PathBuf {
        self.dir.join("go")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("served.log")
    }

    /// The number of the first byte in `log`.
    pub fn beginning(&self) -> PathBuf {
        self.dir.join("served.from")
    }

    /// Held while `meta.json` is read and written again, and while the program is started: by one server
    /// at a time, and by none that died.
    pub fn lock(&self) -> io::Result<Held> {
        Held::lock(File::open(&self.dir)?)
    }

    pub fn meta(&self) -> io::Result<Meta> {
        Ok(serde_json::from_slice(&fs::read(self.dir.join("meta.json"))?)?)
    }

    pub fn write_meta(&self, meta: &Meta) -> io::Result<()> {
        replace(&self.dir.join("meta.json"), &serde_json::to_vec_pretty(meta)?, 0o600)
    }

    /// Why all of it was ended, if it was.
    pub fn verdict(&self) -> Option<String> {
        fs::read_to_string(self.dir.join("ended")).ok()
    }

    pub fn write_verdict(&self, why: &str) -> io::Result<()> {
        replace(&self.dir.join("ended"), why.as_bytes(), 0o600)
    }

    /// Makes what is missing, so that it also completes what a crash interrupted.
    pub fn complete(&self, label: &Label, slot: u32, uid: Option<u32>, size: &Size) -> io::Result<()> {
        make_dir(&self.dir, 0o710)?;
        // The session's group may pass through, to its own folders; nobody else may.
        own(&self.dir, uid.map(|_| 0), uid)?;
        let _lock = self.lock()?;
        match self.meta() {
            Ok(meta) if meta.label.fence >= label.fence && meta.slot == slot => {}
            // What cannot be read now is not another's for that.
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                return Err(error);
            }
            found => {
                let new = || (String::new(), size.clone(), None);
                let (generation, kept, served) = found.map_or_else(|_| new(), |meta| (meta.generation, meta.size, meta.served));
                // A server of before wrote it without.
                let size = if kept == Size::default() { size.clone() } else { kept };
                let generation = if generation.is_empty() { Uuid::new_v4().simple().to_string() } else { generation };
                self.write_meta(&Meta { label: label.clone(), generation, slot, uid, size, served })?;
            }
        }
        make_dir(&self.go(), 0o755)?;
        for dir in [self.workspace(), self.home(), self.tmp()] {
            make_dir(&dir, 0o700)?;
            own(&dir, uid, uid)?;
        }
        let id = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let group = uid.unwrap_or_else(|| rustix::process::getegid().as_raw());
        make_dir(&self.etc(), 0o755)?;
        // A user without a name breaks ssh, node's os.userInfo() and more.
        let passwd = format!(
            "root:x:0:0:root:/nonexistent:/bin/sh\ndev:x:{id}:{group}:dev:{GUEST_HOME}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"
        );
        replace(&self.etc().join("passwd"), passwd.as_bytes(), 0o644)?;
        replace(&self.etc().join("group"), format!("root:x:0:\ndev:x:{group}:\nnogroup:x:65534:\n").as_bytes(), 0o644)
    }
}

pub(super) fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(path)?.is_dir() => {}
        made => made?,
    }
    // The umask may have taken bits away.
    if fs::symlink_metadata(path)?.mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// What tells this root from one at the same path of another host. Servers that share a root share it.
pub(super) fn root_id(root: &Path) -> io::Result<String> {
    let path = root.join(".id");
    let partial = root.join(format!(".id.{}", Uuid::now_v7().simple()));
    if !path.exists() {
        replace(&partial, Uuid::new_v4().simple().to_string().as_bytes(), 0o600)?;
        // The first of several servers that start at once.
        let linked = fs::hard_link(&partial, &path);
        fs::remove_file(&partial)?;
        linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })?;
    }
    fs::read_to_string(path)
}

fn own(path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if uid.is_none_or(|uid| uid == found.uid()) && gid.is_none_or(|gid| gid == found.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, uid, gid)
}

fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// All of it or nothing, also after a power cut.
pub(super) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    // Of several servers at the same file each writes its own.
    partial.push(format!(".{}", Uuid::now_v7().simple()));
    let written = write_whole(partial.as_ref(), content, mode).and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written?;
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_meta_is_completed() {
        let root = tempfile::tempdir().unwrap();
        let label = Label { tenant: "t".into(), session: SessionId::generate(), fence: 3 };
        let sandbox = Sandbox::of(root.path(), label.session);
        fs::create_dir(&sandbox.dir).unwrap();
        let size = Size { memory: Some(1 << 30), ..Size::default() };
        sandbox.complete(&label, 4, None, &size).unwrap();
        let made = sandbox.meta().unwrap();
        assert_eq!(made, Meta { label: label.clone(), generation: made.generation.clone(), slot: 4, uid: None, size, served: None });
        assert!(sandbox.workspace().is_dir() && sandbox.home().is_dir());
        // An older worker's label does not replace a newer one's.
        sandbox.complete(&Label { fence: 2, ..label.clone() }, 4, None, &Size::default()).unwrap();
        assert_eq!(sandbox.meta().unwrap().label.fence, 3);
        sandbox.complete(&Label { fence: 9, ..label }, 4, None, &Size::default()).unwrap();
        let after = sandbox.meta().unwrap();
        assert_eq!((after.label.fence, after.generation, after.size), (9, made.generation, made.size), "it keeps its size");
    }
}
