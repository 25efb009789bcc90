//! One replica: does it answer, is it ready, and what does it say of itself.

use secrecy::SecretString;
use url::Url;

use super::{
    client::{get, shown},
    report::Check,
    scrape::Scrape,
};

const DOWN: &str = "docs/runbooks/target-down.md";
const UPGRADES: &str = "docs/upgrades.md";
const CERTIFICATE: &str = "docs/runbooks/certificate.md";
/// As the critical alert has it.
const CERTIFICATE_DAYS: f64 = 3.0;
const DAY: f64 = 86_400.0;

/// `/livez` and `/readyz`: the process, its database and that its schema is at least this replica's.
pub async fn probes(client: &reqwest::Client, url: &Url) -> Vec<Check> {
    let target = shown(url);
    let mut checks = Vec::new();
    for (check, path, said) in [("live", "/livez", "answers"), ("ready", "/readyz", "the database answers and the schema is current")] {
        let outcome = match get(client, url, path, None).await {
            Ok(answer) if answer.status == 200 => Check::passed(check, said),
            Ok(answer) => Check::failed(check, answer.why(), DOWN),
            Err(why) => Check::failed(check, why, DOWN),
        };
        checks.push(outcome.at(&target));
    }
    checks
}

/// A request through everything: TLS, identity, the ledger.
pub async fn list(client: &reqwest::Client, url: &Url, token: &SecretString) -> Check {
    let outcome = match get(client, url, "/v1/sessions?limit=1", Some(token)).await {
        Ok(answer) if answer.status == 200 => Check::passed("list", "the caller's sessions are listed"),
        Ok(answer) => Check::failed("list", answer.why(), DOWN),
        Err(why) => Check::failed("list", why, DOWN),
    };
    outcome.at(&shown(url))
}

/// `/metrics`, or the check that says why it is not to be had.
pub async fn scrape(client: &reqwest::Client, url: &Url) -> Result<Scrape, Check> {
    match get(client, url, "/metrics", None).await {
        Ok(answer) if answer.status == 200 => Ok(Scrape::new(answer.text)),
        Ok(answer) if answer.status == 404 => {
            Err(Check::unknown("metrics", "they are not here: with ALPINE_METRICS_LISTEN name that address as --metrics-url", DOWN))
        }
        Ok(answer) => Err(Check::failed("metrics", answer.why(), DOWN)),
        Err(why) => Err(Check::failed("metrics", why, DOWN)),
    }
    .map_err(|check| check.at(&shown(url)))
}

/// Version and certificate. `now`: Unix time in seconds.
pub fn told(url: &Url, scrape: &Scrape, expected: Option<&str>, now: f64) -> Vec<Check> {
    let version = match (scrape.version(), expected) {
        (None, _) => Check::unknown("version", "the replica does not say", DOWN),
        (Some(version), Some(expected)) if version != expected => {
            Check::failed("version", format!("{version}, and not {expected}"), UPGRADES)
        }
        (Some(version), _) => Check::passed("version", version),
    };
    let certificate = match scrape.sum("alpine_tls_certificate_expiry_timestamp_seconds", &[]) {
        None => Check::unknown("certificate", "the replica does not say", CERTIFICATE),
        Some(0.0) => Check::passed("certificate", "none: it serves plain HTTP"),
        Some(end) => {
            let days = (end - now) / DAY;
            let detail = format!("good for {days:.0} days");
            if days < CERTIFICATE_DAYS { Check::failed("certificate", detail, CERTIFICATE) } else { Check::passed("certificate", detail) }
        }
    };
    [version, certificate].map(|check| check.at(&shown(url))).into()
}

/// A process that ended between two readings.
pub fn restarted(url: &Url, before: &Scrape, after: &Scrape) -> Option<Check> {
    let began = |scrape: &Scrape| scrape.sum("alpine_process_start_time_seconds", &[]);
    (began(before) != began(after)).then(|| Check::failed("restart", "the process began anew meanwhile", DOWN).at(&shown(url)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::report::Outcome;

    #[test]
    fn a_replica_is_taken_at_its_word() {
        let url = Url::parse("https://h").unwrap();
        let outcomes = |text: &str, expected| {
            told(&url, &Scrape::new(text.to_owned()), expected, 1_000_000.0).into_iter().map(|check| check.outcome).collect::<Vec<_>>()
        };
        let good = "alpine_build_info{version=\"1.2\"} 1\nalpine_tls_certificate_expiry_timestamp_seconds 2000000\n";
        assert_eq!(outcomes(good, None), [Outcome::Passed, Outcome::Passed]);
        assert_eq!(outcomes(good, Some("1.2")), [Outcome::Passed, Outcome::Passed]);
        assert_eq!(outcomes(good, Some("1.3")), [Outcome::Failed, Outcome::Passed]);
        assert_eq!(outcomes(&good.replace("2000000", "1200000"), None), [Outcome::Passed, Outcome::Failed]);
        assert_eq!(outcomes(&good.replace("2000000", "0"), None), [Outcome::Passed, Outcome::Passed]);
        assert_eq!(outcomes("", None), [Outcome::Unknown, Outcome::Unknown]);
    }

    #[test]
    fn a_process_that_began_anew_is_seen() {
        let url = Url::parse("https://h").unwrap();
        let began = |at: u32| Scrape::new(format!("alpine_process_start_time_seconds {at}\n"));
        assert!(restarted(&url, &began(1), &began(1)).is_none());
        assert!(restarted(&url, &began(1), &began(2)).is_some());
    }
}
