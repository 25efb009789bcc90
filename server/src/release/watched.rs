//! The monitoring plan's four codes, read from the replicas themselves.

use std::time::Duration;

use alpine_api::ErrorCode;

use super::{report::Check, scrape::Scrape};

/// A code to be watched for 48 hours after a release.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    pub code: ErrorCode,
    /// So many within [`FLOOR_TIME`] alarm, as in deploy/prometheus/rules/errors.yml.
    floor: f64,
    pub runbook: &'static str,
}

const FLOOR_TIME: Duration = Duration::from_secs(600);
/// However short the time: fewer are an accident.
const AT_LEAST: f64 = 3.0;

pub const WATCHED: [Watched; 4] = [
    Watched { code: ErrorCode::OperationConflict, floor: 20.0, runbook: "docs/runbooks/operation-conflict.md" },
    Watched { code: ErrorCode::PersistPayloadTooLarge, floor: 3.0, runbook: "docs/runbooks/persist-payload-too-large.md" },
    Watched { code: ErrorCode::SessionForbidden, floor: 10.0, runbook: "docs/runbooks/session-forbidden.md" },
    Watched { code: ErrorCode::SandboxProvisionFailed, floor: 10.0, runbook: "docs/runbooks/sandbox-provision-failed.md" },
];

impl Watched {
    /// At the floor's pace.
    fn limit(&self, window: Duration) -> f64 {
        (self.floor * window.as_secs_f64() / FLOOR_TIME.as_secs_f64()).max(AT_LEAST)
    }

    /// It cannot be told, and why not.
    pub fn unknown(&self, why: &str) -> Check {
        Check::unknown(self.code.as_str(), why, self.runbook)
    }

    /// What was counted between two readings of each replica.
    pub fn between(&self, readings: &[(Scrape, Scrape)], window: Duration) -> Check {
        let counted = |scrape: &Scrape| scrape.sum("alpine_errors_total", &[("error_code", self.code.as_str())]);
        let more = |(before, after): &(Scrape, Scrape)| {
            let (before, after) = (counted(before)?, counted(after)?);
            // A process that began anew counts from 0.
            Some(if after < before { after } else { after - before })
        };
        let Some(more) = readings.iter().map(more).sum::<Option<f64>>() else {
            return Check::unknown(self.code.as_str(), "a replica does not count it", self.runbook);
        };
        let (limit, seconds) = (self.limit(window), window.as_secs());
        let detail = format!("{more} in {seconds} s");
        if more < limit {
            Check::passed(self.code.as_str(), detail)
        } else {
            Check::failed(self.code.as_str(), format!("{detail}, of which {limit:.0} are too many"), self.runbook)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::report::Outcome;

    #[test]
    fn the_floors_are_those_of_the_alerts() {
        let rules = include_str!("../../../deploy/prometheus/rules/errors.yml");
        for Watched { code, floor, runbook } in WATCHED {
            assert!(rules.contains(&format!("{{error_code=\"{code}\"}} >= {floor}\n")), "{code}");
            assert!(rules.contains(&format!("runbook_url: {runbook}\n")), "{runbook}");
        }
    }

    #[test]
    fn what_is_counted_is_the_difference_and_over_all_replicas() {
        let [conflict, ..] = WATCHED;
        let at = |count: u32| Scrape::new(format!("alpine_errors_total{{error_code=\"ERR_OPERATION_CONFLICT\",action=\"up\"}} {count}\n"));
        let outcome = |readings: &[(Scrape, Scrape)], seconds| conflict.between(readings, Duration::from_secs(seconds)).outcome;
        assert_eq!(outcome(&[(at(100), at(102))], 60), Outcome::Passed);
        assert_eq!(outcome(&[(at(100), at(102)), (at(7), at(8))], 60), Outcome::Failed);
        assert_eq!(outcome(&[(at(100), at(102)), (at(7), at(8))], 120), Outcome::Passed);
        assert_eq!(outcome(&[(at(100), at(3))], 60), Outcome::Failed, "it began anew");
        assert_eq!(outcome(&[(at(0), Scrape::new(String::new()))], 60), Outcome::Unknown);
    }
}
