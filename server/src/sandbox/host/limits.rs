//! What a session may use up, seen to while it runs: a session that takes more than its share of the disk, or
//! stands at its limit of processes or memory without end, is ended, all of it, with a cause.
//!
//! Looking is cheap: a few small files a session and one question to the file system. Only those sessions' trees
//! are measured whose processes have written or kept the kernel busy, or all when the file system has grown, and
//! never for more than a part of the time. Every server that shares a
//! root looks: the verdict is a file, and whoever runs the session's command finds it.

use std::{
    collections::HashMap,
    fmt,
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;

use super::{
    Inner,
    layout::Sandbox,
    processes::Which,
    settings::Limits,
    stop,
    usage::{self, Usage},
    walls::Kind,
};
use crate::sandbox::ProviderError;

const PAUSE: Duration = Duration::from_millis(500);
/// Growth of the file system after which the sessions are measured.
const STEP: u64 = 32 * 1024 * 1024;
const STEP_FILES: u64 = 20_000;
/// A session has grown by so much since it was seen to grow last, or it has not: where the file system puts its own blocks for
/// what was written long ago is not growth.
const GREW: u64 = MB;
const GREW_FILES: u64 = 100;
/// A round of measuring, and how much longer than the last one took the next one waits.
const ROUND: Duration = Duration::from_secs(1);
const REST: u32 = 3;
/// At a limit for a moment, then not, then again is still at it.
const LULL: Duration = Duration::from_secs(2);
/// Nobody knows what was between two looks that are so far apart.
const UNSEEN: Duration = Duration::from_secs(6);
/// Without control groups counting costs more: at every so manieth look.
const COUNT_EVERY: u64 = 4;
/// Ticks (hundredths of a second) in the kernel in which a session can have made a number of files worth counting.
const STEP_TICKS: u64 = 25;
/// Who shows no sign of life is measured this often all the same.
const AT_LEAST: Duration = Duration::from_secs(60);
const MB: u64 = 1024 * 1024;

/// Why a session was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Disk(u64),
    Files(u64),
    Depth,
    Reserve(u64),
    Processes(u64, Duration),
    Memory(u64, Duration),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session was ended: ")?;
        match self {
            Self::Disk(bytes) => write!(f, "it reached its disk limit of {} MB", bytes / MB),
            Self::Files(files) => write!(f, "it reached its limit of {files} files"),
            Self::Depth => write!(f, "it nested folders deeper than {}", usage::DEEPEST),
            Self::Reserve(bytes) => write!(f, "the host's disk has less than {} MB left, and this session grew most", bytes / MB),
            Self::Processes(limit, time) => write!(f, "it stood at its limit of {limit} processes for {} s", time.as_secs()),
            Self::Memory(bytes, time) => write!(f, "it ran into its memory limit of {} MB for {} s", bytes / MB, time.as_secs()),
        }
    }
}

/// What a command that lost a process to the limit is told.
pub(super) fn out_of_memory(limits: &Limits) -> ProviderError {
    let what = format!("the command was killed: the session's memory limit of {} MB was reached", limits.memory / MB);
    ProviderError::Permanent { what, source: None }
}

/// Of a session without its served program. The kernel counts whatever it kills, not for which limit.
pub(super) fn starved(limits: &Limits) -> String {
    let limit = limits.memory / MB;
    format!(
        "what served it has ended, and since it began the kernel killed a process of the session for want of memory: its memory limit is {limit} MB"
    )
}

pub(super) fn ended(why: String) -> ProviderError {
    ProviderError::Permanent { what: why, source: None }
}

