//! One control group a session, where the machine lets us: memory, processes and CPU of all that a session
//! runs, commands and served program and whatever they fork. A group is the session's by its name, so it is
//! found again by any server of the host.
//!
//! Both versions are known. The group's parent is at the top of each hierarchy and not below the server's own
//! group: sessions outlive a server, and the next one may be elsewhere.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{
    settings::{Limits, STANDARD_PATH},
    walls::Kind,
};

/// With which `ENTER` ends where a group cannot be entered.
pub(super) const NOT_ENTERED: i32 = 125;
/// Enters the groups whose `cgroup.procs` come before `--`, and becomes what comes after it.
pub(super) const ENTER: &str = r#"while [ "$1" != -- ]; do echo 0 >"$1" || exit 125; shift; done; shift; exec "$@""#;
/// Of 1024, for all sessions together: what niceness 19 weighs.
const SHARES: &str = "15";
const WEIGHT: &str = "1";
const PERIOD: u64 = 100_000;
/// How long a killed process may take to leave its group.
const LEAVING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

#[derive(Debug, Clone)]
struct Controller {
    kind: Kind,
    version: Version,
    /// Of the sessions' groups.
    parent: PathBuf,
}

#[derive(Debug, Clone)]
pub(super) struct Cgroups {
    controllers: Vec<Controller>,
}

/// Where a controller is, by /proc/self/mounts.
pub(super) fn find(mounts: &str, kind: Kind, available: impl Fn(&Path) -> String) -> Option<(Version, PathBuf)> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|fields| fields.len() > 3);
    let mut second = None;
    for fields in fields {
        let at = PathBuf::from(fields[1]);
        match fields[2] {
            "cgroup" if fields[3].split(',').any(|option| option == kind.name()) => return Some((Version::One, at)),
            "cgroup2" if available(&at).split_ascii_whitespace().any(|name| name == kind.name()) => second = Some((Version::Two, at)),
            _ => {}
        }
    }
    second
}

/// For all that is below this group, relative to the top of its hierarchy: against everything else it weighs next to nothing.
pub(super) fn yielding(parent: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = find(&mounts, Kind::Cpu, |at| fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default());
    let (version, top) = found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such controller"))?;
    Controller { kind: Kind::Cpu, version, parent: top.join(parent) }.prepare(&top, parent)
}

/// A limit of each kind, to see whether it can be set.
const TRIED: Limits = Limits { cpu_millis: Some(1000), ..Limits::STANDARD };

