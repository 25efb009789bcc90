//! One process of the host, read from /proc.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use crate::sandbox::HeldSocket;

/// As whom a container is kept alive: no session's user.
pub(super) const KEEPER: u32 = 65_534;
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

    /// The first process of a container of ours; `None` of anything else, and of one on its way out: its network goes with it.
    pub fn find_keeper(pid: i32) -> io::Result<Option<Self>> {
        let is_one = |process: &Process| process.init && process.uid == KEEPER && !process.exiting;
        Ok(Process::read(pid)?.filter(is_one).map(|process| process.id))
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
    pub parent: i32,
    /// Its process session (setsid), not ours.
    pub sid: i32,
    pub uid: u32,
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

    /// Of its first thread. `None`: this kernel does not say.
    pub fn children(pid: i32) -> io::Result<Option<Vec<Self>>> {
        let list = match fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
            Err(error) if is_gone(&error) => return Ok(None),
            list => list?,
        };
        let children = list.split_ascii_whitespace().filter_map(|child| child.parse().ok());
        children.filter_map(|child| Self::read(child).transpose()).collect::<io::Result<_>>().map(Some)
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
    pub fn namespace(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/pid", self.id.pid)).ok()
    }

    /// Those of these sockets (`socket:[inode]`) that are among its descriptors.
    pub fn held(&self, sockets: &HashSet<PathBuf>) -> Vec<HeldSocket> {
        let Started { pid, start } = self.id;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        let held = descriptors.filter_map(|descriptor| {
            let socket = fs::read_link(&descriptor).ok().filter(|target| sockets.contains(target))?;
            Some(HeldSocket { pid, start, descriptor, socket })
        });
        held.collect()
    }
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
        // The kernel names it a moment after it has let go of who began it.
        let begun = std::time::Instant::now();
        while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok() {
            assert!(begun.elapsed().as_secs() < 30, "the name is text");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
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
