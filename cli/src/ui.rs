//! The only writer to the terminal. Results go to stdout, everything else to stderr.

mod live;
mod text;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use alpine_api::ErrorCode;
use anstream::AutoStream;
use chrono::{DateTime, Utc};
use serde::Serialize;

pub use self::text::{Style, ago, aligned, clean, clean_lines, cut, cut_front, elapsed, fields, left, table, time, width};
use self::{live::Live, text::escaped};
use crate::{
    args::Look,
    clock,
    commands::Summary,
    config::Environment,
    error::{CliError, Report},
};

/// Where the terminal does not say how large it is.
const USUAL: (usize, usize) = (80, 24);

/// Something a command has to say, for scripts as it serializes, for people as it reads.
pub trait Answer: Serialize {
    /// Ends without a newline.
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String;
}

/// Where output goes and how it looks there.
pub struct Ui {
    stdout: Stream,
    stderr: Stream,
    look: Look,
    terminal: Terminal,
}

type Sink = Box<dyn Write + Send>;

struct Stream(Mutex<Written>);

struct Written {
    sink: Sink,
    so_far: io::Result<()>,
    live: Live,
}

/// Which of the two streams a person looks at, and what it can do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    pub stdout: bool,
    pub stderr: bool,
    /// It can write over what it shows.
    pub repaints: bool,
    /// It has more than ASCII.
    pub unicode: bool,
    /// Its width, where the system is not to be asked.
    pub columns: Option<usize>,
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui").field("look", &self.look).field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(sink: Sink) -> Self {
        Self(Mutex::new(Written { sink, so_far: Ok(()), live: Live::default() }))
    }

    /// Text that stays.
    fn write(&self, text: &str, columns: usize) {
        self.change(|live| live.above(text, columns));
    }

    /// Lines that are written over by the next ones.
    fn show(&self, lines: Vec<String>, columns: usize) {
        self.change(|live| live.show(lines, columns));
    }

    /// Keeps the first failure for the end: a full disk must not look like success.
    fn change(&self, change: impl FnOnce(&mut Live) -> String) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Written { sink, so_far, live } = &mut *stream;
        let text = change(live);
        if so_far.is_ok() && !text.is_empty() {
            *so_far = sink.write_all(text.as_bytes()).and_then(|()| sink.flush());
        }
    }

    fn failure(&self) -> Option<String> {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).so_far {
            // The reader has seen enough (`alpine list | head -1`).
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(error.to_string()),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).so_far.is_err()
    }
}

impl Ui {
    pub fn of_process(look: &Look, env: &Environment) -> Self {
        let terminal = Terminal {
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
            repaints: !env.is_dumb(),
            unicode: env.is_unicode(),
            columns: None,
        };
        // Whether there are colours is decided here, and a terminal without them can still be written over.
        let (stdout, stderr) = (AutoStream::always(io::stdout()), AutoStream::always(io::stderr()));
        Self::new(Box::new(stdout), Box::new(stderr), Look { no_color: look.no_color || env.no_color(), ..*look }, terminal)
    }

    pub fn new(stdout: Sink, stderr: Sink, look: Look, terminal: Terminal) -> Self {
        Self { stdout: Stream::new(stdout), stderr: Stream::new(stderr), look, terminal }
    }

    /// Of what goes to stdout.
    fn style(&self) -> Style {
        let color = self.terminal.stdout && !self.look.no_color;
        Style { color, columns: self.terminal.stdout.then(|| self.size(io::stdout()).0) }
    }

    /// Columns and rows.
    #[cfg(unix)]
    fn size(&self, stream: impl std::os::fd::AsFd) -> (usize, usize) {
        let asked = || terminal_size::terminal_size_of(stream).map(|(width, height)| (width.0.into(), height.0.into()));
        match self.terminal.columns {
            Some(columns) => (columns, USUAL.1),
            None => asked().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(USUAL),
        }
    }

    #[cfg(not(unix))]
    fn size<S>(&self, _: S) -> (usize, usize) {
        let asked = || terminal_size::terminal_size().map(|(width, height)| (width.0.into(), height.0.into()));
        self.terminal.columns.map(|columns| (columns, USUAL.1)).or_else(asked).unwrap_or(USUAL)
    }

    /// To stdout.
    fn out(&self, text: &str) {
        self.stdout.write(text, if self.terminal.stdout { self.size(io::stdout()).0 } else { 0 });
    }

    /// To stderr.
    fn err(&self, text: &str) {
        self.stderr.write(text, if self.terminal.stderr { self.size(io::stderr()).0 } else { 0 });
    }

    pub fn json(&self) -> bool {
        self.look.json
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.terminal.stdout
    }

    /// Whether how far an operation is should be told.
    pub fn shows_progress(&self) -> bool {
        !self.look.json && !self.look.quiet
    }

    /// Whether it can be told by lines that are written over.
    pub fn repaints(&self) -> bool {
        self.terminal.stderr && self.terminal.repaints
    }

    /// The width of the terminal on which progress is shown.
    pub fn columns(&self) -> usize {
        self.size(io::stderr()).0
    }

