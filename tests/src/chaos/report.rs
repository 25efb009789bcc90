//! What a run came to, as one table.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use crate::invariants::Violation;

#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub replicas: usize,
    pub seconds: f64,
    pub sessions: BTreeMap<String, u64>,
    /// `up succeeded` and the like.
    pub operations: BTreeMap<String, u64>,
    /// `up 202` and the like.
    pub requests: BTreeMap<String, u64>,
    pub replays: u64,
    pub faults: BTreeMap<String, u64>,
    pub provider_faults: BTreeMap<String, u64>,
    pub adoptions: f64,
    pub fenced_writes: f64,
    pub orphans: f64,
    pub recoveries: Vec<f64>,
    pub rest_seconds: f64,
    /// How often the invariants were checked while the run went on.
    pub checks: u64,
    pub violations: BTreeMap<&'static str, Vec<String>>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub fn by_check(violations: Vec<Violation>) -> BTreeMap<&'static str, Vec<String>> {
        let mut by_check = BTreeMap::<_, Vec<String>>::new();
        for violation in violations {
            by_check.entry(violation.check).or_default().push(violation.what);
        }
        by_check
    }

    fn recovery(&self, part: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
        let at = (self.recoveries.len().saturating_sub(1) as f64 * part).round() as usize;
        self.recoveries.get(at).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"))
    }

    fn recoveries(&self) -> String {
        let (p50, p99, most) = (self.recovery(0.5), self.recovery(0.99), self.recovery(1.0));
        format!("{} leases: p50 {p50}, p99 {p99}, longest {most}", self.recoveries.len())
    }

    fn violated(&self) -> String {
        let counts = self.violations.iter().map(|(check, all)| format!("{check} {}", all.len()));
        if self.is_clean() { "0".to_owned() } else { joined(counts) }
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn counted(counts: &BTreeMap<String, u64>) -> String {
    joined(counts.iter().map(|(name, count)| format!("{name} {count}")))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        let rows = [
            ("run", format!("{:.0} s, seed {}, {} replicas", self.seconds, self.seed, self.replicas)),
            ("sessions", counted(&self.sessions)),
            ("operations", format!("{}: {}", total(&self.operations), counted(&self.operations))),
            ("requests", format!("{}: {}", total(&self.requests), counted(&self.requests))),
            ("requests made again at the end", self.replays.to_string()),
            ("faults", format!("{}: {}", total(&self.faults), counted(&self.faults))),
            ("faults inside the servers", format!("{}: {}", total(&self.provider_faults), counted(&self.provider_faults))),
            ("adoptions", self.adoptions.to_string()),
            ("fenced writes", self.fenced_writes.to_string()),
            ("orphans removed", self.orphans.to_string()),
            ("recovery", self.recoveries()),
            ("at rest after", format!("{:.1} s", self.rest_seconds)),
            ("checks during the run", self.checks.to_string()),
            ("violations", self.violated()),
        ];
        writeln!(f, "| what | how much |\n|---|---|")?;
        rows.iter().try_for_each(|(what, how_much)| writeln!(f, "| {what} | {how_much} |"))
    }
}

pub fn seconds(times: &[Duration]) -> Vec<f64> {
    times.iter().map(Duration::as_secs_f64).collect()
}