/// What it holds of the disk now, and whether that is too much.
pub(super) fn measure(inner: &Inner, session: SessionId, sandbox: &Sandbox) -> Result<(Usage, Option<Excess>), ProviderError> {
    let limits = inner.limits_of(session);
    let over = |usage: &Usage| {
        let reached = |used: u64, limit: u64| limit > 0 && used >= limit;
        if reached(usage.bytes, limits.disk) {
            Some(Excess::Disk(limits.disk))
        } else if reached(usage.files, limits.files) {
            Some(Excess::Files(limits.files))
        } else {
            (usage.too_deep && limits.disk + limits.files > 0).then_some(Excess::Depth)
        }
    };
    let failed = |error| super::io(format!("measuring {}", sandbox.dir.display()))(error);
    let mut usage = usage::of_tree(&sandbox.dir, |usage| over(usage).is_some()).map_err(failed)?;
    let pids = match inner.walls.processes(session) {
        Some(pids) => pids,
        None => inner.processes(inner.owner(session)?, &Which::All)?.iter().map(|process| process.id.pid).collect(),
    };
    usage.bytes += usage::of_removed(&pids, &sandbox.dir);
    Ok((usage, over(&usage)))
}

/// Everything that runs in it is killed, and nothing begins in it any more.
pub(super) fn end(inner: &Inner, session: SessionId, sandbox: &Sandbox, excess: Excess) {
    tracing::warn!(%session, %excess, "a session is ended");
    inner.verdict(session, sandbox, &excess.to_string());
    kill(inner, session);
}

fn kill(inner: &Inner, session: SessionId) {
    inner.walls.kill(session);
    let ended = inner.owner(session).and_then(|owner| stop::end(&inner.tables, owner, &Which::All));
    if let Err(error) = ended {
        tracing::warn!(%session, %error, "what is left of a session that was ended still runs");
    }
}

pub(super) fn watch(inner: Weak<Inner>) -> std::io::Result<()> {
    let watching = move || {
        let mut watch = Watch::default();
        loop {
            thread::sleep(PAUSE);
            let Some(inner) = inner.upgrade() else { return };
            watch.look(&inner);
        }
    };
    thread::Builder::new().name("session-limits".to_owned()).spawn(watching).map(drop)
}

/// What earlier looks have seen.
#[derive(Debug, Default)]
struct Watch {
    looks: u64,
    sessions: HashMap<SessionId, Seen>,
    /// Of the file system, when the sessions were measured last.
    used: Option<(u64, u64)>,
    rest_until: Option<Instant>,
    /// Free space when a session was ended for want of it.
    ended_at: Option<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    limits: Option<Limits>,
    refused: Option<u64>,
    kills: Option<u64>,
    processes: Pressure,
    memory: Pressure,
    usage: Option<Usage>,
    /// What it held when it was seen to grow last.
    base: Option<Usage>,
    grew: bool,
    measured: Option<Instant>,
    /// Its processes' when it was measured last.
    activity: Activity,
}

#[derive(Debug, Default)]
struct Pressure {
    since: Option<Instant>,
    last: Option<Instant>,
}

impl Pressure {
    /// For how long it has lasted.
    fn feel(&mut self, pressed: bool, now: Instant) -> Duration {
        if pressed {
            if self.last.replace(now).is_some_and(|last| now - last > UNSEEN) {
                self.since = None;
            }
            return now - *self.since.get_or_insert(now);
        }
        if self.last.is_none_or(|last| now - last > LULL) {
            *self = Self::default();
        }
        Duration::ZERO
    }
}

impl Seen {
    fn may_have_grown(&self, inner: &Inner, session: SessionId, step: u64, now: Instant) -> bool {
        let activity = Activity::of(inner, session);
        activity.written.abs_diff(self.activity.written) >= step
            || activity.ticks.abs_diff(self.activity.ticks) >= STEP_TICKS
            || self.measured.is_none_or(|measured| now - measured > AT_LEAST)
    }
}

/// Of all processes of a session together, those included that have ended and were waited for. It falls when a
/// command is over: any difference is a sign of life.
#[derive(Debug, Clone, Copy, Default)]
struct Activity {
    /// Bytes, to any disk.
    written: u64,
    /// In the kernel.
    ticks: u64,
}

impl Activity {
    fn of(inner: &Inner, session: SessionId) -> Self {
        let mut sum = Self::default();
        for pid in inner.walls.processes(session).unwrap_or_default() {
            let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            let (io, stat) = (read("io"), read("stat"));
            let (io, stat) = (String::from_utf8_lossy(&io), String::from_utf8_lossy(&stat));
            let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse::<u64>().ok());
            sum.written += written.unwrap_or_default();
            // After the name: stime and cstime are fields 15 and 17.
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace().collect::<Vec<_>>()).unwrap_or_default();
            let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or_default();
            sum.ticks += ticks(12) + ticks(14);
        }
        sum
    }
}

