//! Debian's Prometheus, started and asked.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use alpine_tests::{base, server::tail};
use serde_json::Value;

use crate::scaled;

const LIMIT: Duration = Duration::from_secs(30);

pub struct Prometheus {
    pub base: String,
    client: reqwest::Client,
    child: Child,
    began: f64,
    /// When the servers were there.
    seen: f64,
}

impl Prometheus {
    /// With our rules, and every target seen once.
    pub async fn start(dir: &Path, ca: &Path, targets: &[String]) -> Self {
        scaled::configuration(dir, ca, targets);
        let (address, log) = (format!("127.0.0.1:{}", base::free_port()), dir.join("log"));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("prometheus, which tests/run.sh installs");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut prometheus = Self { base: format!("http://{address}"), client, child, began: now(), seen: 0.0 };
        let seen = alpine_tests::until("every target is scraped", LIMIT * 2, || async {
            let up = prometheus.get("/api/v1/query", &[("query", "sum(up)")]).await?;
            // Targets are known after up to five seconds. To the rules these are five minutes in which no server was seen.
            (first(&up) == Some(targets.len() as f64) && prometheus.firing().await.is_empty()).then_some(())
        });
        if tokio::time::timeout(LIMIT, seen).await.is_err() {
            panic!("Prometheus does not see its targets:\n{}", tail(&log));
        }
        prometheus.seen = now();
        prometheus
    }

    /// `data` of an answer; `None`: there was none yet.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let answer = self.client.get(format!("{}{path}", self.base)).query(query).send().await.ok()?;
        let (ok, body) = (answer.status().is_success(), answer.text().await.ok()?);
        let body: Value = serde_json::from_str(&body).ok()?;
        assert!(ok, "{query:?}: {body}");
        Some(body["data"].clone())
    }

    /// The series that a query has now.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let data = self.get("/api/v1/query", &[("query", query)]).await.expect("Prometheus answers");
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// The series that it has had since the start, each second.
    pub async fn query_range(&self, query: &str) -> Vec<Value> {
        self.since(self.began, query).await
    }

    async fn since(&self, start: f64, query: &str) -> Vec<Value> {
        let (start, end) = (start.to_string(), now().to_string());
        let data = self.get("/api/v1/query_range", &[("query", query), ("start", &start), ("end", &end), ("step", "1")]).await;
        data.expect("Prometheus answers")["result"].as_array().cloned().unwrap_or_default()
    }

    /// What fires, as `/api/v1/alerts` has it: name and error code.
    pub async fn firing(&self) -> Vec<(String, String)> {
        let data = self.get("/api/v1/alerts", &[]).await.expect("Prometheus answers");
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let word = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
        alerts
            .iter()
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| (word(alert, "alertname"), word(alert, "error_code")))
            .collect()
    }

    /// Whatever has fired since the servers were seen.
    pub async fn fired(&self) -> Vec<Value> {
        let alerts = self.since(self.seen, r#"count by (alertname, error_code) (ALERTS{alertstate="firing"})"#).await;
        alerts.into_iter().map(|alert| alert["metric"].clone()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn first(data: &Value) -> Option<f64> {
    data["result"][0]["value"][1].as_str()?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "Prometheus is asked about times of its own clock")]
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}
