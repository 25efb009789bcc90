//! Removing a sandbox: processes, then files, then the reservation, which is what makes it known until then.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use alpine_api::SessionId;
use uuid::Uuid;

use super::{
    Inner, blocking,
    fences::{Act, Fence},
    io as failed,
    layout::Sandbox,
    processes::Which,
    stop,
    walls::Asked,
};
use crate::sandbox::{ProviderError, Status};

/// A call of another worker that was under way can make a file or a process anew.
const TURNS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn destroy(inner: &Arc<Inner>, session: SessionId, fence: i64) -> Result<(), ProviderError> {
    for _ in 0..TURNS {
        let inner = Arc::clone(inner);
        if blocking(move || turn(&inner, session, fence)).await? {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ProviderError::Transient { what: format!("the sandbox of {session} comes back after it is removed"), source: None })
}

fn turn(inner: &Inner, session: SessionId, fence: i64) -> Result<bool, ProviderError> {
    let fence = Fence::of(&Sandbox::of(&inner.root, session), fence);
    let files = || failed(format!("removing the files of {session}"));
    let held = fence.hold(Act::Destroy)?;
    // A bomb of processes goes off faster than a list of them is read.
    inner.walls.revoke(&Sandbox::of(&inner.root, session), Asked::All);
    inner.walls.kill(session);
    stop::end(&inner.tables, inner.owner(session)?, &Which::All)?;
    inner.walls.raze(session)?;
    move_away(inner, session).map_err(files())?;
    drop(held);
    // Many files take their time, and are nobody's by now.
    trashed(inner, session).and_then(|paths| paths.iter().try_for_each(|path| remove_tree(path))).map_err(files())?;
    let held = fence.hold(Act::Destroy)?;
    inner.slots.release(session).map_err(failed("releasing the slot"))?;
    drop(held);
    inner.verdicts.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
    inner.cleared.forget(session);
    Ok(inner.status(session)? == Status::Absent)
}

/// A half removed sandbox is never taken for a whole one.
fn move_away(inner: &Inner, session: SessionId) -> io::Result<()> {
    let dir = Sandbox::of(&inner.root, session).dir;
    match fs::rename(&dir, inner.trash().join(format!("{session}.{}", Uuid::now_v7().simple()))) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What an interrupted removal left of a session.
pub(super) fn trashed(inner: &Inner, session: SessionId) -> io::Result<Vec<PathBuf>> {
    let prefix = format!("{session}.");
    let mut found = Vec::new();
    for entry in fs::read_dir(inner.trash())? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Folders move up to the top before they are emptied: however deep a session has nested them, and however many
/// there are, no path is too long, no stack too deep, no list too large. Begun again it goes on where it was.
fn remove_tree(top: &Path) -> io::Result<()> {
    loop {
        let entries = match fs::read_dir(top) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => writable(top, read, || fs::read_dir(top))?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // The entry's own type: a link to a directory is not one.
            if entry.file_type()?.is_dir() {
                empty(top, &path)?;
                gone(writable(top, fs::remove_dir(&path), || fs::remove_dir(&path)))?;
            } else {
                gone(writable(top, fs::remove_file(&path), || fs::remove_file(&path)))?;
            }
        }
        match fs::remove_dir(top) {
            // What has moved up while it was read.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return gone(removed),
        }
    }
}

/// Files go, folders move up to `top`.
fn empty(top: &Path, folder: &Path) -> io::Result<()> {
    for entry in writable(folder, fs::read_dir(folder), || fs::read_dir(folder))? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            writable(folder, fs::remove_file(&path), || fs::remove_file(&path))?;
        } else if fs::remove_dir(&path).is_err() {
            let up = top.join(Uuid::now_v7().simple().to_string());
            // To move a folder is to write to it: its `..` changes.
            writable(folder, fs::rename(&path, &up), || {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
                fs::rename(&path, &up)
            })?;
        }
    }
    Ok(())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Go's module cache is read-only, directories too; that stops everyone but root.
fn writable<T>(folder: &Path, done: io::Result<T>, again: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match done {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            again()
        }
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_trees_go_and_links_out_of_them_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        fs::create_dir_all(tree.join("a/b/c/d")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs").unwrap();
        fs::write(tree.join("a/b/c/file"), "mine").unwrap();
        for name in ["a/link", "a/b/link", "link"] {
            std::os::unix::fs::symlink(&outside, tree.join(name)).unwrap();
        }
        for path in [&tree.join("a/b/c"), &tree.join("a/b"), &tree.join("a"), &tree, &outside] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(outside.join("file").is_file() && !tree.exists());
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o555);
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_tree_far_deeper_than_a_path_can_be_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let nest = "import os\nfor i in range(20000):\n  os.mkdir('d' * 50); os.chdir('d' * 50)\nopen('file', 'w')";
        assert!(std::process::Command::new("python3").args(["-c", nest]).current_dir(&tree).status().unwrap().success());
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
