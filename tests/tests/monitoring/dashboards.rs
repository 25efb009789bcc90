//! Every query of `deploy/grafana`: read, compared with what a live server is scraped for, and asked of a live Prometheus.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::Value;

use crate::{prometheus::Prometheus, scaled::scaled};

/// Labels that Prometheus adds to what it scrapes.
const OF_TARGETS: &[&str] = &["job", "instance", "environment"];
/// Prometheus's own series, with the labels that our rules give.
const ALERTS: (&str, &[&str]) = ("ALERTS", &["alertname", "alertstate", "gate", "signal", "severity", "version", "error_code"]);

/// Queries that rightly find nothing here: a part of the query, and why.
pub const FIND_NOTHING: &[(&str, &str)] = &[
    ("offset 2d", "two days ago there was no server"),
    ("ERR_INTERNAL|ERR_UNAVAILABLE|ERR_DEADLINE_EXCEEDED", "nothing has gone wrong in the system itself, and zeros are left out"),
];

static METRIC: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"\b(alpine_\w+|ALERTS)\b(?:\{([^}]*)\})?"#).unwrap());
static MATCHER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).unwrap());
static GROUPING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)").unwrap());
static SAMPLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\w+)(?:\{(.*)\})? \S+$").unwrap());
static PAIR: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(\w+)="((?:[^"\\]|\\.)*)""#).unwrap());
static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[a-zA-Z_][\w:]*").unwrap());

/// What stands in a query besides metrics, labels and numbers.
const WORDS: &[&str] = &[
    "sum",
    "count",
    "max",
    "by",
    "on",
    "group_left",
    "rate",
    "increase",
    "histogram_quantile",
    "avg_over_time",
    "vector",
    "topk",
    "time",
    "offset",
    "or",
    "unless",
];

/// A query as a dashboard has it.
#[derive(Debug)]
pub struct Query {
    /// Dashboard and panel.
    pub place: String,
    /// Of now; else of every moment of the dashboard's time.
    instant: bool,
    expr: String,
}

/// Name to the label sets of its series.
type Series = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// Of every panel, of the annotations, and of what the variables are filled with.
pub fn queries() -> Vec<Query> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(alpine_tests::bins::root().join("deploy/grafana/dashboards")).unwrap() {
        let board: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let name = board["uid"].as_str().unwrap().to_owned();
        let query = |place: &Value, expr: &Value, instant| Query {
            place: format!("{name}: {}", place.as_str().unwrap()),
            instant,
            expr: expr.as_str().unwrap().to_owned(),
        };
        for panel in list(&board["panels"]) {
            found.extend(list(&panel["targets"]).iter().map(|target| query(&panel["title"], &target["expr"], target["instant"] == true)));
        }
        found.extend(list(&board["annotations"]["list"]).iter().map(|note| query(&note["name"], &note["expr"], false)));
        let variables = list(&board["templating"]["list"]);
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            let text = variable["query"]["query"].as_str().unwrap();
            let values = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once(", "));
            let (metric, label) = values.expect("label_values(metric, label)");
            found.push(query(&variable["label"], &format!("count by ({label}) ({metric})").into(), true));
        }
    }
    assert!(found.len() > 60, "{} queries are too few to be all", found.len());
    found
}

impl Query {
    /// As Grafana would send it, all servers chosen. `$__rate_interval` is four scrapes, which here are four seconds; [`scaled`] makes them
    /// of these four minutes.
    fn sent(&self) -> String {
        let text = self.expr.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "4m");
        assert!(!text.contains('$'), "{}: an unknown variable in {text}", self.place);
        text
    }

    /// What it names that is not in the scrape.
    pub fn faults(&self, scraped: &Series) -> Vec<String> {
        let text = self.sent();
        let mut faults = Vec::new();
        let mut labels: BTreeSet<&str> = OF_TARGETS.iter().copied().collect();
        for found in METRIC.captures_iter(&text) {
            let (name, matchers) = (&found[1], found.get(2).map_or("", |matchers| matchers.as_str()));
            if name == ALERTS.0 {
                labels.extend(ALERTS.1);
                continue;
            }
            let Some(series) = scraped.get(name) else {
                faults.push(format!("{name} is not scraped"));
                continue;
            };
            labels.extend(series.iter().flat_map(BTreeMap::keys).map(String::as_str));
            faults.extend(unmatched(name, matchers, series));
        }
        let named = GROUPING.captures_iter(&text).flat_map(|found| found.get(1).unwrap().as_str().split(','));
        let unknown = named.map(str::trim).filter(|label| !label.is_empty() && !labels.contains(label));
        faults.extend(unknown.map(|label| format!("nothing of it has the label {label}")));
        faults
            .extend(strangers(&text).into_iter().filter(|word| !labels.contains(word.as_str())).map(|word| format!("{word} is no metric")));
        faults.into_iter().map(|fault| format!("{}: {fault}, in {}", self.place, self.expr)).collect()
    }

    pub fn is_of(&self, list: &[(&str, &str)]) -> bool {
        list.iter().any(|(part, _)| self.expr.contains(part))
    }

    /// How many series Prometheus has of it, and whether a number is among them.
    pub async fn ask(&self, prometheus: &Prometheus) -> (usize, bool) {
        let text = scaled(&self.sent());
        let series = if self.instant { prometheus.query(&text).await } else { prometheus.query_range(&text).await };
        let is_number = |value: &Value| value[1].as_str().is_some_and(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
        let some = |series: &Value| is_number(&series["value"]) || series["values"].as_array().is_some_and(|all| all.iter().any(is_number));
        (series.len(), series.iter().any(some))
    }
}

