//! What is remembered of each session: the highest fence that ever acted on it, and the one that destroyed it.
//! One small file a session, `<root>/.fences/<session id>`, which outlives the sandbox.
//!
//! It is locked (flock: a server that dies lets go) for moments only: a paused server that holds it holds up
//! whoever comes next. So the lock covers what must not come after a newer worker's beginning, and no more: the
//! making of a sandbox, the start of a process, a round of signals, the moving away of files. It is not
//! synced: a power cut that takes a fence also ends every worker of this host that could come too late.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use alpine_api::SessionId;

use super::{flock::Held, io as failed, layout::Sandbox};
use crate::sandbox::ProviderError;

const DIRECTORY: &str = ".fences";
/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Make,
    Run,
    Stop,
    Destroy,
}

/// Both 0 at first: the ledger's fences begin at 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Memory {
    highest: i64,
    destroyed: i64,
}

impl Memory {
    fn read(mut file: &File) -> io::Result<Self> {
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut numbers = text.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(highest)), Some(Ok(destroyed))) => Ok(Self { highest, destroyed }),
            _ => Ok(Self::default()),
        }
    }

    /// Of one length always, so that one write replaces all of it.
    fn write(self, file: &File) -> io::Result<()> {
        file.write_all_at(format!("{:020} {:020}\n", self.highest, self.destroyed).as_bytes(), 0)
    }

    fn after(self, fence: i64, act: Act) -> Result<Self, ProviderError> {
        match act {
            _ if fence < self.highest => Err(ProviderError::Fenced),
            Act::Make if fence <= self.destroyed => Err(ProviderError::Fenced),
            Act::Run if fence <= self.destroyed => Err(ProviderError::Gone),
            Act::Make | Act::Run | Act::Stop => Ok(Self { highest: fence, ..self }),
            Act::Destroy => Ok(Self { highest: fence, destroyed: fence }),
        }
    }
}

/// The fence under which a worker acts on a session.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    file: PathBuf,
    value: i64,
}

impl Fence {
    pub fn of(sandbox: &Sandbox, value: i64) -> Self {
        Self { file: file(sandbox), value }
    }

    pub const fn value(&self) -> i64 {
        self.value
    }

    /// Refuses what comes too late; from then on everything under a lower fence comes too late. As long as the
    /// answer lives nobody else begins anything with the session. Blocks.
    pub fn hold(&self, act: Act) -> Result<Held, ProviderError> {
        let held = open_locked(&self.file).map_err(failed("locking the session's fence"))?;
        let before = Memory::read(&held).map_err(failed("reading the session's fence"))?;
        let after = before.after(self.value, act)?;
        if after != before {
            after.write(&held).map_err(failed("raising the session's fence"))?;
        }
        Ok(held)
    }
}

fn file(sandbox: &Sandbox) -> PathBuf {
    sandbox.dir.with_file_name(DIRECTORY).join(sandbox.dir.file_name().unwrap_or_default())
}

pub(super) fn prepare(root: &Path) -> io::Result<()> {
    super::layout::make_dir(&root.join(DIRECTORY), 0o700)
}

/// For a list: read without the lock.
pub(super) fn highest(sandbox: &Sandbox) -> i64 {
    File::open(file(sandbox)).and_then(|file| Memory::read(&file)).unwrap_or_default().highest
}

fn open_locked(path: &Path) -> io::Result<Held> {
    loop {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        let held = Held::lock(file)?;
        // While it was waited for it may have been forgotten.
        if is_at(&held, path)? {
            return Ok(held);
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        found => Ok(found?.ino() == file.metadata()?.ino()),
    }
}

/// Removes what is older than `age` and of none of these sessions.
pub(super) fn forget(root: &Path, there: &BTreeSet<SessionId>, age: Duration) -> io::Result<()> {
    for entry in fs::read_dir(root.join(DIRECTORY))? {
        let path = entry?.path();
        let session = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        if session.is_some_and(|session| !there.contains(&session)) && is_older(&path, age) {
            // Whoever holds it is about to raise it.
            if let Some(held) = Held::try_lock(File::open(&path)?)
                && is_at(&held, &path)?
                && is_older(&path, age)
            {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed > age))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn sandbox(root: &tempfile::TempDir) -> (SessionId, Sandbox) {
        prepare(root.path()).unwrap();
        let session = SessionId::generate();
        (session, Sandbox::of(root.path(), session))
    }

    #[test]
    fn a_fence_only_grows_and_an_equal_one_may_go_on() {
        let root = tempfile::tempdir().unwrap();
        let (_, sandbox) = sandbox(&root);
        for act in [Act::Make, Act::Run, Act::Stop, Act::Run] {
            Fence::of(&sandbox, 5).hold(act).unwrap();
        }
        for act in [Act::Make, Act::Run, Act::Stop, Act::Destroy] {
            assert!(matches!(Fence::of(&sandbox, 4).hold(act), Err(ProviderError::Fenced)), "{act:?}");
        }
        Fence::of(&sandbox, i64::MAX).hold(Act::Stop).unwrap();
        assert_eq!(highest(&sandbox), i64::MAX);
    }

    #[test]
    fn nothing_is_made_under_the_fence_that_destroyed() {
        let root = tempfile::tempdir().unwrap();
        let (_, sandbox) = sandbox(&root);
        Fence::of(&sandbox, 5).hold(Act::Destroy).unwrap();
        assert!(matches!(Fence::of(&sandbox, 5).hold(Act::Make), Err(ProviderError::Fenced)));
        assert!(matches!(Fence::of(&sandbox, 5).hold(Act::Run), Err(ProviderError::Gone)));
        Fence::of(&sandbox, 5).hold(Act::Destroy).unwrap();
        Fence::of(&sandbox, 6).hold(Act::Make).unwrap();
    }

    #[test]
    fn what_is_old_and_of_no_sandbox_is_forgotten_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let [(gone, a), (there, b)] = [sandbox(&root), sandbox(&root)];
        for sandbox in [&a, &b] {
            Fence::of(sandbox, 5).hold(Act::Destroy).unwrap();
        }
        let present = BTreeSet::from([there]);
        forget(root.path(), &present, Duration::from_secs(60)).unwrap();
        assert_eq!((highest(&a), highest(&b)), (5, 5), "{gone} is not old");
        let held = Fence::of(&a, 6).hold(Act::Stop).unwrap();
        forget(root.path(), &present, Duration::ZERO).unwrap();
        assert_eq!((highest(&a), highest(&b)), (6, 5), "one is in use, the other has a sandbox");
        drop(held);
        forget(root.path(), &present, Duration::ZERO).unwrap();
        assert_eq!((highest(&a), highest(&b)), (0, 5));
    }

    #[test]
    fn a_memory_forgotten_while_it_was_waited_for_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let (_, sandbox) = sandbox(&root);
        let held = Fence::of(&sandbox, 5).hold(Act::Stop).unwrap();
        thread::scope(|scope| {
            let next = scope.spawn(|| Fence::of(&sandbox, 6).hold(Act::Run).map(drop));
            thread::sleep(Duration::from_millis(50));
            fs::remove_file(file(&sandbox)).unwrap();
            drop(held);
            next.join().unwrap().unwrap();
        });
        assert_eq!(highest(&sandbox), 6);
    }
}