impl Watch {
    fn look(&mut self, inner: &Inner) {
        self.looks += 1;
        let Ok(sessions) = inner.slots.sessions() else { return };
        self.sessions.retain(|session, _| sessions.contains(session));
        for session in &sessions {
            let sandbox = Sandbox::of(&inner.root, *session);
            if inner.ended(*session, &sandbox).is_some() {
                let some_left = inner.walls.processes(*session).is_none_or(|left| !left.is_empty());
                if some_left && self.looks.is_multiple_of(COUNT_EVERY) {
                    kill(inner, *session);
                }
                continue;
            }
            // A program that writes without end fills its log between two looks of anybody else.
            let _ = sandbox.trim_log();
            if let Some(excess) = self.pressure(inner, *session) {
                end(inner, *session, &sandbox, excess);
            }
        }
        self.disk(inner, sessions);
    }

    fn pressure(&mut self, inner: &Inner, session: SessionId) -> Option<Excess> {
        let now = Instant::now();
        let counts = inner.users && !inner.walls.limits(Kind::Pids) && self.looks.is_multiple_of(COUNT_EVERY);
        let seen = self.sessions.entry(session).or_default();
        // Once it can be read: it does not change.
        seen.limits = seen.limits.or_else(|| inner.own_limits(session));
        let limits = seen.limits.unwrap_or(inner.limits);
        // A look that does not count says nothing, and no lull either.
        let at_limit = match inner.walls.processes_used(session) {
            Some((current, refused)) => {
                let more = seen.refused.replace(refused).is_some_and(|before| refused > before);
                Some(more || (limits.processes > 0 && current >= limits.processes))
            }
            None => counts.then(|| limits.processes > 0 && threads_of(inner, session) + SPARE >= limits.processes),
        };
        let lasted = at_limit.map_or(Duration::ZERO, |at_limit| seen.processes.feel(at_limit, now));
        if lasted >= limits.patience {
            return Some(Excess::Processes(limits.processes, limits.patience));
        }
        let kills = inner.walls.memory_kills(session);
        let more = limits.memory > 0 && kills > seen.kills && seen.kills.is_some();
        seen.kills = kills.or(seen.kills);
        (seen.memory.feel(more, now) >= limits.patience).then_some(Excess::Memory(limits.memory, limits.patience))
    }

    fn disk(&mut self, inner: &Inner, mut sessions: Vec<SessionId>) {
        let limits = inner.limits;
        let disks = sessions.iter().filter_map(|session| self.sessions.get(session)?.limits).map(|limits| limits.disk);
        let disk = disks.chain([limits.disk]).filter(|disk| *disk > 0).min().unwrap_or_default();
        let Ok(found) = rustix::fs::statvfs(&inner.root) else { return };
        let used = (found.f_blocks.saturating_sub(found.f_bfree) * found.f_frsize, found.f_files.saturating_sub(found.f_ffree));
        let free = found.f_bavail * found.f_frsize;
        let short = limits.disk_reserve > 0 && free < limits.disk_reserve;
        let before = self.used.get_or_insert(used);
        *before = (before.0.min(used.0), before.1.min(used.1));
        let step = if disk > 0 { STEP.min(disk / 8) } else { STEP };
        let step_files = if limits.files > 0 { STEP_FILES.min(limits.files / 8) } else { STEP_FILES };
        let bounded = disk + limits.files > 0;
        let grown = bounded && (used.0 - before.0 >= step || used.1 - before.1 >= step_files);
        let now = Instant::now();
        // No rest while the machine runs out of room.
        if !short && (!bounded || self.rest_until.is_some_and(|until| now < until)) {
            return;
        }
        if !(grown || short) {
            sessions.retain(|session| self.sessions.get(session).is_none_or(|seen| seen.may_have_grown(inner, *session, step, now)));
        }
        // Who grew when last seen comes first, and who was never seen; then whoever was not for longest.
        sessions.sort_by_key(|session| {
            let seen = self.sessions.get(session);
            (!seen.is_none_or(|seen| seen.grew || seen.measured.is_none()), seen.and_then(|seen| seen.measured))
        });
        if self.measure(inner, &sessions, now) && (grown || short) {
            self.used = Some(used);
        }
        self.rest_until = Some(Instant::now() + now.elapsed() * REST);
        if short {
            self.make_room(inner, free);
        } else {
            self.ended_at = None;
        }
    }

