//! What is told of a phase while it runs: a command's output in the session's log, and how far it is as an event.
//!
//! All of it happens in the phase's own future and ends with it. None of it fails the phase, and none holds the command
//! up: what the database is too slow for is left out, and the log says how much.

mod backlog;
mod digest;
mod git;
mod lines;
#[cfg(test)]
mod tests;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::LogSource;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::{
    ledger::{Error, Job, Ledger, LogPiece, Progress},
    sandbox::Output,
};
use digest::Digest;

pub use backlog::pieces;
pub use git::without_progress;
pub use lines::{Line, Lines, left_out};

/// Between two appends to the log.
const LOG_PAUSE: Duration = Duration::from_millis(250);
/// How long the last of it may take.
const LAST: Duration = Duration::from_secs(2);

/// Tells of one command.
#[derive(Debug)]
pub struct Reporter<'a> {
    ledger: &'a Ledger,
    job: &'a Job,
    state: Mutex<State>,
    news: Notify,
    ended: CancellationToken,
}

#[derive(Debug)]
struct State {
    digest: Digest,
    /// When the log's oldest line that waits came.
    since: Option<Instant>,
}

impl<'a> Reporter<'a> {
    pub fn new(ledger: &'a Ledger, job: &'a Job, source: LogSource, token: Option<&SecretString>) -> Self {
        let state = Mutex::new(State { digest: Digest::new(source, token), since: None });
        Self { ledger, job, state, news: Notify::new(), ended: CancellationToken::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take_in(&self, output: &Output) {
        let mut state = self.lock();
        // Git tells people on standard error; the rest is for whoever has asked.
        if state.digest.source() == LogSource::Git && matches!(output, Output::Stdout(_)) {
            return;
        }
        state.digest.take_in(output);
        if state.since.is_none() && state.digest.has_log() {
            state.since = Some(Instant::now());
        }
        drop(state);
        self.news.notify_one();
    }

    /// The command has ended: what is left is written, and then `write` is done.
    pub fn end(&self) {
        self.lock().digest.end();
        self.ended.cancel();
    }

    /// Write what comes until the end, and a moment longer.
    pub async fn write(&self) {
        let writing = async {
            let written: Result<(), Error> = async {
                while self.ended.run_until_cancelled(self.due()).await.is_some() {
                    self.write_due(false).await?;
                }
                self.write_due(true).await
            }
            .await;
            if let Err(error) = written {
                // Of a lost lease the job hears by itself.
                tracing::debug!(error = &error as &dyn std::error::Error, "no more is told of this command");
            }
        };
        let overdue = async {
            self.ended.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            () = writing => {}
            () = overdue => tracing::debug!("the last output of a command is not in the log"),
        }
    }

    /// Until something is to be written.
    async fn due(&self) {
        loop {
            let now = Instant::now();
            let at = {
                let state = self.lock();
                let progress = state.digest.has_progress().then(|| self.job.pace.next(now)).flatten();
                [state.since.map(|since| since + LOG_PAUSE), progress].into_iter().flatten().min()
            };
            match at {
                Some(at) if at <= now => return,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => return,
                    () = self.news.notified() => {}
                },
                None => self.news.notified().await,
            }
        }
    }

    /// At the end everything is due.
    async fn write_due(&self, end: bool) -> Result<(), Error> {
        let now = Instant::now();
        let pieces = {
            let mut state = self.lock();
            let is_due = end || state.since.is_some_and(|since| since + LOG_PAUSE <= now);
            if is_due {
                state.since = None;
                state.digest.take_log()
            } else {
                Vec::new()
            }
        };
        if !pieces.is_empty() {
            self.append(pieces).await?;
        }
        let next = self.job.pace.next(now).filter(|at| end || *at <= now);
        let progress = next.and_then(|_| self.lock().digest.take_progress());
        match progress {
            Some(progress) => tell(self.ledger, self.job, &progress).await,
            None => Ok(()),
        }
    }

    async fn append(&self, texts: Vec<String>) -> Result<(), Error> {
        let source = self.lock().digest.source();
        let pieces: Vec<LogPiece> = texts.iter().map(|text| LogPiece { source, text: text.clone() }).collect();
        match self.ledger.append_log(&self.job.lease, &pieces).await {
            Err(error) if error.is_passing() => {
                self.lock().digest.lost(&texts);
                Ok(())
            }
            appended => appended,
        }
    }
}

async fn tell(ledger: &Ledger, job: &Job, progress: &Progress) -> Result<(), Error> {
    job.pace.told(Instant::now());
    match ledger.append_progress(job, progress).await {
        Err(error) if error.is_passing() => Ok(()),
        told => told,
    }
}

impl Engine {
    /// A step of a phase that has no output of its own: told as soon as it begins.
    pub(super) async fn tell(&self, job: &Job, message: &'static str) {
        if job.pace.next(Instant::now()).is_none() {
            return;
        }
        let progress = Progress { message: message.to_owned(), percent: None };
        match tokio::time::timeout(LAST, tell(&self.ledger, job, &progress)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = &error as &dyn std::error::Error, "a step was not told"),
            Err(_) => tracing::debug!("a step was not told in time"),
        }
    }
}
