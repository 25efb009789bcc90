//! Repositories whose `npm ci` is a bomb, through the real server: the session ends, with a clear cause and
//! nothing left, and nobody else notices. Each bomb also stops by itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "helpers of tests")]

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alpine_tests::{World, cli::text, sandboxes};
use serde_json::Value;

const MB: u64 = 1024 * 1024;
const DISK: u64 = 200;
/// What a filler may get onto the disk between two looks, and while it is being killed.
const SLACK: u64 = 2048;

const LIMITS: &[(&str, &str)] = &[
    ("ALPINE_SANDBOX_DISK_MB", "200"),
    ("ALPINE_SANDBOX_FILES", "20000"),
    ("ALPINE_SANDBOX_MEMORY_MB", "512"),
    ("ALPINE_SANDBOX_PROCESSES", "200"),
    ("ALPINE_RECONCILE_SECONDS", "1"),
];

struct Bomb {
    name: &'static str,
    program: &'static str,
    cause: &'static str,
    within: Duration,
}

const BOMBS: &[Bomb] = &[
    Bomb {
        name: "one large file",
        program: "f = open('big', 'wb')\nfor i in range(3000): f.write(b'x' * (1 << 20))",
        cause: "disk limit of 200 MB",
        within: Duration::from_secs(60),
    },
    Bomb {
        name: "many large files",
        program: "for i in range(100):\n  with open(f'big{i}', 'wb') as f: f.write(b'x' * (40 << 20))",
        cause: "disk limit of 200 MB",
        within: Duration::from_secs(60),
    },
    Bomb {
        name: "many small files",
        program: "import os, time\nfor i in range(200):\n  os.mkdir(f'd{i}')\n  for j in range(1000): open(f'd{i}/{j}', 'w')\ntime.sleep(20)",
        cause: "limit of 20000 files",
        within: Duration::from_secs(60),
    },
    Bomb {
        name: "memory",
        program: "held = []\nfor i in range(100): held.append(b'x' * (20 << 20))",
        cause: "memory limit of 512 MB",
        within: Duration::from_secs(60),
    },
    Bomb {
        name: "processes",
        program: "import os, time\nend = time.time() + 60\nwhile time.time() < end:\n  try: os.fork()\n  except OSError: time.sleep(0.01)",
        cause: "limit of 200 processes",
        within: Duration::from_secs(60),
    },
];

/// Asks for a list again and again; every answer has to be one.
async fn ask(world: &World, over: Arc<AtomicBool>) -> Vec<Duration> {
    let api = world.api("watcher");
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = api.get("/v1/sessions").await;
        assert_eq!(answer.status, 200);
        times.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    times.sort();
    times
}

/// The most that the data directory held.
fn measure(data_dir: &Path, over: &AtomicBool, most: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let size = |file: &String| std::fs::symlink_metadata(data_dir.join(file)).map_or(0, |found| found.blocks() * 512);
        most.fetch_max(sandboxes::files(data_dir).iter().map(size).sum(), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(200));
    }
}

async fn explode(world: &World, bomb: &Bomb, at: usize) {
    let package = r#"{ "name": "bomb", "version": "1.0.0", "scripts": { "preinstall": "python3 bomb.py" } }"#;
    let lock = r#"{ "name": "bomb", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": { "": { "name": "bomb", "version": "1.0.0", "hasInstallScript": true } } }"#;
    let files = [("package.json", package), ("package-lock.json", lock), ("bomb.py", bomb.program)];
    let (repo, _) = world.git.with_files(&format!("org/bomb{at}"), &files);
    let begun = Instant::now();
    let up = world.up("mallory", &repo, "main", &[]).limit(Duration::from_secs(300)).run().await;
    let took = begun.elapsed();
    let cause = text(&up.refused(2, "ERR_SANDBOX_PROVISION_FAILED"), "cause");
    eprintln!("{}: {took:?}: {cause}", bomb.name);
    assert!(cause.starts_with("install: ") && cause.contains(bomb.cause), "{}: {cause}", bomb.name);
    assert!(took < bomb.within, "{}: {took:?}", bomb.name);
    let sessions = world.list("mallory").await;
    assert_eq!(sessions.len(), at + 1);
    for session in &sessions {
        assert_eq!(session["state"], "failed", "{session}");
        world.assert_nothing_left(&text(session, "session_id"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bomb_in_npm_ci_ends_its_session_and_nothing_else() {
    let world = World::with(LIMITS).await;
    let ready = world.ready("ann").await;
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let measuring = {
        let (data_dir, over, most) = (world.data_dir.clone(), Arc::clone(&over), Arc::clone(&most));
        std::thread::spawn(move || measure(&data_dir, &over, &most))
    };
    let bombs = async {
        for (at, bomb) in BOMBS.iter().enumerate() {
            explode(&world, bomb, at).await;
            world.answers(&ready).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let ((), times) = tokio::join!(bombs, ask(&world, Arc::clone(&over)));
    measuring.join().unwrap();

    let session = text(&ready, "session_id");
    assert_eq!(world.status("ann", &session).await.ok()["state"], "ready");
    let (p95, most) = (times[times.len() * 95 / 100], most.load(Ordering::Relaxed) / MB);
    eprintln!("{} lists, p95 {p95:?}, longest {:?}; the data directory held {most} MB at most", times.len(), times.last().unwrap());
    assert!(p95 < Duration::from_secs(1), "lists while bombs went off took {p95:?}");
    assert!((20..DISK + SLACK).contains(&most), "the data directory held {most} MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_session_that_fills_the_disk_is_lost_and_its_cause_names_the_limit() {
    let world = World::with(LIMITS).await;
    let serve = "(sleep 3; python3 -c \\\"for i in range(40): open(f'big{i}', 'wb').write(b'x' * (20 << 20))\\\") & exec python3 -m http.server $PORT --bind $HOST";
    let (repo, _) = world.git.with_files("org/filler", &[(".alpine.toml", &format!("serve = \"{serve}\"\n"))]);
    let up = world.up("ann", &repo, "main", &[]).run().await.ok();
    let session = text(&up, "session_id");
    let failed = |status: Value| (status["state"] == "failed").then_some(status);
    let status =
        alpine_tests::until("the session fails", Duration::from_secs(40), || async { failed(world.status("ann", &session).await.ok()) })
            .await;
    assert!(status.to_string().contains("disk limit of 200 MB"), "{status}");
    world.assert_nothing_left(&session);
}
