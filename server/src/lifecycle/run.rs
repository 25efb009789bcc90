//! One command in a sandbox, its output kept within bounds.

use alpine_api::LogSource;
use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{
    Engine, PhaseError,
    redact::printable,
    report::{self, Reporter},
};
use crate::{
    ledger::Job,
    sandbox::{Command, Exit, Handle, Output},
};

/// The most that is kept of a command's standard output, and of the end of all that it wrote.
const STDOUT_LIMIT: usize = 256 * 1024;
const TAIL_LIMIT: usize = 8 * 1024;

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Exit,
    pub stdout: Vec<u8>,
    tail: Vec<u8>,
}

impl Ran {
    /// The end of what it wrote, fit to be shown.
    #[must_use]
    pub fn tail(&self, token: Option<&SecretString>) -> String {
        printable(&String::from_utf8_lossy(&self.tail), token)
    }

    /// The same of a git that told how far it was.
    #[must_use]
    pub fn git_tail(&self, token: Option<&SecretString>) -> String {
        printable(&report::without_progress(&String::from_utf8_lossy(&self.tail)), token)
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// How it ended, in words.
    #[must_use]
    pub fn outcome(&self) -> String {
        match self.exit {
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("ended by signal {signal}"),
        }
    }
}

/// All that a command writes, as much as is kept.
#[derive(Debug, Default)]
struct Kept {
    stdout: Vec<u8>,
    tail: Vec<u8>,
}

impl Kept {
    fn take_in(&mut self, output: &Output) {
        let (Output::Stdout(bytes) | Output::Stderr(bytes)) = output;
        if matches!(output, Output::Stdout(_)) {
            self.stdout.extend_from_slice(&bytes[..bytes.len().min(STDOUT_LIMIT - self.stdout.len())]);
        }
        self.tail.extend_from_slice(bytes);
        let excess = self.tail.len().saturating_sub(TAIL_LIMIT);
        self.tail.drain(..excess);
    }
}

impl Engine {
    /// A command of which nothing is told.
    pub(super) async fn exec(&self, step: &'static str, job: &Job, handle: &Handle, command: Command) -> Result<Ran, PhaseError> {
        self.run_command(step, job, handle, command, None).await
    }

    /// A command whose output people follow.
    pub(super) async fn exec_told(
        &self,
        step: &'static str,
        job: &Job,
        handle: &Handle,
        command: Command,
        source: LogSource,
    ) -> Result<Ran, PhaseError> {
        let token = command.secret_env.first().map(|(_, secret)| secret.clone());
        let reporter = Reporter::new(&self.ledger, job, source, token.as_ref());
        let run = async {
            let ran = self.run_command(step, job, handle, command, Some(&reporter)).await;
            reporter.end();
            ran
        };
        tokio::join!(run, reporter.write()).0
    }

    async fn run_command(
        &self,
        step: &'static str,
        job: &Job,
        handle: &Handle,
        command: Command,
        reporter: Option<&Reporter<'_>>,
    ) -> Result<Ran, PhaseError> {
        let (sender, mut receiver) = mpsc::channel(64);
        let collect = async {
            let mut kept = Kept::default();
            while let Some(output) = receiver.recv().await {
                kept.take_in(&output);
                if let Some(reporter) = reporter {
                    reporter.take_in(&output);
                }
            }
            kept
        };
        let secret = command.secret_env.first().map(|(_, secret)| secret.clone());
        let provider = self.acting(&job.lease).await?;
        let (exit, Kept { stdout, tail }) = tokio::join!(provider.exec(handle, job.lease.fence, command, sender), collect);
        let ran = Ran { exit: exit.map_err(|error| PhaseError::provider(step, error))?, stdout, tail };
        if ran.exit == Exit::Signal(9) {
            // By the kernel for want of memory, or by whoever had the session for a moment.
            return Err(PhaseError::transient(step, format!("a command was killed: {}", ran.tail(secret.as_ref()))));
        }
        Ok(ran)
    }
}
