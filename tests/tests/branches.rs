//! Our grammar of branch names against git's own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::process::{Command, Stdio};

use alpine_api::Branch;
use alpine_tests::hostile::branches::{arrangements, bad, odd};

/// Refused by us and taken by git, on purpose: what is longer than any file system's name, control characters
/// of Latin-1, marks that make one name look like another, and `@`, which git reads as HEAD elsewhere.
fn stricter_on_purpose(name: &str) -> bool {
    let deceives = |c: char| {
        ('\u{80}'..='\u{9f}').contains(&c)
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    name == "@" || name.len() > 255 || name.chars().any(deceives)
}

fn git_takes(name: &str) -> bool {
    // No program can be given a NUL.
    let git = |args: &[&str]| {
        let status = Command::new("git").args(args).current_dir("/").stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.unwrap().success()
    };
    !name.contains('\0') && git(&["check-ref-format", "--branch", name]) && git(&["check-ref-format", &format!("refs/heads/{name}")])
}

#[test]
fn a_branch_is_one_that_git_takes_and_every_difference_is_meant() {
    let names: Vec<String> = arrangements().into_iter().step_by(2).chain(bad()).chain(odd()).collect();
    assert!(names.len() > 3000, "{}", names.len());
    let wrong = |names: &[String]| {
        let mut wrong = Vec::new();
        for name in names {
            let (ours, gits) = (name.parse::<Branch>().is_ok(), git_takes(name));
            if ours != gits && !(gits && stricter_on_purpose(name)) {
                wrong.push(format!("{name:?}: ours {ours}, git's {gits}"));
            }
        }
        wrong
    };
    let (first, second) = names.split_at(names.len() / 2);
    let wrong = std::thread::scope(|scope| {
        let first = scope.spawn(|| wrong(first));
        [wrong(second), first.join().unwrap()].concat()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
