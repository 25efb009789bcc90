//! The host's processes, and which of them belong to a session, read from /proc. No memory of our own is
//! needed, so a server that just started knows as much as one that has been running.

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};

use alpine_api::SessionId;

use super::{
    marks::Marks,
    process::{KEEPER, Process, Started},
};

/// How long all that is in the middle of an `execve` is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose processes are sought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub session: SessionId,
    pub user: User,
    /// All of its processes are in one pid namespace; otherwise each that has one has it for what it has begun.
    pub one_namespace: bool,
}

/// As whom a session's processes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// As the server.
    Servers,
    /// As a user that is the session's alone; bubblewrap's own run as the server.
    Own(u32),
    /// As one of these many, beginning here: nothing is left that says which.
    OneOf(u32, u32),
}

impl User {
    fn may_be(self, uid: u32) -> bool {
        match self {
            Self::Servers => false,
            Self::Own(own) => own == uid,
            Self::OneOf(first, count) => (first..first + count).contains(&uid),
        }
    }
}

/// Which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// All but those that a container keeps itself alive with.
    Guests,
    /// The commands under this fence and lower ones.
    Execs(i64),
    /// One command's.
    Exec(String),
    Served,
}

/// The processes of the host at one moment, without zombies, the first process and this very one.
#[derive(Debug)]
pub(super) struct Table {
    all: Vec<Process>,
    /// Of the same processes in the same order, each read when it is first asked for.
    details: Vec<Details>,
}

#[derive(Debug, Default)]
struct Details {
    marks: OnceLock<Marks>,
    namespace: OnceLock<Option<PathBuf>>,
}

impl Details {
    fn marks(&self, process: &Process, deadline: Instant) -> io::Result<&Marks> {
        match self.marks.get() {
            Some(marks) => Ok(marks),
            None => Marks::read(process, deadline).map(|read| self.marks.get_or_init(|| read)),
        }
    }
}

impl Table {
    pub fn read() -> io::Result<Self> {
        let pids = fs::read_dir("/proc")?.map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())));
        let pids: Vec<Option<i32>> = pids.collect::<io::Result<_>>()?;
        Self::of_these(pids.into_iter().flatten())
    }

    /// No others, and of these those that are there.
    pub fn of_these(pids: impl IntoIterator<Item = i32>) -> io::Result<Self> {
        let own = std::process::id();
        let others = pids.into_iter().filter(|pid| *pid > 1 && u32::try_from(*pid) != Ok(own));
        let all: Vec<Process> = others.filter_map(|pid| Process::read(pid).transpose()).collect::<io::Result<_>>()?;
        let details = all.iter().map(|_| Details::default()).collect();
        Ok(Self { all, details })
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    fn detailed(&self) -> impl Iterator<Item = (&Process, &Details)> {
        self.all.iter().zip(&self.details)
    }

    pub fn children(&self, pid: i32) -> impl Iterator<Item = &Process> {
        self.all.iter().filter(move |process| process.parent == pid)
    }

    /// A session's processes: those that carry its mark, run as its user, or belong to such a one. Waits for those that are in the
    /// middle of an `execve`.
    pub fn of(&self, owner: Owner, which: &Which) -> io::Result<Vec<Process>> {
        self.of_within(PATIENCE, owner, which)
    }

    /// The same, waiting for so long at most, for all of them together.
    pub fn of_within(&self, patience: Duration, owner: Owner, which: &Which) -> io::Result<Vec<Process>> {
        let deadline = Instant::now() + patience;
        let session = owner.session.to_string();
        let server = rustix::process::geteuid().as_raw();
        let whole = matches!(which, Which::All | Which::Guests);
        let mut seeds = Vec::new();
        for (process, details) in self.detailed() {
            // Another session's process may say what it likes: its environment proves nothing.
            if process.uid != server && !owner.user.may_be(process.uid) {
                continue;
            }
            // One that is known by its user may say what it likes as well.
            let certain = owner.user == User::Own(process.uid);
            if certain && whole {
                seeds.push(*process);
                continue;
            }
            let marks = details.marks(process, deadline)?;
            let belongs = (certain || marks.session.as_deref() == Some(session.as_str()))
                && match which {
                    Which::All | Which::Guests => true,
                    Which::Execs(fence) => marks.exec.as_deref().is_some_and(|run| fence_of(run) <= *fence),
                    Which::Exec(run) => marks.exec.as_ref() == Some(run),
                    Which::Served => marks.serve,
                };
            if belongs {
                seeds.push(*process);
            }
        }
        let mut found = self.with_kin(&seeds, whole || !owner.one_namespace);
        if *which == Which::Guests && owner.one_namespace {
            found.retain(|process| process.uid != KEEPER);
        }
        Ok(found)
    }

    /// These, and whoever shares their process session or descends from them, or is in their pid namespace too: a process
    /// can drop its environment, but not its kin.
    pub fn with_kin(&self, seeds: &[Process], by_namespace: bool) -> Vec<Process> {
        if seeds.is_empty() {
            return Vec::new();
        }
        let ours = fs::read_link("/proc/self/ns/pid").ok();
        let namespaces: HashSet<PathBuf> =
            seeds.iter().filter_map(Process::namespace).filter(|namespace| Some(namespace) != ours.as_ref()).collect();
        let shares_namespace = |process: &Process, details: &Details| {
            details.namespace.get_or_init(|| process.namespace()).as_ref().is_some_and(|namespace| namespaces.contains(namespace))
        };
        let mut pids: HashSet<i32> = HashSet::new();
        if by_namespace && !namespaces.is_empty() {
            pids.extend(self.detailed().filter(|(process, details)| shares_namespace(process, details)).map(|(process, _)| process.id.pid));
        }
        pids.extend(seeds.iter().map(|seed| seed.id.pid));
        // Only a session that one of them leads: where there was no `setsid`, theirs is the server's.
        let mut sids: HashSet<i32> = seeds.iter().filter(|seed| seed.sid == seed.id.pid).map(|seed| seed.sid).collect();
        loop {
            let before = pids.len();
            for process in &self.all {
                if pids.contains(&process.id.pid) {
                    continue;
                }
                if pids.contains(&process.parent) || sids.contains(&process.sid) {
                    pids.insert(process.id.pid);
                    if process.sid == process.id.pid {
                        sids.insert(process.sid);
                    }
                }
            }
            if pids.len() == before {
                return self.all.iter().filter(|process| pids.contains(&process.id.pid)).copied().collect();
            }
        }
    }

    pub fn with_user(&self, user: User) -> Vec<Process> {
        self.all.iter().filter(|process| user.may_be(process.uid)).copied().collect()
    }

    pub fn find(&self, id: Started) -> Option<&Process> {
        self.all.iter().find(|process| process.id == id)
    }
}

/// A mark that names none is an older program's or not ours.
pub(super) fn fence_of(run: &str) -> i64 {
    run.split_once('.').and_then(|(fence, _)| fence.parse().ok()).unwrap_or_default()
}
