//! The one directory that holds everything, and the lock on it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::{account, error::DevError, files};

/// Raised when an older Alpine could no longer use the directory.
const VERSION: u32 = 1;
/// What may be there before the version is: made by `deploy/try.sh`, by `serve`, or by a start that was cut off.
const BEFORE_VERSION: [&str; 6] = ["dev.lock", "tools", "try", "sandboxes", "git-ca-bundle.pem", "lost+found"];

const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// Held for as long as the server runs; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Create or check the directory, and take its lock. `hidden`: below these every sandbox has its own.
    pub fn open(path: &Path, hidden: &[&'static str]) -> Result<Self, DevError> {
        let path = std::path::absolute(path).map_err(DevError::io("cannot resolve", path))?;
        refuse_hidden(&path, hidden)?;
        create(&path)?;
        refuse_foreign(&path)?;
        check_version(&path)?;
        let lock = lock(&path)?;
        set_mode(&path)?;
        // Again, now that nobody else can write it: a newer Alpine may have been first.
        check_version(&path)?;
        files::write_atomic(&path.join("version"), format!("{VERSION}\n").as_bytes(), files::PUBLIC)?;
        Ok(Self { path, _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Before anything is made or fetched: with bubblewrap the provider would refuse it at the end. One that was taken before may have
/// served well without.
fn refuse_hidden(path: &Path, hidden: &[&'static str]) -> Result<(), DevError> {
    if path.join("version").is_file() {
        return Ok(());
    }
    let real = path.ancestors().find_map(|parent| parent.canonicalize().ok()).unwrap_or_default();
    match hidden.iter().find(|below| path.starts_with(below) || real.starts_with(below)) {
        Some(below) => Err(DevError::DataDirHidden { path: path.to_owned(), below }),
        None => Ok(()),
    }
}

fn create(path: &Path) -> Result<(), DevError> {
    // Only the last is closed to others: PostgreSQL's user has to pass the parents that are made here.
    let parents = path.parent().map_or(Ok(()), fs::create_dir_all);
    match parents.and_then(|()| fs::DirBuilder::new().recursive(true).mode(0o700).create(path)) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            let blocking = path.ancestors().find(|p| p.exists()).unwrap_or(path);
            Err(DevError::DataDirNotADirectory { path: blocking.to_owned() })
        }
        Err(source) => Err(DevError::DataDirNotWritable { path: path.to_owned(), source }),
    }
}

/// `ALPINE_DATA_DIR=/etc` must not end with Alpine's files, and Alpine's permissions, on /etc.
fn refuse_foreign(path: &Path) -> Result<(), DevError> {
    if path.join("version").is_file() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|source| DevError::DataDirNotWritable { path: path.to_owned(), source })?;
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned());
    match names.into_iter().find(|name| !BEFORE_VERSION.contains(&name.as_str()) && !is_cut_off_version(name)) {
        Some(example) => Err(DevError::DataDirForeign { path: path.to_owned(), example }),
        None => Ok(()),
    }
}

fn is_cut_off_version(name: &str) -> bool {
    name.starts_with("version.") && name.ends_with(".new")
}

fn check_version(path: &Path) -> Result<(), DevError> {
    let Some(content) = files::read_optional(&path.join("version"))? else { return Ok(()) };
    let found = String::from_utf8_lossy(&content).trim().to_owned();
    match found.parse::<u32>() {
        Ok(version) if version <= VERSION => Ok(()),
        _ => Err(DevError::DataDirNewer { path: path.to_owned(), found, known: VERSION }),
    }
}

/// PostgreSQL's user and the sessions' users pass through when Alpine is root; nobody else sees a name in it.
fn set_mode(path: &Path) -> Result<(), DevError> {
    let wanted = if account::is_root() { 0o711 } else { 0o700 };
    let denied = |source| DevError::DataDirNotWritable { path: path.to_owned(), source };
    if fs::metadata(path).map_err(denied)?.mode() & 0o777 == wanted {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(wanted))
        .map_err(|source| DevError::DataDirNotWritable { path: path.to_owned(), source })
}

fn lock(path: &Path) -> Result<File, DevError> {
    let denied = |source| DevError::DataDirNotWritable { path: path.to_owned(), source };
    let file_path = path.join("dev.lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(file_path).map_err(denied)?;
    // A program that whoever had it has just begun holds it too, until it is that program.
    let patience = Instant::now() + PATIENCE;
    let locked = loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < patience => thread::sleep(PAUSE),
            locked => break locked,
        }
    };
    match locked {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut content = String::new();
            let _ = file.read_to_string(&mut content);
            return Err(DevError::AlreadyRunning { path: path.to_owned(), pid: content.trim().parse().ok() });
        }
        Err(errno) => return Err(DevError::DataDirNotWritable { path: path.to_owned(), source: errno.into() }),
    }
    let note = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(|source| DevError::DataDirNotWritable { path: path.to_owned(), source })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIDDEN: &[&str] = &["/var/tmp"];

    #[test]
    fn a_second_server_on_one_directory_is_told_the_first_ones_pid() {
        let base = tempfile::tempdir().unwrap();
        let first = DataDir::open(base.path(), HIDDEN).unwrap();
        let error = DataDir::open(base.path(), HIDDEN).unwrap_err();
        let pid = std::process::id();
        assert!(error.to_string().contains("another alpine-server dev runs"), "{error}");
        assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");
        assert!(error.next_step().contains(&format!("kill {pid}")), "{}", error.next_step());
        drop(first);
        DataDir::open(base.path(), HIDDEN).unwrap();
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        fs::write(&file, "x").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = DataDir::open(&path, HIDDEN).unwrap_err();
            assert!(matches!(&error, DevError::DataDirNotADirectory { path } if *path == file), "{error:?}");
            assert!(error.next_step().contains("ALPINE_DATA_DIR"));
        }
    }

    #[test]
    fn a_directory_that_sandboxes_hide_is_refused_before_it_is_made() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = base.path().join("data");
        let error = DataDir::open(&path, HIDDEN).unwrap_err();
        assert!(error.to_string().contains("below /var/tmp") && error.next_step().contains("ALPINE_DATA_DIR"), "{error}");
        assert!(!path.exists());
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(base.path(), elsewhere.path().join("link")).unwrap();
        assert!(DataDir::open(&elsewhere.path().join("link/data"), HIDDEN).is_err(), "by another name");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("version"), "1\n").unwrap();
        DataDir::open(&path, HIDDEN).expect("it was taken before");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = DataDir::open(Path::new("/sys/alpine/data"), HIDDEN).unwrap_err();
        assert_eq!(error.to_string(), "the data directory /sys/alpine/data cannot be written");
        assert!(std::error::Error::source(&error).is_some());
        assert!(error.next_step().contains("ALPINE_DATA_DIR"));
    }

    #[test]
    fn parents_that_were_missing_can_be_passed() {
        let base = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(&base.path().join("new/deep/data"), HIDDEN).unwrap();
        for parent in ["new", "new/deep"] {
            assert_eq!(fs::metadata(base.path().join(parent)).unwrap().mode() & 0o100, 0o100);
            assert_ne!(fs::metadata(base.path().join(parent)).unwrap().mode() & 0o077, 0);
        }
        let mode = fs::metadata(data_dir.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, if account::is_root() { 0o711 } else { 0o700 });
    }

    #[test]
    fn somebody_elses_directory_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(base.path().join("thesis.txt"), "x").unwrap();
        let error = DataDir::open(base.path(), HIDDEN).unwrap_err();
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(fs::metadata(base.path()).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_newer_directory_is_refused_and_untouched() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("version"), "2\n").unwrap();
        let error = DataDir::open(base.path(), HIDDEN).unwrap_err();
        assert!(error.to_string().contains("newer Alpine (its version is 2, this one knows 1)"), "{error}");
        assert_eq!(fs::read(base.path().join("version")).unwrap(), b"2\n");
    }
}
