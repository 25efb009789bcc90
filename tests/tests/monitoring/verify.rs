//! `alpine-server verify-release`, as a release script runs it.

use std::{path::PathBuf, process::Stdio};

use alpine_tests::{World, bins, ground::write_secret};
use serde_json::Value;

/// What it takes to run it on this world.
pub struct Verify {
    ca: PathBuf,
    token: PathBuf,
    urls: Vec<String>,
}

/// Exit code and report.
#[derive(Debug)]
pub struct Verdict {
    pub code: Option<i32>,
    pub report: Value,
}

impl Verify {
    pub fn new(world: &World, urls: Vec<String>) -> Self {
        let token = world.dir.join("verify.token");
        write_secret(&token, format!("{}\n", world.token("dev", "ann", &[])).as_bytes());
        Self { ca: world.pki.ca.clone(), token, urls }
    }

    /// With these arguments more.
    pub async fn run(&self, more: &[&str]) -> Verdict {
        let mut command = tokio::process::Command::new(bins::path("alpine-server"));
        command.args(["verify-release", "--json", "--ca-file"]).arg(&self.ca).arg("--token-file").arg(&self.token);
        for url in &self.urls {
            command.args(["--url", url]);
        }
        let done = command.args(more).stdin(Stdio::null()).output().await.unwrap();
        let words = String::from_utf8(done.stdout).unwrap();
        let report = serde_json::from_str(&words).unwrap_or_else(|_| panic!("{words}{}", String::from_utf8_lossy(&done.stderr)));
        Verdict { code: done.status.code(), report }
    }
}

impl Verdict {
    /// The names of the checks with this outcome, once each. Each that has not passed names a page that is there.
    pub fn of(&self, outcome: &str) -> Vec<&str> {
        let mut names = Vec::new();
        for check in self.report["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == outcome) {
            names.push(check["check"].as_str().unwrap());
            if outcome != "passed" {
                let page = check["runbook"].as_str().unwrap();
                assert!(bins::root().join(page).is_file(), "{page}");
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    pub fn is(&self, code: i32, outcome: &str) {
        assert_eq!((self.code, &self.report["outcome"]), (Some(code), &outcome.into()), "{:#}", self.report);
    }
}
