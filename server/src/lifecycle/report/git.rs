//! How far git is, by the lines that it writes of its own work.

use crate::ledger::Progress;

/// What git does on this side. What the remote does comes with `remote:` before it, and is the remote's to say.
const STEPS: &[&str] = &["Receiving objects", "Resolving deltas", "Unpacking objects", "Updating files", "Checking out files"];
/// What else of git's goes into a log.
const WORDS: &[&str] = &["fatal: ", "error: ", "warning: "];
/// All other lines are nothing for anybody.
pub const BEGINNINGS: &[&[&str]] = &[STEPS, WORDS];

/// Said anew from the numbers: no more of the line than these is passed on.
pub fn progress(line: &str) -> Option<Progress> {
    let (step, rest) = line.split_once(':')?;
    let step = STEPS.iter().find(|known| **known == step)?;
    let (percent, rest) = rest.trim_start().split_once("% (")?;
    let (done, rest) = rest.split_once('/')?;
    let (all, _) = rest.split_once(')')?;
    let (done, all): (u64, u64) = (number(done)?, number(all)?);
    let percent = i16::try_from(number(percent)?).ok().filter(|percent| *percent <= 100)?;
    Some(Progress { message: format!("{step}: {percent}% ({done}/{all})"), percent: Some(percent) })
}

/// `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What a line of git's has for the log: the end of each step, and what went wrong.
pub fn logged(line: &str) -> Option<String> {
    match progress(line) {
        Some(progress) => line.trim_end().ends_with("done.").then(|| format!("{}, done.", progress.message)),
        None => WORDS.iter().any(|word| line.starts_with(word)).then(|| line.to_owned()),
    }
}

/// Without the lines that only tell how far it is, here or at the remote: what is left says why git failed.
pub fn without_progress(text: &str) -> String {
    let remote = ["Enumerating objects", "Counting objects", "Compressing objects", "Total "];
    let is_progress = |line: &&str| {
        let of_remote = line.strip_prefix("remote: ").is_some_and(|rest| remote.iter().any(|step| rest.starts_with(step)));
        of_remote || STEPS.iter().any(|step| line.strip_prefix(step).is_some_and(|rest| rest.starts_with(':')))
    };
    text.split(['\n', '\r']).filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_git_says_of_its_own_work_is_progress_and_only_its_numbers() {
        let seen = |line: &str| progress(line).map(|progress| (progress.message, progress.percent.unwrap()));
        let told = |text: &str, percent| Some((text.to_owned(), percent));
        assert_eq!(seen("Receiving objects:   7% (23/321), 1.20 MiB | 800.00 KiB/s"), told("Receiving objects: 7% (23/321)", 7));
        assert_eq!(seen("Resolving deltas: 100% (12/12), done."), told("Resolving deltas: 100% (12/12)", 100));
        assert_eq!(seen("Receiving objects: 100% (1/1) s3cret"), told("Receiving objects: 100% (1/1)", 100));
        for line in [
            "remote: Receiving objects:   7% (23/321)",
            "remote: Counting objects: 100% (3/3), done.",
            "Receiving objects s3cret:   7% (23/321)",
            "Receiving objects: 7% (s3cret/321)",
            "Receiving objects: +7% (1/321)",
            "Receiving objects: 700% (1/321)",
            "Receiving objects: 7% (99999999999999999999999/321)",
            "From https://h/r",
            "",
        ] {
            assert_eq!(seen(line), None, "{line}");
        }
    }

    #[test]
    fn the_log_has_the_end_of_each_step_and_what_went_wrong_and_nothing_of_the_remotes() {
        assert_eq!(logged("Receiving objects: 99% (1/2)"), None);
        assert_eq!(
            logged("Unpacking objects: 100% (3/3), 213 bytes | 3 KiB/s, done."),
            Some("Unpacking objects: 100% (3/3), done.".into())
        );
        assert_eq!(logged("fatal: early EOF"), Some("fatal: early EOF".into()));
        for line in ["remote: fatal: s3cret", "remote: Total 3 (delta 0)", "From https://h/r", " * branch  main -> FETCH_HEAD"] {
            assert_eq!(logged(line), None, "{line}");
        }
    }

    #[test]
    fn a_cause_is_not_hidden_behind_progress() {
        let text =
            "remote: Counting objects: 1% (1/9)\rremote: Nobody is here\nReceiving objects: 7% (1/9)\rReceiving objects: 8%\nfatal: x\n";
        assert_eq!(without_progress(text), "remote: Nobody is here\nfatal: x\n");
    }
}
