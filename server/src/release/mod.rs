//! `verify-release`: is a live deployment healthy? Whatever is asked is read, and nothing is changed.

mod client;
mod prometheus;
mod replica;
mod report;
mod scrape;
mod watched;

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use url::Url;

pub use report::Report;

use crate::clock::{Clock, SystemClock};
use replica::{restarted, told};
use report::Check;
use scrape::Scrape;
use watched::WATCHED;

#[derive(Debug)]
pub struct Settings {
    /// One a replica.
    pub urls: Vec<Url>,
    /// Where their metrics are; empty: there too.
    pub metrics_urls: Vec<Url>,
    pub prometheus: Option<Url>,
    /// The label of the deployment in Prometheus; `None`: all that it has.
    pub environment: Option<String>,
    pub expect_version: Option<String>,
    /// Between two readings, where there is no Prometheus.
    pub window: Duration,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("there is no certificate in {}", path.display())]
    Authority { path: PathBuf },
    #[error("a token is not sent over plain HTTP to another machine")]
    Exposed,
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    #[error("the report cannot be written")]
    Json(#[source] serde_json::Error),
}

/// Everything looked at, once.
pub async fn verify(settings: &Settings) -> Result<Report, ReleaseError> {
    let client =
        client::client(settings.ca_file.as_deref(), settings.urls.iter().chain(&settings.metrics_urls).chain(&settings.prometheus))?;
    let token = token(settings)?;
    let mut checks = Vec::new();
    for url in &settings.urls {
        checks.extend(replica::probes(&client, url).await);
    }
    match (&token, settings.urls.first()) {
        (Some(token), Some(url)) => checks.push(replica::list(&client, url, token).await),
        _ => checks.push(Check::skipped("list", "it takes a caller's token: --token-file")),
    }
    match &settings.prometheus {
        Some(url) => {
            checks.extend(readings(&client, settings, &mut Vec::new()).await);
            checks.extend(prometheus::checks(&client, url, settings.environment.as_deref()).await);
        }
        None => {
            checks.extend(twice(&client, settings).await);
            checks
                .extend(["gates", "alerts"].map(|check| Check::skipped(check, "only a Prometheus with our rules can tell: --prometheus")));
        }
    }
    Ok(Report::new(checks))
}

/// One reading of each replica into `scrapes`, and what they say of themselves.
async fn readings(client: &reqwest::Client, settings: &Settings, scrapes: &mut Vec<Scrape>) -> Vec<Check> {
    let now = SystemClock.now().timestamp() as f64;
    let mut checks = Vec::new();
    for url in metrics_urls(settings) {
        match replica::scrape(client, url).await {
            Ok(scrape) => {
                checks.extend(told(url, &scrape, settings.expect_version.as_deref(), now));
                scrapes.push(scrape);
            }
            Err(check) => checks.push(check),
        }
    }
    checks
}

/// Two readings of each replica; what came in between.
async fn twice(client: &reqwest::Client, settings: &Settings) -> Vec<Check> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut first = readings(client, settings, &mut before).await;
    let urls = metrics_urls(settings);
    let unread = || WATCHED.iter().map(|watched| watched.unknown("not every replica could be read"));
    if before.len() < urls.len() {
        first.extend(unread());
        return first;
    }
    tokio::time::sleep(settings.window).await;
    let mut checks = readings(client, settings, &mut after).await;
    if after.len() < urls.len() {
        checks.extend(unread());
        return checks;
    }
    let readings: Vec<(Scrape, Scrape)> = before.into_iter().zip(after).collect();
    checks.extend(urls.iter().zip(&readings).filter_map(|(url, (before, after))| restarted(url, before, after)));
    checks.extend(WATCHED.iter().map(|watched| watched.between(&readings, settings.window)));
    checks
}

fn metrics_urls(settings: &Settings) -> &[Url] {
    if settings.metrics_urls.is_empty() { &settings.urls } else { &settings.metrics_urls }
}

fn token(settings: &Settings) -> Result<Option<SecretString>, ReleaseError> {
    let Some(path) = &settings.token_file else { return Ok(None) };
    if !settings.urls.iter().take(1).all(client::is_private) {
        return Err(ReleaseError::Exposed);
    }
    let text = std::fs::read_to_string(path).map_err(|source| ReleaseError::Read { path: path.clone(), source })?;
    Ok(Some(SecretString::from(text.trim().to_owned())))
}
