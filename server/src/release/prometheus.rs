//! What a Prometheus with our rules says. Thresholds are the rules' alone; here it is only asked which alerts there are.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::{client, report::Check, watched::WATCHED};

const ABSENT: &str = "docs/runbooks/metrics-absent.md";
const LOADING: &str = "docs/monitoring.md";
/// Of errors.yml: that it has a value shows that the rules are loaded and that the servers are seen.
const COUNTED: &str = "/api/v1/query?query=environment_error_code:alpine_errors:increase10m";

type Labels = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Debug, Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    name: String,
    query: String,
    /// `ok` once it was evaluated.
    health: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Debug, Deserialize)]
struct Alert {
    labels: Labels,
    annotations: Labels,
    /// `pending` or `firing`.
    state: String,
}

#[derive(Debug, Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    metric: Labels,
    /// Time, and value as text.
    value: (f64, String),
}

/// All that it says of one deployment.
#[derive(Debug)]
struct Said {
    rules: Vec<Rule>,
    counted: Vec<Sample>,
    environment: Option<String>,
}

pub async fn checks(client: &reqwest::Client, url: &Url, environment: Option<&str>) -> Vec<Check> {
    match ask(client, url, environment).await {
        Ok(said) => said.checks(),
        Err(why) => {
            let why = format!("Prometheus cannot be asked: {why}");
            let others = ["gates", "alerts"].map(|check| Check::unknown(check, &why, ABSENT));
            WATCHED.iter().map(|watched| watched.unknown(&why)).chain(others).map(|check| check.at(&client::shown(url))).collect()
        }
    }
}

async fn ask(client: &reqwest::Client, url: &Url, environment: Option<&str>) -> Result<Said, String> {
    let groups: Groups = data(client, url, "/api/v1/rules?type=alert").await?;
    let counted: Vector = data(client, url, COUNTED).await?;
    let rules = groups.groups.into_iter().flat_map(|group| group.rules).filter(|rule| rule.name.starts_with("Alpine")).collect();
    Ok(Said { rules, counted: counted.result, environment: environment.map(str::to_owned) })
}

async fn data<T: serde::de::DeserializeOwned>(client: &reqwest::Client, url: &Url, path: &str) -> Result<T, String> {
    let answer = client::get(client, url, path, None).await?;
    if answer.status != 200 {
        return Err(format!("it answered {}", answer.status));
    }
    let read: Answer<T> = serde_json::from_str(&answer.text).map_err(|_| "its answer is not one of Prometheus's API".to_owned())?;
    Ok(read.data)
}

impl Said {
    fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = WATCHED.iter().map(|watched| self.signal(watched.code.as_str(), watched.runbook)).collect();
        checks.extend(self.firing("gates", "no gate fires", |labels| has(labels, "gate", "abort")));
        let others =
            |labels: &Labels| has(labels, "severity", "critical") && !has(labels, "gate", "abort") && !has(labels, "signal", "err");
        checks.extend(self.firing("alerts", "no other critical alert fires", others));
        checks
    }

    /// Pending counts: it is over its threshold now, and the release goes on or does not now.
    fn signal(&self, code: &'static str, runbook: &str) -> Check {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| has(&rule.labels, "signal", "err") && rule.query.contains(code)).collect();
        if let Some(missing) = not_evaluated(&rules) {
            return Check::unknown(code, missing, LOADING);
        }
        let alerts: Vec<&Alert> = rules
            .iter()
            .flat_map(|rule| &rule.alerts)
            .filter(|alert| self.is_ours(&alert.labels) && has(&alert.labels, "error_code", code))
            .collect();
        if let Some(alert) = alerts.first() {
            return Check::failed(code, described(alert), alert.annotations.get("runbook_url").map_or(runbook, String::as_str));
        }
        let counted = self.counted.iter().filter(|sample| self.is_ours(&sample.metric) && has(&sample.metric, "error_code", code));
        match counted.filter_map(|sample| sample.value.1.parse::<f64>().ok()).reduce(|a, b| a + b) {
            Some(count) => Check::passed(code, format!("no alert; {count:.0} in 10 minutes")),
            None => Check::unknown(code, "Prometheus does not count it: are the servers its targets?", ABSENT),
        }
    }

    /// What fires of these rules, or that nothing does.
    fn firing(&self, check: &'static str, quiet: &str, wanted: impl Fn(&Labels) -> bool) -> Vec<Check> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| wanted(&rule.labels)).collect();
        if let Some(missing) = not_evaluated(&rules) {
            return vec![Check::unknown(check, missing, LOADING)];
        }
        let alerts = rules.iter().flat_map(|rule| &rule.alerts).filter(|alert| alert.state == "firing" && self.is_ours(&alert.labels));
        let failed =
            |alert: &Alert| Check::failed(check, described(alert), alert.annotations.get("runbook_url").map_or(LOADING, String::as_str));
        let failed: Vec<Check> = alerts.map(failed).collect();
        if failed.is_empty() { vec![Check::passed(check, format!("{quiet} ({} rules)", rules.len()))] } else { failed }
    }

    fn is_ours(&self, labels: &Labels) -> bool {
        self.environment.as_ref().is_none_or(|environment| labels.get("environment") == Some(environment))
    }
}

