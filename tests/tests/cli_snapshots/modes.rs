//! One command, four times: for a person on a terminal, for one without, and for a script on either.

use alpine_tests::{Answer, World, cli::Alpine, pty::Shown};
use regex::Regex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::parity;

pub struct Modes<'a> {
    /// What each of the four is, without its arguments.
    alpine: Box<dyn Fn(usize) -> Alpine + 'a>,
    columns: u16,
}

/// How it went in each.
#[derive(Debug)]
pub struct Said {
    pub words: String,
    pub terminal: Shown,
    pub plain: Answer,
    pub json: Answer,
    pub json_terminal: Shown,
}

impl<'a> Modes<'a> {
    pub fn of(world: &'a World, who: &'a str) -> Self {
        Self::each(move |_| if who == "admin" { world.admin(who) } else { world.alpine(who) })
    }

    pub fn each(alpine: impl Fn(usize) -> Alpine + 'a) -> Self {
        // A browser that is there would be opened.
        Self { alpine: Box::new(move |n| alpine(n).env("CI", "true")), columns: 100 }
    }

    /// On a terminal of another width.
    pub fn at(self, columns: u16) -> Self {
        Self { columns, ..self }
    }

    pub async fn run(&self, args: &[&str]) -> Said {
        self.run_each(|_| args.iter().map(|arg| (*arg).to_owned()).collect()).await
    }

    /// With other arguments each time.
    pub async fn run_each(&self, args: impl Fn(usize) -> Vec<String>) -> Said {
        self.run_until(&CancellationToken::new(), args).await
    }

    /// The same, and Ctrl-C at the same time for all.
    pub async fn run_until(&self, interrupt: &CancellationToken, args: impl Fn(usize) -> Vec<String>) -> Said {
        let alpine = |n| (self.alpine)(n).args(&args(n));
        let script = |n| alpine(n).args(&["--json"]);
        let (terminal, plain, script, script_on_terminal) = tokio::join!(
            alpine(0).on_terminal_until(self.columns, interrupt.cancelled()),
            alpine(1).run_until(interrupt.cancelled()),
            script(2).run_until(interrupt.cancelled()),
            script(3).on_terminal_until(self.columns, interrupt.cancelled()),
        );
        Said { words: args(0).join(" "), terminal, plain, json: script, json_terminal: script_on_terminal }
    }
}

impl Said {
    /// The sessions that it was about, one a mode.
    pub fn sessions(&self) -> Vec<String> {
        let of = |text: &str| text.find("ses_").map(|at| text[at..at + 36].to_owned()).unwrap_or_else(|| panic!("no session: {text}"));
        let plain = format!("{}{}", self.plain.stdout, self.plain.stderr);
        vec![of(self.terminal.screen()), of(&plain), of(&self.json.stdout), of(&self.json_terminal.raw)]
    }

    /// What was typed, and what stood on the terminal then.
    fn terminal_text(&self) -> String {
        format!("$ alpine {}\n{}\n", self.words, trimmed(self.terminal.screen()))
    }

    fn text(&self) -> String {
        let Self { words, terminal, plain, json, json_terminal } = self;
        let codes = [terminal.code, plain.code, json.code, json_terminal.code];
        assert!(codes.iter().all(|code| *code == plain.code && code.is_some()), "the exit code depends on the mode: {self:?}");
        // Without the code that it shows nobody could log in.
        let shows = words.starts_with("login");
        assert!(json.stderr.is_empty() != shows, "with --json there is nothing but the object: {json}");
        assert!(!plain.stderr.contains('\u{1b}') && !plain.stdout.contains('\u{1b}'), "control codes without a terminal: {plain}");
        let compact: Value = serde_json::from_str(&json.stdout).unwrap_or(Value::Null);
        let from_its_begin = |at: &str| json_terminal.raw.find(at).map(|found| &json_terminal.raw[found..]);
        let pretty = if shows { from_its_begin("\n{").unwrap_or_default() } else { &json_terminal.raw };
        let pretty: Value = serde_json::from_str(pretty).unwrap_or(Value::Null);
        assert_eq!(shape(&compact), shape(&pretty), "a terminal changes the object: {self:?}");
        let code = plain.code.unwrap();
        format!(
            "{}\n--- without a terminal: stdout\n{}\n--- stderr\n{}\n--- with --json\n{}\n--- exit code {code}",
            self.terminal_text(),
            trimmed(&plain.stdout),
            trimmed(&plain.stderr),
            if compact.is_null() { trimmed(&json.stdout) } else { serde_json::to_string_pretty(&compact).unwrap() },
        )
    }

