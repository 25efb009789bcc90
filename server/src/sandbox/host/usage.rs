//! What a session holds of the disk. Its user changes the tree while it is looked at, and may want the one who
//! looks to go astray: no link is followed, and each folder is opened from the one above it.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt as _, path::Path};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// Each open folder costs a descriptor. What lies deeper is not seen, so there must not be any.
pub(super) const DEEPEST: usize = 256;
const BLOCK: u64 = 512;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub bytes: u64,
    pub files: u64,
    /// Folders are nested deeper than can be measured.
    pub too_deep: bool,
}

/// Of a tree; `enough` ends it early.
pub(super) fn of_tree(root: &Path, enough: impl Fn(&Usage) -> bool) -> std::io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut open = vec![Dir::new(rustix::fs::open(root, flags, Mode::empty())?)?];
    loop {
        let depth = open.len();
        let Some(folder) = open.last_mut() else { return Ok(usage) };
        let Some(entry) = folder.read() else {
            open.pop();
            continue;
        };
        // A folder that is removed meanwhile has no more entries.
        let Ok(entry) = entry else {
            open.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let descriptor = folder.fd()?;
        let stat = match rustix::fs::statat(descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            found => found?,
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        usage.files += 1;
        if is_dir || stat.st_nlink < 2 || linked.insert(stat.st_ino) {
            usage.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * BLOCK;
        }
        if enough(&usage) {
            return Ok(usage);
        }
        if is_dir && depth >= DEEPEST {
            return Ok(Usage { too_deep: true, ..usage });
        }
        if is_dir {
            match rustix::fs::openat(descriptor, name, flags, Mode::empty()) {
                Ok(inner) => open.push(Dir::new(inner)?),
                // Gone, another thing by now, or, for an ordinary user's server, closed.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Of files that these processes still hold open after they were removed from `root`'s file system.
pub(super) fn of_removed(pids: &[i32], root: &Path) -> u64 {
    let Ok(device) = fs::metadata(root).map(|found| found.dev()) else { return 0 };
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for pid in pids {
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Ok(found) = fs::metadata(entry.path()) else { continue };
            if found.is_file() && found.nlink() == 0 && found.dev() == device && seen.insert(found.ino()) {
                bytes += found.blocks() * BLOCK;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _};

    use super::*;

    #[test]
    fn files_count_once_however_often_they_are_linked_and_what_links_lead_to_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("big"), vec![1; 8 << 20]).unwrap();
        fs::write(tree.join("a/b/file"), vec![1; 1 << 20]).unwrap();
        for name in ["one", "two"] {
            fs::hard_link(tree.join("a/b/file"), tree.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        let usage = of_tree(&tree, |_| false).unwrap();
        assert_eq!((usage.files, usage.too_deep), (6, false));
        assert!((1 << 20..2 << 20).contains(&usage.bytes), "{usage:?}");
        assert!(of_tree(&tree, |usage| usage.files >= 3).unwrap().files == 3, "not longer than needed");
        assert!(of_tree(&tree.join("a/link"), |_| false).is_err(), "nor is the root a link");
    }

    #[test]
    fn a_removed_file_counts_for_as_long_as_it_is_held() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("file")).unwrap();
        file.write_all(&vec![1; 4 << 20]).unwrap();
        file.sync_all().unwrap();
        let own = [i32::try_from(std::process::id()).unwrap()];
        let before = of_removed(&own, dir.path());
        fs::remove_file(dir.path().join("file")).unwrap();
        assert!(of_removed(&own, dir.path()) >= before + (4 << 20));
    }
}
