//! What is seen of a run while it goes on: who lost which lease and when another had it, the servers'
//! counters, and the invariants that hold at any moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::ExitStatus,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use rustix::process::Signal;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{LIMITS, log::Log};
use crate::{
    invariants::{self, Violation},
    server,
};

const COUNTERS: &[&str] = &["alpine_lease_adoptions_total", "alpine_fenced_writes_total", "alpine_orphans_total"];
const POLL: Duration = Duration::from_millis(100);
const CHECK: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub struct Watch {
    url: String,
    client: reqwest::Client,
    log: Log,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Workers that have just been killed or frozen.
    lost: Vec<(String, Instant)>,
    /// The leases that they held: by session and fence, since when.
    orphaned: BTreeMap<(Uuid, i64), Instant>,
    recoveries: Vec<Duration>,
    /// Each session's fences, and when the database's clock said so first.
    fences: BTreeMap<Uuid, Vec<(i64, DateTime<Utc>)>>,
    /// Of each replica's process of now: its counters' last values.
    counters: BTreeMap<(usize, &'static str), f64>,
    /// Of the processes before.
    counted: BTreeMap<&'static str, f64>,
    violations: BTreeSet<(&'static str, String)>,
    checks: u64,
    killed_themselves: u64,
}

impl Watch {
    pub fn new(url: String, client: reqwest::Client, log: Log) -> Self {
        Self { url, client, log, seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, text: &str) {
        self.log.line(text);
    }

    /// The server that writes this log has just been killed or frozen: how long will its leases be nobody's?
    pub fn lost(&self, log: &Path) {
        if let Some(worker) = worker(log) {
            self.seen().lost.push((worker, Instant::now()));
        }
    }

    /// A server's process ended, and it was not this program that killed it.
    pub fn ended(&self, replica: usize, status: ExitStatus, asked: bool) {
        if status.signal() == Some(Signal::KILL.as_raw()) {
            self.seen().killed_themselves += 1;
        } else if !(asked && status.success()) {
            self.violation("servers_do_not_end_by_themselves", format!("replica {replica} ended with {status}"));
        }
    }

    pub fn violation(&self, check: &'static str, what: String) {
        let is_new = self.seen().violations.insert((check, what.clone()));
        if is_new {
            self.log.line(&format!("VIOLATION {check}: {what}"));
        }
    }

    pub fn violations(&self) -> Vec<Violation> {
        self.seen().violations.iter().map(|(check, what)| Violation { check, what: what.clone() }).collect()
    }

    pub fn checks(&self) -> u64 {
        self.seen().checks
    }

    pub fn killed_themselves(&self) -> u64 {
        self.seen().killed_themselves
    }

    /// In order, shortest first.
    pub fn recoveries(&self) -> Vec<Duration> {
        let mut all = self.seen().recoveries.clone();
        all.sort_unstable();
        all
    }

    /// The counter over all processes that there were.
    pub fn counter(&self, name: &str) -> f64 {
        let seen = self.seen();
        let now = seen.counters.iter().filter(|((_, counter), _)| *counter == name).map(|(_, value)| value).sum::<f64>();
        now + seen.counted.get(name).copied().unwrap_or_default()
    }

    pub async fn scrape(&self, replica: usize, base: &str) {
        let asked = self.client.get(format!("{base}/metrics")).timeout(Duration::from_millis(300)).send().await;
        let Ok(answer) = asked else { return };
        let Ok(text) = answer.text().await else { return };
        let mut seen = self.seen();
        for name in COUNTERS {
            if let Some(value) = server::sample(&text, name, &[]) {
                seen.counters.insert((replica, name), value);
            }
        }
    }

    /// A replica's process is gone; the next one counts from 0.
    pub fn restarted(&self, replica: usize) {
        let mut seen = self.seen();
        for name in COUNTERS {
            if let Some(value) = seen.counters.remove(&(replica, *name)) {
                *seen.counted.entry(name).or_default() += value;
            }
        }
    }

    /// Follow the leases and check the invariants, on a connection of its own that no fault touches but the
    /// database's restart.
    pub async fn follow(&self, done: CancellationToken) {
        let mut connection = None;
        let mut checked = Instant::now();
        while done.run_until_cancelled(tokio::time::sleep(POLL)).await.is_some() {
            let Some(open) = &mut connection else {
                connection = PgConnection::connect(&self.url).await.ok();
                continue;
            };
            let mut result = self.leases(open).await;
            if result.is_ok() && checked.elapsed() > CHECK {
                checked = Instant::now();
                result = self.check(open).await;
            }
            if let Err(error) = result {
                // A database that is down is a fault of ours; one that cannot be asked this is not.
                let is_wrong = error.as_database_error().is_some_and(|error| error.code().is_some_and(|code| code.starts_with("42")));
                if is_wrong {
                    self.violation("checks_can_be_made", error.to_string());
                }
                connection = None;
            }
        }
    }

    async fn check(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for violation in invariants::always(connection, &LIMITS).await? {
            self.violation(violation.check, violation.what);
        }
        self.seen().checks += 1;
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
    async fn leases(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let asked = Instant::now();
        let rows: Vec<(Uuid, i64, Option<String>, DateTime<Utc>)> =
            sqlx::query_as("SELECT session_id, fence, owner, clock_timestamp() FROM leases").fetch_all(connection).await?;
        let mut seen = self.seen();
        let Seen { lost, orphaned, recoveries, fences, .. } = &mut *seen;
        for (session, fence, _, now) in &rows {
            let known = fences.entry(*session).or_default();
            if known.last().is_none_or(|(last, _)| last < fence) {
                known.push((*fence, *now));
            }
        }
        let held: BTreeSet<(Uuid, i64)> = rows.iter().filter(|row| row.2.is_some()).map(|row| (row.0, row.1)).collect();
        orphaned.retain(|lease, since| {
            if !held.contains(lease) {
                recoveries.push(since.elapsed());
            }
            held.contains(lease)
        });
        // Who was lost while this was asked is looked for the next time.
        lost.retain(|(worker, at)| {
            for (session, fence, ..) in rows.iter().filter(|row| row.2.as_ref() == Some(worker) && *at < asked) {
                orphaned.entry((*session, *fence)).or_insert(*at);
            }
            *at >= asked
        });
        Ok(())
    }
}

impl Watch {
    /// Events under a fence that was seen to be over before they were written. An order of fences alone does
    /// not show them while the new owner has not written yet.
    #[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
    pub async fn stale_writes(&self, connection: &mut PgConnection) -> sqlx::Result<Vec<Violation>> {
        let events: Vec<(Uuid, i64, String, i64, DateTime<Utc>)> =
            sqlx::query_as("SELECT session_id, seq, to_state, fence, at FROM transitions").fetch_all(connection).await?;
        let seen = self.seen();
        let stale = events.into_iter().filter_map(|(session, seq, state, fence, at)| {
            let (newer, since) = seen.fences.get(&session)?.iter().find(|(newer, since)| *newer > fence && *since < at)?;
            let what = format!("event {seq} of {session} ({state}) carries fence {fence} at {at}; it was {newer} at {since}");
            Some(Violation { check: "no_stale_writes", what })
        });
        Ok(stale.collect())
    }
}

/// The worker that wrote to this log last: its name in the leases.
fn worker(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let (_, rest) = text.rsplit_once("\"worker\":\"")?;
    Some(rest.split_once('"')?.0.to_owned())
}
