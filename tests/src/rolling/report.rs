//! What a run came to, as one table.

use std::{collections::BTreeMap, fmt, process::ExitStatus, time::Duration};

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    BOUND, Options,
    tally::{Class, Tally},
};

/// One replacement.
#[derive(Debug, Clone)]
pub struct End {
    pub round: u32,
    pub replica: usize,
    pub status: ExitStatus,
    /// From SIGTERM to the end of the process.
    pub took: Duration,
    /// From the next one's start until it was ready.
    pub start: Duration,
}

impl End {
    pub fn is_good(&self) -> bool {
        self.status.success() && self.took < BOUND
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round, replica, status, took, start } = self;
        write!(
            f,
            "round {round}, replica {replica}: ended in {:.1} s with {status}; ready in {:.1} s",
            took.as_secs_f64(),
            start.as_secs_f64()
        )
    }
}

/// What was seen from beside.
#[derive(Debug)]
pub struct Seen {
    pub connections: u64,
    pub without_replica: u64,
    pub adoptions: usize,
    pub violations: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub seconds: f64,
    pub replicas: u16,
    pub replacements: usize,
    pub longest_end_seconds: f64,
    /// `up succeeded` and the like.
    pub operations: BTreeMap<String, u64>,
    /// Operations that two workers or more have had.
    pub handed_over: u64,
    /// Leases that were not given back but ran out.
    pub adoptions: usize,
    /// By class of callers: each outcome and how often.
    pub callers: BTreeMap<&'static str, BTreeMap<String, u64>>,
    pub connections: u64,
    pub without_replica: u64,
    pub server_errors_but_503: u64,
    pub answers_503: u64,
    pub broken: u64,
    pub violations: Vec<String>,
}

impl Report {
    pub async fn new(
        options: &Options,
        (length, ends): (Duration, &[End]),
        tally: &Tally,
        seen: Seen,
        connection: &mut PgConnection,
    ) -> anyhow::Result<Self> {
        let operations = counts(connection, "SELECT kind || ' ' || status, count(*) FROM operations GROUP BY 1").await?;
        let handed = "SELECT 'all', count(*) FROM (SELECT operation_id FROM transitions GROUP BY 1 HAVING count(DISTINCT fence) > 2) AS o";
        let is_5xx = |outcome: &str| outcome.rsplit(' ').next().is_some_and(|status| status.len() == 3 && status.starts_with('5'));
        Ok(Self {
            seconds: length.as_secs_f64(),
            replicas: options.replicas,
            replacements: ends.len(),
            longest_end_seconds: ends.iter().map(|end| end.took.as_secs_f64()).fold(0.0, f64::max),
            operations,
            handed_over: counts(connection, handed).await?.into_values().sum(),
            adoptions: seen.adoptions,
            callers: tally.by_class(),
            connections: seen.connections,
            without_replica: seen.without_replica,
            server_errors_but_503: tally.count(|_, outcome| is_5xx(outcome) && !outcome.ends_with("503")),
            answers_503: tally.count(|_, outcome| outcome.ends_with("503")),
            broken: tally.count(|_, outcome| outcome.ends_with("broken")),
            violations: seen.violations,
        })
    }

    /// Nobody noticed: no violation, no failed operation, no broken connection, no server error.
    pub fn is_clean(&self) -> bool {
        let failed = self.operations.iter().any(|(name, count)| !name.ends_with("succeeded") && *count > 0);
        self.violations.is_empty() && !failed && self.server_errors_but_503 == 0 && self.broken == 0
    }

    /// How often streams were opened again.
    pub fn streams(&self) -> u64 {
        self.callers.get(Class::Stream.as_str()).and_then(|seen| seen.get("opened")).copied().unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted =
            |counts: &BTreeMap<String, u64>| counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        writeln!(f, "| what | how much |\n|---|---|")?;
        writeln!(f, "| run | {:.0} s, {} replicas, {} replacements |", self.seconds, self.replicas, self.replacements)?;
        writeln!(f, "| longest end after SIGTERM | {:.1} s |", self.longest_end_seconds)?;
        writeln!(f, "| operations | {} |", counted(&self.operations))?;
        writeln!(f, "| of these carried on by another worker | {} |", self.handed_over)?;
        writeln!(f, "| leases that ran out | {} |", self.adoptions)?;
        for (class, seen) in &self.callers {
            writeln!(f, "| callers: {class} | {} |", counted(seen))?;
        }
        writeln!(f, "| connections through the load balancer | {}, and {} without a replica |", self.connections, self.without_replica)?;
        writeln!(f, "| 5xx other than 503; 503; broken | {}; {}; {} |", self.server_errors_but_503, self.answers_503, self.broken)?;
        writeln!(f, "| violations | {} |", self.violations.len())
    }
}

#[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
async fn counts(connection: &mut PgConnection, sql: &str) -> sqlx::Result<BTreeMap<String, u64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
}
