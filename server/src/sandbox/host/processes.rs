//! The host's processes, and which of them belong to a session, read from /proc. No memory of our own is
//! needed, so a server that just started knows as much as one that has been running.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use super::marks::Marks;

/// As whom a container is kept alive: no session's user.
pub(super) const KEEPER: u32 = 65_534;
/// How long all that is in the middle of an `execve` is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a process's flags.
const KERNEL_THREAD: u64 = 0x0020_0000;
const EXITING: u64 = 0x0000_0004;

/// A process that a reused pid cannot be mistaken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Started {
    pub pid: i32,
    /// In clock ticks since the boot: field 22 of /proc/pid/stat.
    pub start: u64,
}

impl Started {
    pub fn find(pid: i32) -> io::Result<Option<Self>> {
        Ok(Process::read(pid)?.map(|process| process.id))
    }

    /// The first process of a container of ours; `None` of anything else.
    pub fn find_keeper(pid: i32) -> io::Result<Option<Self>> {
        Ok(Process::read(pid)?.filter(|process| process.init && process.uid == KEEPER).map(|process| process.id))
    }

    /// What cannot be read (too many open files, say) is not dead for that. What is on its way out is: it runs none of its program
    /// again, and has no environment by which a session's processes could be told.
    pub fn alive(self) -> io::Result<bool> {
        Ok(Process::read(self.pid)?.is_some_and(|process| process.id == self && !process.exiting))
    }

    pub fn signal(self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // With the descriptor held the pid cannot be reused between the check and the signal.
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) if matches!(self.alive(), Ok(true)) => {
                let _ = rustix::process::pidfd_send_signal(descriptor, signal);
            }
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if matches!(self.alive(), Ok(true)) => {
                let _ = rustix::process::kill_process(pid, signal);
            }
            _ => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub id: Started,
    parent: i32,
    /// Its process session (setsid), not ours.
    sid: i32,
    uid: u32,
    pub threads: u64,
    /// In a pid namespace below ours, it is that namespace's first.
    pub init: bool,
    /// Bubblewrap's own: the first process of a sandbox and the one that waits for it. They end by
    /// themselves once what they hold has ended.
    pub keeper: bool,
    /// Its first thread, which /proc shows as it.
    first_ended: bool,
    /// A thread of the kernel's.
    kernel: bool,
    /// The last of its threads is between its end and being a zombie. On a busy machine that takes a while; the first process of a
    /// namespace waits there for all the others.
    exiting: bool,
}

impl Process {
    /// `None` for one that is gone or a zombie.
    pub fn read(pid: i32) -> io::Result<Option<Self>> {
        let read = |what: &str| match fs::read(format!("/proc/{pid}/{what}")) {
            Err(error) if is_gone(&error) => Ok(None),
            read => read.map(Some),
        };
        let (Some(stat), Some(status)) = (read("stat")?, read("status")?) else { return Ok(None) };
        // Its name need not be UTF-8.
        Ok(Self::parse(pid, &String::from_utf8_lossy(&stat), &String::from_utf8_lossy(&status)))
    }

    fn parse(pid: i32, stat: &str, status: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything.
        let (name, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_ascii_whitespace);
        let namespaces: Vec<&str> = line("NSpid:").map(Iterator::collect).unwrap_or_default();
        let (flags, threads) = (fields.get(6)?.parse::<u64>().ok()?, fields.get(17)?.parse().ok()?);
        // Its first thread may have ended, and others run on.
        let first_ended = matches!(*fields.first()?, "Z" | "X" | "x");
        if first_ended && threads <= 1 {
            return None;
        }
        Some(Self {
            id: Started { pid, start: fields.get(19)?.parse().ok()? },
            parent: fields.get(1)?.parse().ok()?,
            sid: fields.get(3)?.parse().ok()?,
            threads,
            uid: line("Uid:")?.next()?.parse().ok()?,
            init: namespaces.len() > 1 && namespaces.last() == Some(&"1"),
            keeper: name.ends_with("(bwrap"),
            first_ended,
            kernel: flags & KERNEL_THREAD != 0,
            exiting: flags & EXITING != 0 && threads <= 1,
        })
    }

    /// Nothing of a program's: no environment either.
    pub const fn has_no_memory(&self) -> bool {
        self.kernel || self.exiting
    }

    /// Where /proc shows its memory: of a thread that has not ended.
    pub fn living(&self) -> PathBuf {
        let own = PathBuf::from(format!("/proc/{}", self.id.pid));
        let lives = |task: &PathBuf| fs::read_to_string(task.join("stat")).is_ok_and(|stat| !stat.contains(") Z "));
        let task = || fs::read_dir(own.join("task")).ok()?.flatten().map(|entry| entry.path()).find(lives);
        if self.first_ended { task().unwrap_or(own) } else { own }
    }

    /// Only asked of a session's candidates: it is a link to read for each.
    fn namespace(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/pid", self.id.pid)).ok()
    }

    /// Is one of its descriptors one of these sockets (`socket:[inode]`)?
    pub fn holds(&self, sockets: &HashSet<PathBuf>) -> bool {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", self.id.pid)) else { return false };
        descriptors.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| sockets.contains(&target)))
    }
}

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
        let own = std::process::id();
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            if let Some(pid) = pid.filter(|pid| *pid > 1 && u32::try_from(*pid) != Ok(own)) {
                all.extend(Process::read(pid)?);
            }
        }
        let details = all.iter().map(|_| Details::default()).collect();
        Ok(Self { all, details })
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
fn fence_of(run: &str) -> i64 {
    run.split_once('.').and_then(|(fence, _)| fence.parse().ok()).unwrap_or_default()
}

/// Changes with every boot, from which start times are counted.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?.trim().to_owned())
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_not_the_same_process() {
        let own = Started::find(i32::try_from(std::process::id()).unwrap()).unwrap().unwrap();
        assert!(own.alive().unwrap());
        assert!(!Started { start: own.start + 1, ..own }.alive().unwrap());
    }

    #[test]
    fn a_process_whose_name_is_not_text_is_one_all_the_same() {
        // The kernel cuts names after 15 bytes, in the middle of a letter too.
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("fourteen-bytes\u{e9}");
        fs::copy("/bin/sleep", &named).unwrap();
        let mut child = std::process::Command::new(&named).arg("30").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(fs::read_to_string(format!("/proc/{pid}/stat")).is_err(), "the name is text");
        assert!(Started::find(pid).unwrap().is_some());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_is_on_its_way_out_is_told_by_its_flags() {
        let parse = |flags: &str, threads: &str| {
            let stat = format!("7 (a b) S 1 7 7 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 42 0 0");
            Process::parse(7, &stat, "Uid:\t5 5 5 5\nNSpid:\t7\n").unwrap()
        };
        assert!(!parse("4194304", "1").exiting);
        assert!(parse("4194308", "1").exiting);
        assert!(!parse("4194308", "2").exiting, "another of its threads runs on");
        assert!(parse("2097152", "1").kernel);
        assert_eq!(parse("4194304", "1").id, Started { pid: 7, start: 42 });
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let id = Started::find(i32::try_from(child.id()).unwrap()).unwrap().unwrap();
        id.signal(Signal::KILL);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while id.alive().unwrap() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!id.alive().unwrap(), "killed and not yet waited for");
        child.wait().unwrap();
    }
}
