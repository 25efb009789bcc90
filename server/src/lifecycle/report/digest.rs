//! What is passed on of a command's output. Pure: bytes in, pieces of the log and progress out.

use alpine_api::LogSource;
use secrecy::SecretString;

use super::{
    super::redact::Redactor,
    backlog::Backlog,
    git,
    lines::{Line, Lines},
};
use crate::{ledger::Progress, sandbox::Output};

/// The most characters of an installer's line that are shown as its progress.
const SHOWN: usize = 200;

#[derive(Debug)]
pub struct Digest {
    source: LogSource,
    redactor: Redactor,
    out: Lines,
    err: Lines,
    backlog: Backlog,
    latest: Option<Latest>,
}

/// The latest that was not told yet.
#[derive(Debug)]
enum Latest {
    Git(Progress),
    Line(Line),
}

impl Digest {
    pub fn new(source: LogSource, token: Option<&SecretString>) -> Self {
        let redactor = Redactor::new(token);
        Self { source, redactor, out: Lines::default(), err: Lines::default(), backlog: Backlog::default(), latest: None }
    }

    pub const fn source(&self) -> LogSource {
        self.source
    }

    pub fn take_in(&mut self, output: &Output) {
        let mut lines = Vec::new();
        match output {
            Output::Stdout(bytes) => self.out.push(bytes, |line| lines.push(line)),
            Output::Stderr(bytes) => self.err.push(bytes, |line| lines.push(line)),
        }
        self.note(lines);
    }

    /// There is no more.
    pub fn end(&mut self) {
        let left = [self.out.end(), self.err.end()];
        self.note(left.into_iter().flatten().collect());
    }

    fn note(&mut self, lines: Vec<Line>) {
        if self.source == LogSource::Git {
            return lines.iter().for_each(|line| self.note_git(line));
        }
        if let Some(line) = lines.iter().rfind(|line| !line.is_blank()) {
            self.latest = Some(Latest::Line(line.clone()));
        }
        lines.into_iter().for_each(|line| self.backlog.push(line));
    }

    fn note_git(&mut self, line: &Line) {
        if !git::BEGINNINGS.iter().any(|words| line.starts_with(words)) {
            return;
        }
        let text = line.clean(&self.redactor);
        if let Some(progress) = git::progress(&text) {
            self.latest = Some(Latest::Git(progress));
        }
        if let Some(text) = git::logged(&text) {
            self.backlog.push(Line::from(text));
        }
    }

    pub fn has_log(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub const fn has_progress(&self) -> bool {
        self.latest.is_some()
    }

    /// Of at most 16 KiB each.
    pub fn take_log(&mut self) -> Vec<String> {
        self.backlog.take(&self.redactor)
    }

    /// What was taken could not be written.
    pub fn lost(&mut self, pieces: &[String]) {
        self.backlog.lost(pieces);
    }

    pub fn take_progress(&mut self) -> Option<Progress> {
        let line = match self.latest.take()? {
            Latest::Git(progress) => return Some(progress),
            Latest::Line(line) => line.clean(&self.redactor),
        };
        let message: String = line.trim().chars().map(|c| if c == '\t' { ' ' } else { c }).take(SHOWN).collect();
        (!message.is_empty()).then_some(Progress { message, percent: None })
    }
}
