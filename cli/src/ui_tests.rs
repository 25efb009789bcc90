use std::process::ExitCode;

use chrono::TimeDelta;

use super::*;
use crate::testing::{at, operation_id};

#[test]
fn relative_and_elapsed_times() {
    let now = at("2026-11-22T12:00:00Z");
    let said = |seconds| ago(now - TimeDelta::seconds(seconds), now);
    assert_eq!(
        [-5, 4, 59, 60, 3599, 3600, 86_400 * 3].map(said),
        ["just now", "just now", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "3 d ago"]
    );
    let took = |ms| elapsed(TimeDelta::milliseconds(ms));
    assert_eq!([-1, 0, 1_250, 59_999, 60_000, 725_000].map(took), ["0.0 s", "0.0 s", "1.2 s", "59.9 s", "1 min 00 s", "12 min 05 s"]);
}

#[test]
fn text_from_elsewhere_cannot_steer_the_terminal() {
    assert_eq!(clean("a\u{1b}[31mb\nc\u{202e}d ü"), "a\u{fffd}[31mb c\u{fffd}d ü");
}

#[test]
fn json_cannot_steer_the_terminal_and_means_the_same() {
    let value = serde_json::json!({"a": "x\u{9b}31m\u{202e}y\u{7f}\u{1b}\n ü漢", "b": ["\u{200f}"]});
    for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
        let told = text::escaped(&json);
        assert!(told.contains(r"x\u009b31m\u202ey\u007f\u001b\n ü漢") && told.contains(r"\u200f"), "{told}");
        assert!(told.chars().all(|c| c == '\n' || clean(&c.to_string()) == c.to_string()), "{told}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&told).unwrap(), value);
    }
}

#[test]
fn text_is_cut_to_the_columns_that_it_takes() {
    assert_eq!(
        (cut("abc", 3), cut("abcd", 3), cut("漢字漢", 5), cut("ab", 0)),
        ("abc".into(), "ab…".into(), "漢字…".into(), String::new())
    );
    assert_eq!(cut("\u{1b}[1mabcdef\u{1b}[0m", 4), "\u{1b}[1mabc…\u{1b}[0m");
    assert_eq!((cut_front("abcd", 3), cut_front("abc", 3)), ("…cd".into(), "abc".into()));
    assert_eq!(clean_lines("a\tb\n\u{1b}[2J\r\n"), "a\tb\n\u{fffd}[2J\u{fffd}\n");
}

#[test]
fn columns_line_up() {
    let rows = [["1".to_owned(), "ünï".to_owned(), "x y".to_owned()], ["10000".to_owned(), "a".to_owned(), String::new()]];
    assert_eq!(table(["N", "NAME", "LAST"], &rows, Style::default()), "N      NAME  LAST\n1      ünï   x y\n10000  a");
}

#[test]
fn an_error_has_its_code_and_its_next_step() {
    let report = Report {
        operation_id: Some(operation_id(1)),
        ..Report::new(ErrorCode::SandboxProvisionFailed, "install\u{7} exited 1", "mend it")
    };
    insta::assert_snapshot!("error_people", people_error(&report, Style::default()));
    insta::assert_snapshot!(
        "error_people_color",
        people_error(&report, Style { color: true, ..Style::default() }).replace('\u{1b}', "ESC")
    );
    insta::assert_json_snapshot!("error_json", report);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let ui = |terminal, no_color| {
        let look = Look { no_color, ..Look::default() };
        Ui::new(Box::new(io::sink()), Box::new(io::sink()), look, Terminal { stdout: terminal, stderr: terminal, ..Terminal::default() })
    };
    assert_eq!([(true, false), (true, true), (false, false)].map(|(tty, no)| ui(tty, no).style().color), [true, false, false]);
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_unless_the_reader_has_left() {
    let finish = |kind| {
        let ui = Ui::new(Box::new(Broken(kind)), Box::new(io::sink()), Look::default(), Terminal::default());
        ui.text("result\n");
        ui.finish(Ok(()))
    };
    assert_eq!(finish(io::ErrorKind::BrokenPipe), ExitCode::SUCCESS);
    assert_eq!(finish(io::ErrorKind::StorageFull), ExitCode::from(2));
}
