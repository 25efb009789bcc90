//! Keys from an issuer's JWKS URL: kept in memory, asked for anew at intervals and when a token names an unknown one.
//!
//! At most one fetch is in flight an issuer. Whoever needs it waits for it; unknown key ids cause one at most every
//! [`DEMAND_INTERVAL`], however many tokens name some. A fetch that fails changes nothing: known keys go on working.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use alpine_api::is_loopback;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Algorithm, AuthError, SetupError,
    error::FetchError,
    keys::{self, Key},
    ring::Ring,
};
use crate::{clock::Clock, metrics::Metrics};

/// Between two fetches because of unknown key ids.
const DEMAND_INTERVAL: TimeDelta = TimeDelta::seconds(10);
/// How long a request waits for a fetch.
const WAIT: Duration = Duration::from_secs(3);
/// How many requests wait at once; the others are answered by what is known.
const WAITERS: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// After a fetch that failed, unless the issuer is asked more often anyway.
const RETRY: Duration = Duration::from_secs(15);
const SET_MAX_BYTES: usize = 512 * 1024;

/// Where an issuer publishes its keys, as configured.
#[derive(Debug, Clone)]
pub struct JwksUrl {
    /// `https`, or with `allow_http` `http` to this machine.
    pub url: String,
    pub allow_http: bool,
    /// The only authority (PEM) that is trusted for this URL; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// How often the set is fetched.
    pub refresh: Duration,
    /// How long a key counts that is gone from the set.
    pub keep_removed: Duration,
}

pub(super) struct Remote {
    issuer: String,
    url: Url,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    client: reqwest::Client,
    ring: RwLock<Arc<Ring>>,
    flight: Mutex<Flight>,
    waiters: Semaphore,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

struct Flight {
    /// Cancelled when the fetch is over, well or not.
    over: CancellationToken,
    /// When an unknown key id last caused a fetch.
    demanded: Option<DateTime<Utc>>,
    failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Schedule,
    UnknownKey,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) fn new(
        issuer: &str,
        algorithms: &[Algorithm],
        source: &JwksUrl,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        let url = checked(issuer, source)?;
        let over = CancellationToken::new();
        over.cancel();
        Ok(Self {
            client: client(&url, source)?,
            issuer: issuer.to_owned(),
            url,
            algorithms: algorithms.to_vec(),
            refresh: source.refresh,
            ring: RwLock::new(Arc::new(Ring::empty(TimeDelta::from_std(source.keep_removed).unwrap_or(TimeDelta::MAX)))),
            flight: Mutex::new(Flight { over, demanded: None, failed: false }),
            waiters: Semaphore::new(WAITERS),
            clock,
            metrics,
        })
    }

    /// A key that counts now.
    pub(super) fn known(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        self.ring().find(id, algorithm, self.clock.now())
    }

    /// A key that is not known, asked for at the issuer as far as the rate allows.
    pub(super) async fn unknown(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<Key>, AuthError> {
        // Without an id, a new set tells no more than the old one.
        let worth = id.is_some() || !self.ring().is_loaded();
        if worth
            && let Ok(_waits) = self.waiters.try_acquire()
            && let Ok(Some(key)) = tokio::time::timeout(WAIT, self.look_again(id, algorithm)).await
        {
            return Ok(key);
        }
        // The wait may have ended just before the fetch did.
        let found = self.known(id, algorithm);
        found.ok_or_else(|| if self.ring().is_loaded() { AuthError::Key } else { AuthError::Unavailable })
    }

    async fn look_again(self: &Arc<Self>, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<Key>> {
        // A fetch that is in flight already may have been answered before the key was made; the next one is not.
        for _ in 0..2 {
            self.begin(Cause::UnknownKey)?.cancelled().await;
            if let Some(key) = self.known(id, algorithm) {
                return Some(key);
            }
        }
        None
    }

    /// Fetches now and at intervals, until `stop`.
    pub(super) async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        loop {
            if let Some(over) = self.begin(Cause::Schedule) {
                stop.run_until_cancelled(over.cancelled()).await;
            }
            let pause = if self.flight(|flight| flight.failed) { self.refresh.min(RETRY) } else { self.refresh };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// The fetch that is in flight, else a new one where one may be made. It is a task of its own: a client that goes
    /// away does not end what others wait for.
    fn begin(self: &Arc<Self>, cause: Cause) -> Option<CancellationToken> {
        let now = self.clock.now();
        let over = self.flight(|flight| {
            if !flight.over.is_cancelled() {
                return Err(Some(flight.over.clone()));
            }
            if cause == Cause::UnknownKey {
                if flight.demanded.is_some_and(|at| at <= now && now < at + DEMAND_INTERVAL) {
                    return Err(None);
                }
                flight.demanded = Some(now);
            }
            flight.over = CancellationToken::new();
            Ok(flight.over.clone())
        });
        match over {
            Err(in_flight) => in_flight,
            Ok(over) => {
                let (remote, ends) = (Arc::clone(self), over.clone().drop_guard());
                tokio::spawn(async move {
                    remote.renew().await;
                    drop(ends);
                });
                Some(over)
            }
        }
    }

    async fn renew(&self) {
        let fetched = self.fetch().await;
        self.metrics.jwks_refresh(fetched.is_ok());
        self.flight(|flight| flight.failed = fetched.is_err());
        match fetched {
            Ok(set) => {
                let (old, new) = self.replace(set);
                if new.0 == 0 {
                    tracing::warn!(issuer = self.issuer, "the issuer's JWKS holds no key that can be used");
                }
                if old != new {
                    tracing::info!(issuer = self.issuer, keys = new.0, removed_keys_kept = new.1, "the issuer's keys have changed");
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(issuer = self.issuer, error, "the issuer's keys were not fetched; those that are known go on working");
            }
        }
    }

    /// The sizes before and after.
    fn replace(&self, set: Vec<Key>) -> ((usize, usize), (usize, usize)) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(ring.renewed(set, self.clock.now()));
        let sizes = (ring.size(), new.size());
        *ring = new;
        sizes
    }

    async fn fetch(&self) -> Result<Vec<Key>, FetchError> {
        let mut answer = self.client.get(self.url.clone()).header(http::header::ACCEPT, "application/json").send().await?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut set = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if set.len() + chunk.len() > SET_MAX_BYTES {
                return Err(FetchError::TooLarge);
            }
            set.extend_from_slice(&chunk);
        }
        Ok(keys::from_set(&set, &self.algorithms)?)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn flight<T>(&self, look: impl FnOnce(&mut Flight) -> T) -> T {
        look(&mut self.flight.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn checked(issuer: &str, source: &JwksUrl) -> Result<Url, SetupError> {
    let refused = |why| SetupError::Url { issuer: issuer.to_owned(), why };
    let url = Url::parse(&source.url).map_err(|_| refused("is not a URL"))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(refused("has user information or a fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if source.allow_http && is_loopback(&url) => Ok(url),
        "http" => Err(refused("is http; that is for this machine alone, and only with `allow_http = true`")),
        _ => Err(refused("is not https")),
    }
}

fn client(url: &Url, source: &JwksUrl) -> Result<reqwest::Client, SetupError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("alpine-server/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FETCH_TIMEOUT)
        .https_only(url.scheme() == "https");
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if let Some(path) = &source.ca_file {
        let pem = std::fs::read(path).map_err(|source| SetupError::Read { path: path.clone(), source })?;
        let authority = |source| SetupError::Authority { path: path.clone(), source };
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(authority)?);
    }
    builder.build().map_err(SetupError::Client)
}
