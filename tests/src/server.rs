//! The real `alpine-server`, started, stopped and killed.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{bins, pki::Pki};

/// The rules of a server that is to go wrong: one that has this, or a setting whose name begins so, is `alpine-server-faulty`.
pub const FAULTS: &str = "ALPINE_FAULTS";

/// A later version's set of phases.
pub const PHASE_SCHEMA: &str = "ALPINE_FAULTS_PHASE_SCHEMA";

/// Another `alpine-server` than the built one.
pub const PROGRAM: &str = "ALPINE_TEST_PROGRAM";

/// The file that takes what `strace` sees of a server and all it starts: programs run and connections made.
pub const TRACE: &str = "ALPINE_TEST_TRACE";

/// A server process, or the place of one that is down.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    pub log: PathBuf,
    client: reqwest::Client,
    env: BTreeMap<String, String>,
    child: Option<Child>,
}

impl Server {
    /// `alpine-server serve` with this environment, ready.
    pub async fn start(env: BTreeMap<String, String>, port: u16, log: PathBuf, pki: &Pki) -> Self {
        let mut server = Self::prepare(env, port, log, pki);
        server.start_again().await;
        server
    }

    /// The place of a server that is not started yet.
    pub fn prepare(env: BTreeMap<String, String>, port: u16, log: PathBuf, pki: &Pki) -> Self {
        Self { port, log, client: pki.client(), env, child: None }
    }

    pub fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// After a stop or a kill: the same configuration on the same port, ready.
    pub async fn start_again(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Start the process and do not wait for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let built = || bins::path(if self.env.keys().any(|name| name.starts_with(FAULTS)) { bins::FAULTY } else { "alpine-server" });
        let program = self.env.get(PROGRAM).map_or_else(built, PathBuf::from);
        let mut command = match self.env.get(TRACE) {
            Some(file) => traced(file, &program),
            None => Command::new(program),
        };
        command.arg("serve").envs(&self.env).env("ALPINE_LISTEN", format!("127.0.0.1:{}", self.port));
        for name in foreign_settings() {
            if !self.env.contains_key(&name) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().expect("alpine-server runs"));
    }

    async fn ready(&mut self) {
        let begun = Instant::now();
        let url = format!("{}/readyz", self.base());
        loop {
            let asked = self.client.get(&url).timeout(Duration::from_secs(2)).send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("alpine-server ended with {status} before it was ready:\n{}", self.log_tail());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "alpine-server is not ready:\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("the server runs").id();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The same, and nothing waited for.
    pub fn kill_only(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGTERM; how it ended and how long that took.
    pub async fn terminate(&mut self) -> (ExitStatus, Duration) {
        self.ask_to_end();
        let begun = Instant::now();
        (self.ended().await, begun.elapsed())
    }

    /// It ends within a minute, by itself or by what was done to it; how.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "alpine-server does not end:\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, as soon as it would not end the process by itself: what has not come to its first line can answer for nothing.
    pub fn ask_to_end(&self) {
        let begun = Instant::now();
        while !self.catches_terminate() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.signal(Signal::TERM);
    }

    fn catches_terminate(&self) -> bool {
        let status = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok()).unwrap_or_default();
        let caught =
            status.lines().find_map(|line| line.strip_prefix("SigCgt:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask >> (Signal::TERM.as_raw() - 1) & 1 == 1)
    }

    /// How the process ended, if it did since it was started; it can then be started again.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// The process, if it was started and has not been seen to end.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Settings of the next start.
    pub fn configure(&mut self, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.env.insert(name.to_owned(), value),
            None => self.env.remove(name),
        };
    }

    pub fn setting(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// Whether SIGSTOP has reached it.
    pub fn is_frozen(&self) -> bool {
        let stat = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// SIGSTOP: there, and doing nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The value of one sample of `/metrics`; `labels` are those that must be in it.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.client.get(format!("{}/metrics", self.base())).send().await.unwrap().text().await.unwrap();
        sample(&text, name, labels)
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && self.log.exists() {
            eprintln!("--- {}:\n{}\n---", self.log.display(), self.log_tail());
        }
        self.kill();
    }
}

/// The tracer is a grandchild (`-D`): what is waited for and killed is the server itself.
fn traced(file: &str, program: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-yy", "-v", "-s", "16384", "--seccomp-bpf", "-e", "signal=none"]);
    command.args(["-e", "trace=execve,connect,clone,clone3,fork,vfork", "-o", file, "--"]).arg(program);
    command
}

/// The sum of the samples of `text`, as of `/metrics`, that have this name and these labels.
pub fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let matching = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    });
    matching.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
}

/// The last 100 lines of a file.
pub fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(100)..].join("\n")
}

/// Settings of whoever runs the tests, which must not reach the server under test.
#[expect(clippy::disallowed_methods, reason = "the harness cleans the environment that it hands on")]
pub fn foreign_settings() -> Vec<String> {
    let ours = |name: &String| {
        name.starts_with("ALPINE_") || name.starts_with("OTEL_") || matches!(name.as_str(), "DATABASE_URL" | "GITHUB_TOKEN" | "GH_TOKEN")
    };
    std::env::vars().map(|(name, _)| name).filter(ours).collect()
}
