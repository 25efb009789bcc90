//! Removing a sandbox: processes, then files, then the reservation, which is what makes it known until then.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
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
    stop::end(&inner.host, inner.owner(session)?, &Which::All)?;
    move_away(inner, session).map_err(files())?;
    drop(held);
    // Many files take their time, and are nobody's by now.
    trashed(inner, session).and_then(|paths| paths.iter().try_for_each(|path| remove_tree(path))).map_err(files())?;
    let held = fence.hold(Act::Destroy)?;
    inner.slots.release(session).map_err(failed("releasing the slot"))?;
    drop(held);
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

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Go's module cache is read-only, directories too; that stops everyone but root.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            make_writable(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn make_writable(path: &Path) -> io::Result<()> {
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            // The entry's own type: a link to a directory is not one.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_trees_become_writable_and_links_out_of_them_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        for path in [&tree.join("a/b"), &tree.join("a"), &outside] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
        }
        make_writable(&tree).unwrap();
        assert_eq!(fs::metadata(tree.join("a/b")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o777, 0o555);
        remove_tree(&tree).unwrap();
        assert!(outside.is_dir() && !tree.exists());
    }
}