/// Labels that no series of the metric has, and values that none has all of.
fn unmatched(name: &str, matchers: &str, series: &[BTreeMap<String, String>]) -> Vec<String> {
    let matchers: Vec<_> =
        MATCHER.captures_iter(matchers).map(|found| (found[1].to_owned(), found[2].to_owned(), found[3].to_owned())).collect();
    let own = matchers.iter().filter(|(label, ..)| !OF_TARGETS.contains(&label.as_str()));
    let absent: Vec<String> =
        own.clone().filter(|(label, ..)| !series.iter().any(|one| one.contains_key(label))).map(|(label, ..)| label.clone()).collect();
    if !absent.is_empty() {
        return absent.iter().map(|label| format!("{name} has no label {label}")).collect();
    }
    let matches = |one: &BTreeMap<String, String>, (label, op, value): &(String, String, String)| {
        let whole = Regex::new(&format!("^(?:{value})$")).unwrap();
        let found = one.get(label).map_or("", String::as_str);
        match op.as_str() {
            "=" => found == value,
            "!=" => found != value,
            "=~" => whole.is_match(found),
            _ => !whole.is_match(found),
        }
    };
    let some = series.iter().any(|one| own.clone().all(|matcher| matches(one, matcher)));
    if some { Vec::new() } else { vec![format!("no series of {name} is as {matchers:?} want it")] }
}

/// Words that are neither PromQL's nor metrics of ours, without those in braces and quotes.
fn strangers(text: &str) -> Vec<String> {
    let bare = METRIC.replace_all(text, " ");
    let bare = GROUPING.replace_all(&bare, " ");
    let bare = Regex::new(r#"\d+[smhdw]\b|"[^"]*""#).unwrap().replace_all(&bare, " ");
    WORD.find_iter(&bare).map(|word| word.as_str().to_owned()).filter(|word| !WORDS.contains(&word.as_str())).collect()
}

/// The series of these scrapes.
pub fn series(scrapes: &[String]) -> Series {
    let mut all = Series::new();
    for line in scrapes.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#')) {
        let found = SAMPLE.captures(line).unwrap_or_else(|| panic!("not a sample: {line}"));
        let labels = found.get(2).map_or("", |labels| labels.as_str());
        let labels = PAIR.captures_iter(labels).map(|pair| (pair[1].to_owned(), pair[2].to_owned())).collect();
        all.entry(found[1].to_owned()).or_default().push(labels);
    }
    all
}

#[test]
fn what_a_query_names_and_a_server_does_not_have_is_seen() {
    let scraped = series(&["# TYPE alpine_x counter\nalpine_x_total{kind=\"up\",outcome=\"ok\"} 1\nalpine_y 2\n".to_owned()]);
    let faults = |expr: &str| Query { place: "p".to_owned(), instant: true, expr: expr.to_owned() }.faults(&scraped).len();
    let well = [
        r#"sum by (kind) (rate(alpine_x_total{job=~"$job", kind="up"}[$__rate_interval])) / alpine_y"#,
        r#"count(ALERTS{alertstate="firing", gate="abort"}) or vector(0)"#,
        r#"topk(3, alpine_x_total{kind=~"u.|down", outcome!="failed"} > 0)"#,
    ];
    for expr in well {
        assert_eq!(faults(expr), 0, "{expr}");
    }
    for expr in [
        "sum(alpine_z)",
        r#"alpine_x_total{sort="up"}"#,
        r#"alpine_x_total{kind="down"}"#,
        r#"alpine_x_total{kind="up", outcome!="ok"}"#,
        "sum by (sort) (alpine_x_total)",
        "alpine_y * on (environment) group_left (sort) alpine_x_total",
        "sum(other_total)",
    ] {
        assert_eq!(faults(expr), 1, "{expr}");
    }
}
