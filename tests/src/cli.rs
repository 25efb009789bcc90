//! The real `alpine`, run as a person or a script would.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::bins;

/// An `alpine` that is about to be run: no environment but what is set here.
#[derive(Debug, Clone)]
pub struct Alpine {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    cwd: PathBuf,
    limit: Duration,
    stdin: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Answer {
    pub args: Vec<String>,
    /// `None`: killed by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Alpine {
    /// `config_dir` holds `config.toml`; `home` is where a person would be.
    pub fn new(config_dir: &Path, home: &Path) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let env = [
            ("ALPINE_CONFIG_DIR", config_dir.display().to_string()),
            ("HOME", home.display().to_string()),
            ("PATH", path.to_owned()),
            ("GITHUB_TOKEN", "dummy".to_owned()),
        ];
        Self {
            env: env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            args: Vec::new(),
            cwd: home.to_path_buf(),
            limit: Duration::from_secs(180),
            stdin: None,
        }
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    #[must_use]
    pub fn args<S: AsRef<str>>(mut self, args: &[S]) -> Self {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        self.stdin = Some(text.to_owned());
        self
    }

    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn command(&self) -> tokio::process::Command {
        self.command_of(bins::path("alpine"))
    }

    /// The same with another program, such as a shell in which it is typed.
    pub fn command_of(&self, program: PathBuf) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        command.args(&self.args).env_clear().envs(&self.env).current_dir(&self.cwd);
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Run it to its end.
    pub async fn run(self) -> Answer {
        self.run_until(std::future::pending()).await
    }

    /// The same; it is interrupted, as by Ctrl-C, when `interrupt` is over.
    pub async fn run_until(self, interrupt: impl Future<Output = ()>) -> Answer {
        let begun = Instant::now();
        let mut child = self.command().spawn().expect("alpine runs");
        let id = child.id();
        if let (Some(text), Some(mut stdin)) = (&self.stdin, child.stdin.take()) {
            // It may end without having read everything.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        let output = tokio::time::timeout(self.limit, interrupted(id, interrupt, child.wait_with_output())).await;
        let output = output.unwrap_or_else(|_| panic!("alpine {:?} did not end within {:?}", self.args, self.limit)).unwrap();
        Answer {
            args: self.args,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
            took: begun.elapsed(),
        }
    }

    /// Run it beside the test.
    pub fn spawn(self) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(self.run())
    }
}

/// `ended` of this process, which is sent SIGINT when `interrupt` is over.
pub async fn interrupted<T>(process: Option<u32>, interrupt: impl Future<Output = ()>, ended: impl Future<Output = T>) -> T {
    let mut ended = std::pin::pin!(ended);
    tokio::select! {
        end = &mut ended => return end,
        () = interrupt => {}
    }
    let process = process.and_then(|id| Pid::from_raw(id.cast_signed())).expect("it has not ended");
    rustix::process::kill_process(process, Signal::INT).expect("it is there");
    ended.await
}

impl Answer {
    /// Standard output is exactly one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }

    /// It went well; what it says.
    pub fn ok(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self}");
        self.json()
    }

    /// It failed with this exit code and error code; the whole error object.
    pub fn refused(&self, exit: i32, error_code: &str) -> Value {
        assert_eq!(self.code, Some(exit), "{self}");
        let error = self.json();
        assert_eq!(error["error_code"], error_code, "{self}");
        assert_eq!(error["exit_code"], exit, "{self}");
        for key in ["cause", "next_step"] {
            assert!(error[key].as_str().is_some_and(|text| !text.is_empty()), "{key} is missing: {self}");
        }
        assert!(error["retryable"].is_boolean(), "retryable is missing: {self}");
        error
    }

    /// `refused`, and with exactly this cause.
    pub fn refused_because(&self, exit: i32, error_code: &str, cause: &str) -> Value {
        let error = self.refused(exit, error_code);
        assert_eq!(error["cause"], cause, "{self}");
        error
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { args, code, stdout, stderr, took } = self;
        write!(f, "alpine {args:?} ended with {code:?} after {took:?}\nstdout: {stdout}\nstderr: {stderr}")
    }
}

/// A string field that must be there.
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no `{key}` in {value}")).to_owned()
}