impl Cgroups {
    /// What works here. A warning names what does not and is wanted by these limits; others may come with a session's size.
    pub fn discover(wanted: &[Limits], parent: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut found = Self { controllers: Vec::new() };
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let mounted = find(&mounts, kind, |at| fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default());
            let tried = mounted.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such controller")).and_then(|(version, at)| {
                let controller = Controller { kind, version, parent: at.join(parent) };
                controller.prepare(&at, parent)?;
                Self { controllers: vec![controller.clone()] }.try_out().map(|()| controller)
            });
            match tried {
                Ok(controller) => found.controllers.push(controller),
                Err(error) if wanted.iter().any(|limits| limits.bound(kind)) => missing.push(format!("{} ({error})", kind.name())),
                Err(_) => {}
            }
        }
        if !missing.is_empty() {
            tracing::warn!(
                missing = missing.join(", "),
                "no control groups for these: a session's memory is not limited, processes by user only"
            );
        }
        found
    }

    pub fn limits(&self, kind: Kind) -> bool {
        self.controllers.iter().any(|controller| controller.kind == kind)
    }

    fn try_out(&self) -> io::Result<()> {
        let session = SessionId::generate();
        let entered = self.make(session, &TRIED).and_then(|groups| {
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", ENTER, "sh"]).args(groups).args(["--", "true"]).env_clear().env("PATH", STANDARD_PATH);
            let output = shell.stdin(Stdio::null()).output()?;
            if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
        });
        entered.and(self.remove(session))
    }

    /// Makes the session's groups, or finds them; the files through which a process enters them.
    pub fn make(&self, session: SessionId, limits: &Limits) -> io::Result<Vec<PathBuf>> {
        let mut entries: Vec<PathBuf> = Vec::new();
        for controller in self.controllers.iter().filter(|controller| limits.bound(controller.kind)) {
            let group = controller.group(session);
            make_dir(&group)?;
            controller.limit(&group, limits)?;
            entries.push(group.join("cgroup.procs"));
        }
        entries.sort();
        entries.dedup();
        Ok(entries)
    }

    /// Its processes have ended before, but may need a moment to leave.
    pub fn remove(&self, session: SessionId) -> io::Result<()> {
        let deadline = Instant::now() + LEAVING;
        for controller in &self.controllers {
            loop {
                match fs::remove_dir(controller.group(session)) {
                    Err(error) if error.kind() == ErrorKind::NotFound => break,
                    Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => thread::sleep(PAUSE),
                    removed => break removed?,
                }
            }
        }
        Ok(())
    }

    pub fn is_there(&self, session: SessionId) -> bool {
        self.controllers.iter().any(|controller| controller.group(session).is_dir())
    }

    /// All of the session's processes, if it has a group and that can be read now.
    pub fn processes(&self, session: SessionId) -> Option<Vec<i32>> {
        let groups = self.controllers.iter().map(|controller| controller.group(session).join("cgroup.procs"));
        let lists = groups.map(fs::read_to_string).find(|list| !list.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound));
        // The first version's lists can name one twice.
        let pids: BTreeSet<i32> = lists?.ok()?.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect();
        Some(pids.into_iter().collect())
    }

    /// Lets no process begin any more, and kills those there are. What it cannot reach others have to.
    pub fn kill(&self, session: SessionId) {
        for controller in &self.controllers {
            let group = controller.group(session);
            if controller.kind == Kind::Pids {
                let _ = write(&group, "pids.max", "0");
            }
        }
        let deadline = Instant::now() + LEAVING;
        while let Some(processes) = self.processes(session).filter(|processes| !processes.is_empty() && Instant::now() < deadline) {
            processes.into_iter().for_each(|pid| kill(pid, session));
            thread::sleep(PAUSE);
        }
    }

    /// Processes and threads there are, and how often one more was refused.
    pub fn processes_used(&self, session: SessionId) -> Option<(u64, u64)> {
        let group = self.of(Kind::Pids)?.group(session);
        let current = fs::read_to_string(group.join("pids.current")).ok()?.trim().parse().ok()?;
        Some((current, counter(&group, "pids.events", "max").unwrap_or_default()))
    }

    /// How often a process was killed for want of memory.
    pub fn memory_kills(&self, session: SessionId) -> Option<u64> {
        let controller = self.of(Kind::Memory)?;
        let file = if controller.version == Version::One { "memory.oom_control" } else { "memory.events" };
        counter(&controller.group(session), file, "oom_kill")
    }

    fn of(&self, kind: Kind) -> Option<&Controller> {
        self.controllers.iter().find(|controller| controller.kind == kind)
    }
}

impl Controller {
    fn group(&self, session: SessionId) -> PathBuf {
        self.parent.join(session.to_string())
    }

    fn prepare(&self, top: &Path, parent: &Path) -> io::Result<()> {
        let mut level = top.to_owned();
        for part in parent.iter() {
            if self.version == Version::Two {
                write(&level, "cgroup.subtree_control", &format!("+{}", self.kind.name()))?;
            }
            level.push(part);
            make_dir(&level)?;
        }
        match (self.version, self.kind) {
            (Version::One, Kind::Cpu) => write(&level, "cpu.shares", SHARES),
            (Version::One, _) => Ok(()),
            (Version::Two, kind) => {
                write(&level, "cgroup.subtree_control", &format!("+{}", kind.name()))?;
                if kind == Kind::Cpu { write(&level, "cpu.weight", WEIGHT) } else { Ok(()) }
            }
        }
    }

