//! What was looked at, and what came of it: for people and for scripts.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// It cannot be told: something that would tell is missing.
    Unknown,
    /// Not looked at, since it was not asked for; the verdict is made without it.
    Skipped,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// An error code, or a word: `live`, `ready`, `list`, `metrics`, `version`, `certificate`, `restart`, `gates`, `alerts`.
    pub check: &'static str,
    /// The replica, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub outcome: Outcome,
    pub detail: String,
    /// The page that says what to do; of whatever has not passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
}

impl Check {
    pub fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, target: None, outcome: Outcome::Passed, detail: detail.into(), runbook: None }
    }

    pub fn failed(check: &'static str, detail: impl Into<String>, runbook: &str) -> Self {
        Self { check, target: None, outcome: Outcome::Failed, detail: detail.into(), runbook: Some(runbook.to_owned()) }
    }

    pub fn unknown(check: &'static str, detail: impl Into<String>, runbook: &str) -> Self {
        Self { outcome: Outcome::Unknown, ..Self::failed(check, detail, runbook) }
    }

    pub fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::passed(check, detail) }
    }

    pub fn at(self, target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..self }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    outcome: Outcome,
    checks: Vec<Check>,
}

impl Report {
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        let any = |outcome| checks.iter().any(|check| check.outcome == outcome);
        // One thing that is wrong is enough to know, whatever else cannot be told.
        let outcome = [Outcome::Failed, Outcome::Unknown].into_iter().find(|outcome| any(*outcome)).unwrap_or(Outcome::Passed);
        Self { outcome, checks }
    }

    /// 0: healthy. 1: not. 2: it cannot be told.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Passed | Outcome::Skipped => 0,
            Outcome::Failed => 1,
            Outcome::Unknown => 2,
        }
    }

    /// A line a check, and the verdict.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Check { check, target, outcome, detail, runbook } in &self.checks {
            let target = target.as_ref().map(|target| format!("{target}: ")).unwrap_or_default();
            let runbook = runbook.as_ref().map(|page| format!("\n{:9}see {page}", "")).unwrap_or_default();
            text.push_str(&format!("{:<9}{check}: {target}{detail}{runbook}\n", outcome.word()));
        }
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let (failed, unknown, skipped) = (count(Outcome::Failed), count(Outcome::Unknown), count(Outcome::Skipped));
        let all = self.checks.len() - skipped;
        text + &match self.outcome {
            Outcome::Passed | Outcome::Skipped if skipped == 0 => format!("healthy: {all} checks"),
            Outcome::Passed | Outcome::Skipped => format!("healthy: {all} checks; {skipped} skipped"),
            Outcome::Failed => format!("not healthy: {failed} of {all} checks failed"),
            Outcome::Unknown => format!("not known to be healthy: {unknown} of {all} checks could not be made"),
        }
    }

    /// `{"outcome", "checks": [{"check", "target"?, "outcome", "detail", "runbook"?}]}`
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_decides_and_what_is_unknown_is_not_healthy() {
        let (passed, failed, unknown) =
            (Check::passed("live", "x"), Check::failed("ready", "y", "r.md"), Check::unknown("gates", "z", "r.md"));
        assert_eq!(Report::new(vec![passed.clone()]).exit_code(), 0);
        assert_eq!(Report::new(vec![passed.clone(), unknown.clone()]).exit_code(), 2);
        let report = Report::new(vec![passed.at("https://a"), unknown, failed]);
        assert_eq!(report.exit_code(), 1);
        let lines = [
            "ok       live: https://a: x",
            "unknown  gates: z",
            "         see r.md",
            "FAILED   ready: y",
            "         see r.md",
            "not healthy: 1 of 3 checks failed",
        ];
        assert_eq!(report.text(), lines.join("\n"));
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(
            (&json["outcome"], &json["checks"][0]["target"], &json["checks"][1]["outcome"]),
            (&"failed".into(), &"https://a".into(), &"unknown".into())
        );
        assert!(json["checks"][0].get("runbook").is_none());
        let report = Report::new(vec![Check::passed("live", "x"), Check::skipped("gates", "y")]);
        assert_eq!((report.exit_code(), report.text().as_str()), (0, "ok       live: x\nskipped  gates: y\nhealthy: 1 checks; 1 skipped"));
    }
}