    #[track_caller]
    pub fn snapshot(&self, name: &str) {
        parity::of(self);
        // As it was, for docs/cli.md.
        let captures = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("captures");
        std::fs::create_dir_all(&captures).unwrap();
        std::fs::write(captures.join(format!("{name}.txt")), self.terminal_text()).unwrap();
        insta::assert_snapshot!(name, normalised(&self.text()));
    }

    /// How often git and the installer say how far they are is not the same each time: they are left out, and the numbers.
    #[track_caller]
    pub fn snapshot_of_events(&self, name: &str) {
        let progress = |line: &&str| !line.contains("\"kind\":\"progress\"") && !line.split("  ").any(|cell| PHASES.contains(&cell.trim()));
        let json = |text: &str| match serde_json::from_str::<Vec<Value>>(text) {
            Ok(all) => all.iter().filter(|event| event["kind"] != "progress").map(|event| format!("{event}\n")).collect(),
            Err(_) => text.lines().filter(progress).map(|line| format!("{line}\n")).collect::<String>(),
        };
        let human = |text: &str| {
            let cells = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ");
            text.lines().filter(progress).map(|line| format!("{}\n", cells(line))).collect::<String>()
        };
        assert!([self.terminal.code, self.json.code, self.json_terminal.code].iter().all(|code| *code == self.plain.code));
        let Self { words, terminal, plain, json: script, .. } = self;
        let text = format!(
            "$ alpine {words}\n{}\n--- without a terminal\n{}\n--- with --json\n{}",
            human(terminal.screen()),
            human(&plain.stdout),
            json(&script.stdout)
        );
        insta::assert_snapshot!(name, normalised(&text));
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

const PHASES: [&str; 9] = ["resolve", "provision", "sync", "install", "start", "cleanup", "stop", "persist", "destroy"];

/// The fields' names, without the values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null => Value::Null,
        _ => Value::Bool(true),
    }
}

/// What is another each time, made the same.
const SAME: &[(&str, &str)] = &[
    (r"\b(ses|op|tok|cred|rec)_[0-9a-f]{32}", "${1}_0123456789abcdef0123456789abcdef"),
    (r"alpine_pat_\w+", "alpine_pat_(secret)"),
    (r"\b[0-9a-f]{64}\b", "(hash)"),
    (r"\b[0-9a-f]{32}\b", "(request)"),
    (r"\b[0-9a-f]{40}\b", "0123456789abcdef0123456789abcdef01234567"),
    (r"\b[A-Z]{4}-[A-Z]{4}\b", "WDJB-MJHT"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "(uuid)"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "2026-11-26T10:00:00Z"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-26 10:00:00"),
    (r"until \d{4}-\d\d-\d\d", "until 2027-02-24"),
    (r"\b\d\d:\d\d:\d\d\.\d{3}\b", "10:00:00.000"),
    (r"(just now|\d+ (s|min) ago) *", "1 s ago  "),
    (r"UPDATED *", "UPDATED  "),
    // How much progress there was between two changes of state.
    (r#""seq": ?\d+"#, r#""seq":1"#),
    (r"(?m)^ *\d+((  | \| )(\d{4}-\d\d-\d\d|10:00:00))", "1$1"),
    (r"REPOSITORY +([A-Z])", "REPOSITORY  $1"),
    (r"…\S*/org/repo\.git *", "…/org/repo.git  "),
    // Where a line is cut depends on the time in it.
    (r"(?m) [^ ]*…$", " …"),
    (r"SHA256:[\w+/]+", "SHA256:(fingerprint)"),
    (r"/tmp/alpine-test-\w+/t\d+/", "/home/ann/"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:40001"),
    (r"/\S+/(\.config/\S+)", "/home/ann/$1"),
    (r" +\d+\.\d s\b", " 0.5 s"),
    // Steps that are told apart only where the server says so in time.
    (
        r"(?m)^ 0\.5 s  (waiting for a worker|starting the workspace|checking the commit and the workspace|added 3 packages|error: left-pad is gone|step \d)\n",
        "",
    ),
    (r"(?m)^✓ (starting the workspace|removing the sandbox) .*\n", ""),
    (r", (start|removal) 0\.5 s", ""),
];

pub fn normalised(text: &str) -> String {
    SAME.iter().fold(text.to_owned(), |text, (pattern, same)| Regex::new(pattern).unwrap().replace_all(&text, *same).into_owned())
}

pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}