    pub fn unicode(&self) -> bool {
        self.terminal.unicode
    }

    /// Whether a result can be shown that is written over by the next one.
    pub fn repaints_results(&self) -> bool {
        self.terminal.stdout && self.terminal.repaints && !self.look.json
    }

    /// What is going on: lines at the bottom of the terminal, until the next ones.
    pub fn progress(&self, lines: Vec<String>) {
        if self.repaints() && self.shows_progress() {
            self.stderr.show(lines, self.size(io::stderr()).0);
        }
    }

    /// A result that is written over by the next one; as much of it as fits, and under it what is to be said of it.
    pub fn repaint(&self, answer: &impl Answer, foot: Option<String>) {
        let (columns, rows) = self.size(io::stdout());
        let room = rows.saturating_sub(1 + usize::from(foot.is_some())).max(1);
        // Lines that are written over leave the last column free.
        let style = Style { columns: Some(columns.saturating_sub(1)), ..self.style() };
        let text = answer.for_people(style, clock::now());
        self.stdout.show(text.lines().take(room).map(str::to_owned).chain(foot).collect(), columns);
    }

    /// A result as people read it.
    pub fn for_people(&self, answer: &impl Answer) -> String {
        answer.for_people(self.style(), clock::now())
    }

    /// Whether nobody reads the results any more.
    pub fn is_closed(&self) -> bool {
        self.stdout.is_closed()
    }

    /// The command's result.
    pub fn answer(&self, answer: &impl Answer) {
        if self.look.json {
            // On a terminal someone reads it; elsewhere a line an object is what tools like.
            self.json_line(answer, self.terminal.stdout);
        } else {
            self.text(&format!("{}\n", self.for_people(answer)));
        }
    }

    /// One of many results: always one line.
    pub fn answer_line(&self, answer: &impl Answer) {
        if self.look.json {
            self.json_line(answer, false);
        } else {
            self.text(&format!("{}\n", self.for_people(answer)));
        }
    }

    fn json_line(&self, value: &impl Serialize, pretty: bool) {
        let json = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        match json {
            Ok(json) => self.text(&format!("{}\n", escaped(&json))),
            Err(error) => self.err(&format!("the result cannot be printed: {error}\n")),
        }
    }

    /// Text that is a result by itself.
    pub fn text(&self, text: &str) {
        self.out(text);
    }

    /// For people, beside the result.
    pub fn info(&self, text: &str) {
        if !self.look.quiet && !self.look.json {
            self.err(&format!("{text}\n"));
        }
    }

    /// What a person must do for the command to go on: always on stderr.
    pub fn ask(&self, text: &str) {
        self.err(&format!("{text}\n"));
    }

    /// Emphasis of what goes to stderr.
    pub fn error_style(&self) -> Style {
        Style { color: self.terminal.stderr && !self.look.no_color, columns: None }
    }

    pub fn stderr_is_terminal(&self) -> bool {
        self.terminal.stderr
    }

    /// With `--verbose` only.
    pub fn note(&self, text: &str) {
        if self.look.verbose {
            self.err(&format!("{}\n", self.error_style().dim(&clean(text))));
        }
    }

    pub fn warn(&self, text: &str) {
        if !self.look.quiet {
            self.err(&format!("{} {}\n", self.error_style().yellow("warning:"), clean(text)));
        }
    }

    /// Tells how it ended, and says it with the exit code.
    pub fn finish(&self, result: Result<(), CliError>) -> ExitCode {
        self.progress(Vec::new());
        let code = match result {
            Ok(()) => 0,
            Err(error) => {
                self.error(&error);
                error.report().exit_code
            }
        };
        let Some(why) = self.stdout.failure() else { return code.into() };
        let report = Report::new(ErrorCode::Internal, format!("cannot write the result: {why}"), "check where stdout leads to");
        self.err(&people_error(&report, self.error_style()));
        report.exit_code.into()
    }

    fn error(&self, error: &CliError) {
        let report = error.report();
        if let (true, CliError::Import(summary)) = (self.look.json, error) {
            self.json_line(&Told { report: &report, summary }, self.terminal.stdout);
        } else if self.look.json {
            self.json_line(&report, self.terminal.stdout);
        } else if let CliError::NoCommand { help, .. } = error {
            self.err(help);
        } else {
            self.err(&people_error(&report, self.error_style()));
        }
    }
}

/// What was done, with why that is not all.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    summary: &'a Summary,
}

pub fn people_error(report: &Report, style: Style) -> String {
    let mut text = format!("{} {} [{}]\n", style.red("error:"), clean(&report.cause), clean(&report.error_code.to_string()));
    if !report.next_step.is_empty() {
        text.push_str(&format!("{} {}\n", style.bold("next:"), clean(&report.next_step)));
    }
    if let Some(id) = report.session_id {
        text.push_str(&format!("{}\n", style.dim(&format!("session {id}"))));
    }
    if let Some(id) = report.operation_id {
        text.push_str(&format!("{}\n", style.dim(&format!("operation {id}"))));
    }
    text
}

#[cfg(test)]
#[path = "ui_tests.rs"]
mod tests;