    /// Were all of them?
    fn measure(&mut self, inner: &Inner, sessions: &[SessionId], begun: Instant) -> bool {
        for session in sessions {
            if begun.elapsed() > ROUND {
                return false;
            }
            let sandbox = Sandbox::of(&inner.root, *session);
            if inner.ended(*session, &sandbox).is_some() {
                self.sessions.remove(session);
                continue;
            }
            let activity = Activity::of(inner, *session);
            // One that is being made or removed just now is not there.
            let Ok((usage, over)) = measure(inner, *session, &sandbox) else { continue };
            let seen = self.sessions.entry(*session).or_default();
            seen.activity = activity;
            // Who is seen for the first time, after a restart say, has not been seen to grow.
            let base = seen.base.get_or_insert(usage);
            seen.grew = usage.bytes >= base.bytes + GREW || usage.files >= base.files + GREW_FILES;
            if seen.grew || usage.bytes < base.bytes || usage.files < base.files {
                *base = usage;
            }
            (seen.usage, seen.measured) = (Some(usage), Some(Instant::now()));
            if let Some(excess) = over {
                end(inner, *session, &sandbox, excess);
            }
        }
        true
    }

    /// The largest of those that grow. Its files go only with its clean-up: until that, or until more is lost,
    /// no other.
    fn make_room(&mut self, inner: &Inner, free: u64) {
        if self.ended_at.is_some_and(|at| free + STEP > at) {
            return;
        }
        let growing = self.sessions.iter().filter(|(_, seen)| seen.grew);
        let largest = growing.max_by_key(|(_, seen)| seen.usage.map_or(0, |usage| usage.bytes)).map(|(session, _)| *session);
        if let Some(session) = largest {
            self.ended_at = Some(free);
            self.sessions.remove(&session);
            end(inner, session, &Sandbox::of(&inner.root, session), Excess::Reserve(inner.limits.disk_reserve));
        }
    }
}

/// Bubblewrap's own do not count for the kernel's limit by user, and who is refused may be gone again.
const SPARE: u64 = 8;

fn threads_of(inner: &Inner, session: SessionId) -> u64 {
    // All threads of the host are fewer than one session may have: the usual case, for one small file.
    let all = std::fs::read_to_string("/proc/loadavg").ok();
    let all = all.as_deref().and_then(|text| text.split_once('/')?.1.split(' ').next()?.parse::<u64>().ok());
    if all.is_some_and(|all| all + SPARE < inner.limits.processes) {
        return 0;
    }
    let counted = inner.owner(session).and_then(|owner| inner.processes(owner, &Which::All));
    counted.map_or(0, |processes| processes.iter().map(|process| process.threads).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_lasts_through_a_lull_and_not_through_a_rest() {
        let (mut pressure, start) = (Pressure::default(), Instant::now());
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        assert_eq!(pressure.feel(true, at(0)), Duration::ZERO);
        pressure.feel(false, at(10));
        assert_eq!(pressure.feel(true, at(15)), Duration::from_millis(1500));
        pressure.feel(false, at(36));
        assert_eq!(pressure.feel(true, at(40)), Duration::ZERO, "it was not at the limit for two seconds");
        assert_eq!(pressure.feel(true, at(90)), Duration::from_secs(5));
        assert_eq!(pressure.feel(true, at(151)), Duration::ZERO, "nobody looked for six seconds");
    }

    #[test]
    fn a_cause_names_the_limit() {
        assert_eq!(Excess::Disk(200 * MB).to_string(), "the session was ended: it reached its disk limit of 200 MB");
        let text = Excess::Processes(64, Duration::from_secs(10)).to_string();
        assert_eq!(text, "the session was ended: it stood at its limit of 64 processes for 10 s");
    }
}
