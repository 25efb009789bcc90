//! The only writer to the terminal. Results go to stdout, everything else to stderr.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use alpine_api::ErrorCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::{
    args::Look,
    clock,
    commands::Summary,
    error::{CliError, Report},
};

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
    style: Style,
    error_style: Style,
    terminal: Terminal,
}

type Sink = Box<dyn Write + Send>;

struct Stream(Mutex<(Sink, io::Result<()>)>);

/// Which of the two streams a person looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    pub stdout: bool,
    pub stderr: bool,
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui").field("look", &self.look).field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(sink: Sink) -> Self {
        Self(Mutex::new((sink, Ok(()))))
    }

    /// Keeps the first failure for the end: a full disk must not look like success.
    fn write(&self, text: &str) {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stream.1.is_ok() {
            stream.1 = stream.0.write_all(text.as_bytes()).and_then(|()| stream.0.flush());
        }
    }

    fn failure(&self) -> Option<String> {
        match &self.0.lock().unwrap_or_else(PoisonError::into_inner).1 {
            // The reader has seen enough (`alpine list | head -1`).
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(error.to_string()),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.is_err()
    }
}

impl Ui {
    pub fn of_process(look: &Look, no_color: bool) -> Self {
        let terminal = Terminal { stdout: io::stdout().is_terminal(), stderr: io::stderr().is_terminal() };
        Self::new(
            Box::new(anstream::stdout()),
            Box::new(anstream::stderr()),
            Look { no_color: look.no_color || no_color, ..*look },
            terminal,
        )
    }

    pub fn new(stdout: Sink, stderr: Sink, look: Look, terminal: Terminal) -> Self {
        let style = |terminal| Style { color: terminal && !look.no_color };
        let (style, error_style) = (style(terminal.stdout), style(terminal.stderr));
        Self { stdout: Stream::new(stdout), stderr: Stream::new(stderr), look, style, error_style, terminal }
    }

    pub fn json(&self) -> bool {
        self.look.json
    }

    pub fn stdout_is_terminal(&self) -> bool {
        self.terminal.stdout
    }

    /// Whether a person watches and wants to see how far an operation is.
    pub fn shows_progress(&self) -> bool {
        self.terminal.stderr && !self.look.json && !self.look.quiet
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
            self.text(&format!("{}\n", answer.for_people(self.style, clock::now())));
        }
    }

    /// One of many results: always one line.
    pub fn answer_line(&self, answer: &impl Answer) {
        if self.look.json {
            self.json_line(answer, false);
        } else {
            self.text(&format!("{}\n", answer.for_people(self.style, clock::now())));
        }
    }

    fn json_line(&self, value: &impl Serialize, pretty: bool) {
        let json = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        match json {
            Ok(json) => self.text(&format!("{json}\n")),
            Err(error) => self.warn(&format!("the result cannot be printed: {error}")),
        }
    }

    /// Text that is a result by itself.
    pub fn text(&self, text: &str) {
        self.stdout.write(text);
    }

    /// For people, beside the result.
    pub fn info(&self, text: &str) {
        if !self.look.quiet && !self.look.json {
            self.stderr.write(&format!("{text}\n"));
        }
    }

    /// What a person must do for the command to go on: always on stderr.
    pub fn ask(&self, text: &str) {
        self.stderr.write(&format!("{text}\n"));
    }

    /// Emphasis of what goes to stderr.
    pub fn error_style(&self) -> Style {
        self.error_style
    }

    pub fn stderr_is_terminal(&self) -> bool {
        self.terminal.stderr
    }

    /// With `--verbose` only.
    pub fn note(&self, text: &str) {
        if self.look.verbose {
            self.stderr.write(&format!("{}\n", self.error_style.dim(&clean(text))));
        }
    }

    pub fn warn(&self, text: &str) {
        self.stderr.write(&format!("{} {}\n", self.error_style.yellow("warning:"), clean(text)));
    }

    /// Tells how it ended, and says it with the exit code.
    pub fn finish(&self, result: Result<(), CliError>) -> ExitCode {
        let code = match result {
            Ok(()) => 0,
            Err(error) => {
                self.error(&error);
                error.report().exit_code
            }
        };
        let Some(why) = self.stdout.failure() else { return code.into() };
        let report = Report::new(ErrorCode::Internal, format!("cannot write the result: {why}"), "check where stdout leads to");
        self.stderr.write(&people_error(&report, self.error_style));
        report.exit_code.into()
    }

    fn error(&self, error: &CliError) {
        let report = error.report();
        if let (true, CliError::Import(summary)) = (self.look.json, error) {
            self.json_line(&Told { report: &report, summary }, self.terminal.stdout);
        } else if self.look.json {
            self.json_line(&report, self.terminal.stdout);
        } else if let CliError::NoCommand { help } = error {
            self.stderr.write(help);
        } else {
            self.stderr.write(&people_error(&report, self.error_style));
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
    if let Some(id) = report.operation_id {
        text.push_str(&format!("{}\n", style.dim(&format!("operation {id}"))));
    }
    text
}

/// Text that came from elsewhere, without what would steer a terminal.
pub fn clean(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                ' '
            } else if steers(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Emphasis, where there is a terminal that shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    pub color: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

/// Aligned columns under a heading; the last is as wide as it is.
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]], style: Style) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| clean(cell))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).chain([heading[column].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    std::iter::once(style.bold(&line(heading))).chain(body).collect::<Vec<_>>().join("\n")
}

/// `name  value` a line, the values under one another.
pub fn fields(rows: &[(&str, Option<String>)], style: Style) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, Option<String>)| {
        value.as_ref().map(|value| format!("{}  {}", style.dim(&format!("{name:<width$}")), clean(value)))
    };
    rows.iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

/// `3 min ago`.
pub fn ago(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (now - then).max(TimeDelta::zero()) {
        d if d < TimeDelta::seconds(5) => "just now".to_owned(),
        d if d < TimeDelta::minutes(1) => format!("{} s ago", d.num_seconds()),
        d if d < TimeDelta::hours(1) => format!("{} min ago", d.num_minutes()),
        d if d < TimeDelta::days(1) => format!("{} h ago", d.num_hours()),
        d => format!("{} d ago", d.num_days()),
    }
}

/// `1.2 s`, `2 min 05 s`.
pub fn elapsed(time: TimeDelta) -> String {
    let time = time.max(TimeDelta::zero());
    let tenths = time.num_milliseconds() / 100;
    if tenths < 600 { format!("{}.{} s", tenths / 10, tenths % 10) } else { format!("{} min {:02} s", tenths / 600, tenths % 600 / 10) }
}

#[cfg(test)]
#[path = "ui_tests.rs"]
mod tests;
