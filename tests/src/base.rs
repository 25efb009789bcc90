//! The directory of this test process, and the guardian that removes it.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
};

struct Base {
    dir: PathBuf,
    /// Closed by the kernel when this process is gone: the guardian's signal.
    _guardian: ChildStdin,
}

static BASE: OnceLock<Base> = OnceLock::new();

/// `/tmp/alpine-test-…`: traversable by every user, as sandboxes may run as one of their own.
pub fn dir() -> &'static Path {
    &BASE.get_or_init(begin).dir
}

fn begin() -> Base {
    let dir = tempfile::Builder::new().prefix("alpine-test-").rand_bytes(6).tempdir_in("/tmp").unwrap().keep();
    open_for_passage(&dir);
    let mut guardian = Command::new("sh")
        .args(["-c", include_str!("guardian.sh"), "guardian"])
        .arg(&dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of the terminal's Ctrl-C, which it is there to clean up after.
        .process_group(0)
        .spawn()
        .expect("sh runs");
    let stdin = guardian.stdin.take().unwrap();
    Base { dir, _guardian: stdin }
}

/// Others may pass through, and not look around.
pub fn open_for_passage(dir: &Path) {
    std::fs::set_permissions(dir, Permissions::from_mode(0o711)).unwrap();
}

/// A new directory for one test.
pub fn fresh(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = dir().join(format!("{name}{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&dir).unwrap();
    open_for_passage(&dir);
    dir
}

/// Remove a test's directory, unless someone wants to look at it.
pub fn remove(dir: &Path) {
    if !keep() {
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[expect(clippy::disallowed_methods, reason = "the harness's own switch")]
fn keep() -> bool {
    std::env::var_os("ALPINE_TEST_KEEP").is_some()
}

/// A port that is free now, below those of the sandboxes and of outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 90).unwrap() * 100;
    for _ in 0..1000 {
        let port = start + NEXT.fetch_add(1, Ordering::Relaxed) % 1000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {start} on");
}
