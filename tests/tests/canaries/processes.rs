//! What every process of this machine was started with, seen while it runs.

use std::{
    collections::HashSet,
    ffi::OsString,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// One process as it was seen once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The file name of the program.
    pub program: String,
    pub arguments: Vec<u8>,
    pub environment: Vec<u8>,
}

/// Looks at all of them, again and again.
#[derive(Debug)]
pub struct Watcher {
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<HashSet<Seen>>>,
}

impl Watcher {
    pub fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let looking = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let (mut known, mut seen) = (HashSet::new(), HashSet::new());
                while !over.load(Ordering::Relaxed) {
                    look(&mut known, &mut seen);
                    std::thread::sleep(Duration::from_millis(5));
                }
                seen
            }
        });
        Self { over, looking: Some(looking) }
    }

    /// Everything that was seen.
    pub fn stop(&mut self) -> HashSet<Seen> {
        self.over.store(true, Ordering::Relaxed);
        self.looking.take().map(|thread| thread.join().unwrap()).unwrap_or_default()
    }
}

/// `known`: processes with the arguments that they had when they were seen.
fn look(known: &mut HashSet<(OsString, Vec<u8>)>, seen: &mut HashSet<Seen>) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if !entry.file_name().as_encoded_bytes()[0].is_ascii_digit() {
            continue;
        }
        let dir = entry.path();
        let read = |name: &str| std::fs::read(dir.join(name)).unwrap_or_default();
        let arguments = read("cmdline");
        // The kernel's own threads, and what has just ended.
        if arguments.is_empty() || !known.insert((entry.file_name(), arguments.clone())) {
            continue;
        }
        let program = std::fs::read_link(dir.join("exe")).unwrap_or_default();
        seen.insert(Seen { program: name(&program), arguments, environment: read("environ") });
    }
}

fn name(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(" (deleted)").to_owned()
}

/// The variables of one environment.
pub fn variables(environment: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    environment.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}
