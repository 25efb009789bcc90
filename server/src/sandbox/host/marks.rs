//! What a process carries in its environment: whose it is, and what for.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::process::{Process, is_gone};

/// Every process of a session carries these in its environment, bubblewrap's own included.
pub(super) const SESSION_MARK: &str = "ALPINE_SESSION_ID";
/// A command's: one value for each run, which begins with its fence and a dot.
pub(super) const EXEC_MARK: &str = "ALPINE_EXEC";
/// The served program's.
pub(super) const SERVE_MARK: &str = "ALPINE_SERVE";

/// Of `/proc/<pid>/stat`, counted from 1.
const ENV_START: usize = 50;
/// Of most environments.
const FIRST_SIZE: usize = 16 * 1024;
/// An `execve` takes less; what claims to have more has moved its environment to where it likes.
const MOST: usize = 8 * 1024 * 1024;
/// A mark's value is shorter.
const VALUE: usize = 128;
/// So often an environment may be elsewhere before it is its process's own doing.
const MOVES: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Marks {
    pub session: Option<String>,
    pub exec: Option<String>,
    pub serve: bool,
}

impl Marks {
    /// Waits for a process that is in the middle of an `execve`: without its environment it would be nobody's. On a busy machine a
    /// process that yields to all others can stay there for hundreds of milliseconds. `TimedOut`: it was there until the deadline.
    pub fn read(process: &Process, deadline: Instant) -> io::Result<Self> {
        Ok(Self::parse(&environ(process, deadline)?))
    }

    fn parse(environ: &[u8]) -> Self {
        let mut marks = Self::default();
        for entry in environ.split(|byte| *byte == 0) {
            let Some((name, value)) = std::str::from_utf8(entry).ok().and_then(|entry| entry.split_once('=')) else { continue };
            let value = || Some(value.to_owned()).filter(|value| value.len() <= VALUE);
            match name {
                SESSION_MARK => marks.session = value(),
                EXEC_MARK => marks.exec = value(),
                SERVE_MARK => marks.serve = true,
                _ => {}
            }
        }
        marks
    }
}

fn environ(process: &Process, deadline: Instant) -> io::Result<Vec<u8>> {
    let (mut pause, mut moves) = (FIRST_PAUSE, 0);
    let dir = process.living();
    loop {
        let before = place(process, &dir)?;
        match of_one_program(&dir) {
            Ok(environ) if !environ.is_empty() => return Ok(environ),
            Ok(_) => {}
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        // It has none for good, or it was between two programs when it was asked.
        let after = place(process, &dir)?;
        let begun = [before, after].iter().all(|place| place.is_none_or(|(_, end)| end != 0));
        moves += u32::from(begun);
        if (begun && (before == after || moves > MOVES)) || !process.id.alive()? {
            return Ok(Vec::new());
        }
        if Instant::now() > deadline {
            let what = format!("process {} did not come to begin its program", process.id.pid);
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// By one read: between two the process may become another program, and the second gives nothing.
fn of_one_program(dir: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(dir.join("environ"))?;
    let mut environ = vec![0; FIRST_SIZE];
    loop {
        let length = file.read_at(&mut environ, 0)?;
        if length < environ.len() || length >= MOST {
            environ.truncate(length);
            return Ok(environ);
        }
        environ.resize(2 * length, 0);
    }
}

/// Where its environment begins and ends in its memory: 0 in the middle of an `execve`. `None`: it can have none.
fn place(process: &Process, dir: &Path) -> io::Result<Option<(u64, u64)>> {
    if process.has_no_memory() {
        return Ok(None);
    }
    match fs::read(dir.join("stat")) {
        Ok(stat) => Ok(place_in(&String::from_utf8_lossy(&stat))),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn place_in(stat: &str) -> Option<(u64, u64)> {
    // The name, in parentheses, may hold anything; it is the second.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(ENV_START - 3).map(str::parse);
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        hint::spin_loop,
        process::{Child, Command},
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    fn marks(child: &Child) -> io::Result<Marks> {
        let pid = i32::try_from(child.id()).unwrap();
        Marks::read(&Process::read(pid)?.unwrap(), Instant::now() + Duration::from_secs(30))
    }

    #[test]
    fn where_an_environment_is_is_found_behind_any_name() {
        let fields: String = (3..=52).map(|field| format!(" {field}")).collect();
        assert_eq!(place_in(&format!("7 (a) 1 b){fields}")), Some((50, 51)));
        assert_eq!(place_in("7 (a) R 1"), None);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let (start, end) = place_in(&own).unwrap();
        assert!(start != 0 && end > start, "{own}");
    }

    #[test]
    fn a_large_environment_is_read_whole() {
        let mut child = Command::new("sleep").arg("30").env("A", "a".repeat(100_000)).env(EXEC_MARK, "7.run").spawn().unwrap();
        assert_eq!(marks(&child).unwrap().exec.as_deref(), Some("7.run"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_mark_is_no_longer_than_ours_are() {
        let environ = [SESSION_MARK, EXEC_MARK].map(|name| format!("{name}={}", "7".repeat(VALUE + 1))).join("\0");
        let read = Marks::parse(environ.as_bytes());
        assert!(read.session.is_none() && read.exec.is_none());
    }

    /// A server's threads go on when the first has ended.
    #[test]
    fn a_process_is_there_as_long_as_one_of_its_threads_is() {
        let script =
            "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\nctypes.CDLL(None).pthread_exit(None)";
        let mut child = Command::new("/usr/bin/python3").args(["-c", script]).env(EXEC_MARK, "7.run").spawn().unwrap();
        let stat = format!("/proc/{}/stat", child.id());
        let begun = Instant::now();
        while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
            assert!(begun.elapsed() < Duration::from_secs(30), "its first thread ends");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(marks(&child).unwrap().exec.as_deref(), Some("7.run"));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_without_an_environment_has_no_marks_and_is_not_waited_for() {
        let mut child = Command::new("sleep").arg("30").env_clear().spawn().unwrap();
        let before = Instant::now();
        let read = marks(&child).unwrap();
        assert!(before.elapsed() < Duration::from_secs(4) && read.session.is_none() && read.exec.is_none() && !read.serve);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Busy threads keep a process that yields to all others from getting through its `execve`s.
    #[test]
    fn a_process_is_known_by_its_marks_from_one_program_to_the_next() {
        // Each step becomes the next program in the same process.
        let steps = "set --; i=0; while [ $i -lt 300 ]; do i=$((i+1)); set -- env \"$@\"; done; exec nice -n 19 \"$@\" sleep 600";
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                });
            }
            // An environment that takes several reads where one reads a little at a time.
            let padding = "x".repeat(9_000);
            let mut children: Vec<Child> = (0..16)
                .map(|_| Command::new("sh").args(["-c", steps]).env("A", &padding).env(EXEC_MARK, "7.run").spawn().unwrap())
                .collect();
            let seen: Vec<_> =
                (0..60).flat_map(|_| children.iter().map(marks).collect::<Vec<_>>()).map(|read| read.map(|marks| marks.exec)).collect();
            done.store(true, Ordering::Relaxed);
            for child in &mut children {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let other: Vec<_> = seen.iter().filter(|read| !matches!(read, Ok(Some(run)) if run == "7.run")).collect();
            assert!(other.is_empty(), "{other:?} of {}", seen.len());
        });
    }
}
