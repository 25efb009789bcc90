//! One command in a sandbox, its output kept within bounds.

use secrecy::SecretString;
use tokio::sync::mpsc;

use super::{Engine, PhaseError, git::printable};
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

impl Engine {
    pub(super) async fn exec(&self, step: &'static str, job: &Job, handle: &Handle, command: Command) -> Result<Ran, PhaseError> {
        let (sender, mut receiver) = mpsc::channel(64);
        let collect = async {
            let (mut stdout, mut tail) = (Vec::new(), Vec::new());
            while let Some(output) = receiver.recv().await {
                let (bytes, keep) = match &output {
                    Output::Stdout(bytes) => (bytes, true),
                    Output::Stderr(bytes) => (bytes, false),
                };
                if keep && stdout.len() < STDOUT_LIMIT {
                    stdout.extend_from_slice(&bytes[..bytes.len().min(STDOUT_LIMIT - stdout.len())]);
                }
                tail.extend_from_slice(bytes);
                let excess = tail.len().saturating_sub(TAIL_LIMIT);
                tail.drain(..excess);
            }
            (stdout, tail)
        };
        let secret = command.secret_env.first().map(|(_, secret)| secret.clone());
        let provider = self.acting(&job.lease).await?;
        let (exit, (stdout, tail)) = tokio::join!(provider.exec(handle, job.lease.fence, command, sender), collect);
        let ran = Ran { exit: exit.map_err(|error| PhaseError::provider(step, error))?, stdout, tail };
        if ran.exit == Exit::Signal(9) {
            // By the kernel for want of memory, or by whoever had the session for a moment.
            return Err(PhaseError::transient(step, format!("a command was killed: {}", ran.tail(secret.as_ref()))));
        }
        Ok(ran)
    }
}
