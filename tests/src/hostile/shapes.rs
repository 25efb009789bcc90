//! The forms that a command line with outside data in it may have: everything but that data is fixed.

use std::collections::HashSet;

use super::{MARK, trace::Run};

/// What was handed in.
#[derive(Debug, Default)]
pub struct Known {
    pub urls: HashSet<String>,
    pub branches: HashSet<String>,
}

/// Programs that run another: what comes before its command line is theirs.
const WRAPPERS: &[&str] = &["nice", "setsid", "bwrap", "sh", "dash", "prlimit", "setpriv"];
const FETCH: &[&str] = &["--progress", "--force", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"];
/// Those that git runs for itself.
const INNER: &[&str] = &["remote-https", "index-pack", "unpack-objects", "rev-list", "gc", "maintenance", "credential-cache"];

impl Known {
    fn branch(&self, name: &str) -> bool {
        self.branches.contains(name)
    }

    fn reference(&self, name: &str) -> bool {
        name.strip_prefix("refs/heads/").is_some_and(|branch| self.branch(branch))
    }

    fn url(&self, text: &str) -> bool {
        self.urls.contains(text)
    }

    /// A git of ours, or one that git runs for itself.
    fn is_git(&self, argv: &[&str]) -> bool {
        match argv {
            ["ls-remote", "--quiet", "--", url, name] => self.url(url) && self.reference(name),
            ["fetch", rest @ ..] if rest.starts_with(FETCH) => match &rest[FETCH.len()..] {
                ["--depth=1", "--", url, commit] => self.url(url) && is_commit(commit),
                ["--", url, name] => self.url(url) && self.reference(name),
                _ => false,
            },
            // Asked once, at start.
            ["--version"] => true,
            ["init", "--quiet", "."] | ["rev-parse", "--verify", "--quiet", "HEAD"] => true,
            ["config", "remote.origin.url", url] => self.url(url),
            ["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"] => true,
            ["config", key, value] => {
                let of =
                    |end: &str| key.strip_prefix("branch.").and_then(|rest| rest.strip_suffix(end)).is_some_and(|name| self.branch(name));
                (of(".remote") && *value == "origin") || (of(".merge") && self.reference(value))
            }
            ["checkout", "--quiet", "--progress", "--force", "-B", branch, commit, "--"] => self.branch(branch) && is_commit(commit),
            ["--shallow-file", "/workspace/.git/shallow.lock", rest @ ..] => self.is_inner(rest),
            _ => self.is_inner(argv),
        }
    }

    fn is_inner(&self, argv: &[&str]) -> bool {
        match argv {
            [first, rest @ ..] if INNER.contains(first) => rest.iter().all(|word| !word.contains(MARK) || self.url(word)),
            _ => false,
        }
    }

    /// A shell of ours: its script is fixed, and outside data is `$1` and so on.
    fn is_script(&self, argv: &[&str]) -> bool {
        let known = |word: &str| self.url(word) || self.branch(word) || is_commit(word);
        match argv {
            ["sh", "-c", script, "git", rest @ ..] => {
                // The last of these takes a command and becomes it.
                let (data, command) = rest.split_at(rest.iter().position(|word| *word == "git").unwrap_or(rest.len()));
                let becomes = command.is_empty() || data.len() == 3 && self.is_git(&command[1..]);
                !script.contains(MARK) && script.contains("git ") && data.iter().all(|word| known(word)) && becomes
            }
            _ => false,
        }
    }

    /// Why this command line is none that we would write.
    pub fn objection(&self, run: &Run) -> Option<String> {
        let argv: Vec<&str> = run.argv.iter().map(String::as_str).collect();
        let name = run.program.rsplit('/').next().unwrap_or_default();
        let outside = |word: &&str| word.contains(MARK);
        let fine = match name {
            "git" => self.is_git(argv.get(1..).unwrap_or_default()),
            "git-remote-https" => argv.len() == 3 && argv[1..].iter().all(|url| self.url(url)),
            _ if name.starts_with("git") || name.starts_with("ssh") => false,
            _ if !argv.iter().any(outside) => true,
            _ if WRAPPERS.contains(&name) => (0..argv.len()).any(|at| {
                let ours = (argv[at] == "git" && self.is_git(&argv[at + 1..])) || self.is_script(&argv[at..]);
                ours && !argv[..at].iter().any(outside)
            }),
            _ => false,
        };
        (!fine).then(|| format!("{} {:?}", run.program, run.argv))
    }
}

fn is_commit(word: &str) -> bool {
    word.len() == 40 && word.bytes().all(|b| b.is_ascii_hexdigit())
}