/// Why these rules say nothing, if they do not.
fn not_evaluated(rules: &[&Rule]) -> Option<String> {
    if rules.is_empty() {
        return Some("Prometheus has no rule for it: load deploy/prometheus/rules".to_owned());
    }
    let sick = rules.iter().find(|rule| rule.health != "ok")?;
    Some(format!("{} is not evaluated: its health is {}", sick.name, sick.health))
}

fn has(labels: &Labels, name: &str, value: &str) -> bool {
    labels.get(name).is_some_and(|found| found == value)
}

fn described(alert: &Alert) -> String {
    let word = |words: &Labels, name: &str| words.get(name).cloned().unwrap_or_default();
    format!("{} is {}: {}", word(&alert.labels, "alertname"), alert.state, word(&alert.annotations, "description"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::report::Outcome;

    /// One alert for each code and two others, as Prometheus tells them; `alerts` are those of the first code's.
    fn said(health: &str, alerts: &str, counted: &[&str]) -> Said {
        let rule = |name: &str, query: &str, labels: &str, alerts: &str| {
            format!(r#"{{"name":"{name}","query":"{query}","health":"{health}","labels":{{{labels}}},"alerts":[{alerts}]}}"#)
        };
        let mut rules: Vec<String> = vec![
            rule("AlpineGate", "x", r#""gate":"abort","severity":"critical""#, ""),
            rule("AlpineQueueOld", "x", r#""severity":"critical""#, ""),
        ];
        let codes = WATCHED.iter().map(|watched| watched.code.as_str()).enumerate();
        rules.extend(codes.map(|(n, code)| rule(&format!("AlpineSpike{n}"), code, r#""signal":"err""#, if n == 0 { alerts } else { "" })));
        let sample = |environment: &&str| {
            WATCHED
                .map(|watched| {
                    format!(r#"{{"metric":{{"error_code":"{}","environment":"{environment}"}},"value":[1.5,"2"]}}"#, watched.code)
                })
                .join(",")
        };
        Said {
            rules: serde_json::from_str(&format!("[{}]", rules.join(","))).unwrap(),
            counted: serde_json::from_str(&format!("[{}]", counted.iter().map(sample).collect::<Vec<_>>().join(","))).unwrap(),
            environment: Some("one".to_owned()),
        }
    }

    fn alert(environment: &str, state: &str) -> String {
        format!(
            r#"{{"labels":{{"alertname":"AlpineSpike0","error_code":"ERR_OPERATION_CONFLICT","environment":"{environment}"}},"annotations":{{"runbook_url":"r.md"}},"state":"{state}"}}"#
        )
    }

    fn outcomes(said: &Said) -> Vec<Outcome> {
        said.checks().into_iter().map(|check| check.outcome).collect()
    }

    #[test]
    fn an_alert_of_this_environment_counts_from_when_it_is_pending() {
        use Outcome::{Failed, Passed};
        assert_eq!(outcomes(&said("ok", "", &["one"])), [Passed; 6]);
        for state in ["pending", "firing"] {
            let checks = said("ok", &alert("one", state), &["one"]).checks();
            assert_eq!((checks[0].outcome, checks[0].runbook.as_deref(), checks[1].outcome), (Failed, Some("r.md"), Passed), "{state}");
        }
        assert_eq!(outcomes(&said("ok", &alert("other", "firing"), &["one"])), [Passed; 6]);
    }

    #[test]
    fn silence_is_no_health() {
        use Outcome::{Passed, Unknown};
        assert_eq!(outcomes(&said("unknown", "", &["one"])), [Unknown; 6], "not evaluated");
        assert_eq!(outcomes(&said("ok", "", &["other"])), [Unknown, Unknown, Unknown, Unknown, Passed, Passed], "not counted");
        assert_eq!(outcomes(&Said { rules: Vec::new(), ..said("ok", "", &["one"]) }), [Unknown; 6], "no rules");
    }
}