    fn limit(&self, group: &Path, limits: &Limits) -> io::Result<()> {
        match (self.kind, self.version) {
            (Kind::Pids, _) => write(group, "pids.max", &limits.processes.to_string()),
            (Kind::Memory, Version::One) => {
                // Never above the second limit, which not every kernel has: once before and once after.
                let bytes = limits.memory.to_string();
                let _ = write(group, "memory.memsw.limit_in_bytes", &bytes);
                in_use(write(group, "memory.limit_in_bytes", &bytes))?;
                let _ = write(group, "memory.memsw.limit_in_bytes", &bytes);
                Ok(())
            }
            (Kind::Memory, Version::Two) => {
                let _ = write(group, "memory.swap.max", "0");
                // One greedy command is not to take the served program with it.
                let _ = write(group, "memory.oom.group", "0");
                write(group, "memory.max", &limits.memory.to_string())
            }
            (Kind::Cpu, version) => {
                let quota = u64::from(limits.cpu_millis.unwrap_or_default()) * PERIOD / 1000;
                match version {
                    Version::One => {
                        write(group, "cpu.cfs_period_us", &PERIOD.to_string())?;
                        write(group, "cpu.cfs_quota_us", &quota.to_string())
                    }
                    Version::Two => write(group, "cpu.max", &format!("{quota} {PERIOD}")),
                }
            }
        }
    }
}

/// A limit that was lowered below what a session already has stays as it was for that session.
fn in_use(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == ErrorKind::ResourceBusy { Ok(()) } else { Err(error) })
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path).or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn write(group: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(group.join(file), value).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", group.join(file).display())))
}

pub(super) fn counter(group: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// With the descriptor held the pid is of the process whose group is read, or the signal goes nowhere.
fn kill(pid: i32, session: SessionId) {
    let descriptor = Pid::from_raw(pid).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if let Some(descriptor) = descriptor
        && groups.lines().any(|line| line.ends_with(&format!("/{session}")))
    {
        let _ = rustix::process::pidfd_send_signal(descriptor, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: 1 << 30, processes: 77, cpu_millis: Some(1500), ..Limits::STANDARD };

    fn two(parent: &Path) -> Cgroups {
        let controllers = [Kind::Memory, Kind::Pids, Kind::Cpu]
            .map(|kind| Controller { kind, version: Version::Two, parent: parent.to_owned() })
            .to_vec();
        Cgroups { controllers }
    }

    #[test]
    fn a_controller_of_the_first_version_comes_before_one_of_the_second() {
        let mounts =
            "cgroup2 /two cgroup2 rw 0 0\ncgroup /one/mem cgroup rw,relatime,memory 0 0\ncgroup /one/cpu cgroup rw,cpu,cpuacct 0 0\n";
        let all = |_: &Path| "cpu memory pids".to_owned();
        assert_eq!(find(mounts, Kind::Memory, all), Some((Version::One, "/one/mem".into())));
        assert_eq!(find(mounts, Kind::Cpu, all), Some((Version::One, "/one/cpu".into())));
        assert_eq!(find(mounts, Kind::Pids, all), Some((Version::Two, "/two".into())));
        assert_eq!(find(mounts, Kind::Pids, |_| "hugetlb".to_owned()), None);
    }

    #[test]
    fn the_second_versions_files_get_what_the_kernel_takes() {
        // No kernel here has these controllers in version two: the files alone.
        let dir = tempfile::tempdir().unwrap();
        let (groups, session) = (two(dir.path()), SessionId::generate());
        let entries = groups.make(session, &LIMITS).unwrap();
        let group = dir.path().join(session.to_string());
        assert_eq!(entries, [group.join("cgroup.procs")], "one group for all");
        for (file, value) in [("memory.max", "1073741824"), ("memory.swap.max", "0"), ("pids.max", "77"), ("cpu.max", "150000 100000")] {
            assert_eq!(fs::read_to_string(group.join(file)).unwrap(), value, "{file}");
        }
        fs::write(group.join("memory.events"), "low 0\noom 4\noom_kill 3\noom_group_kill 0\n").unwrap();
        fs::write(group.join("pids.current"), "12\n").unwrap();
        fs::write(group.join("pids.events"), "max 9\n").unwrap();
        assert_eq!(groups.memory_kills(session), Some(3));
        assert_eq!(groups.processes_used(session), Some((12, 9)));
    }
}
