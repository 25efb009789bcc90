//! The chaos program: real servers under real traffic while everything goes wrong that can, and then the
//! question whether anything was lost, doubled, stuck or told wrongly.

pub mod client;
pub mod evidence;
pub mod frontend;
pub mod inflict;
pub mod journal;
pub mod log;
pub mod provider_faults;
pub mod proxy;
pub mod quiesce;
pub mod replica;
pub mod report;
pub mod schedule;
pub mod stage;
pub mod traffic;
pub mod watch;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::invariants::{self, Limits, Violation};
use report::Report;
use stage::Stage;

/// The servers' lease.
pub const LEASE: Duration = Duration::from_secs(3);
/// The slack is for the time that a fault takes away: a database that is down, servers that are all dead.
pub const LIMITS: Limits = Limits { lease: LEASE, cleanup: Duration::from_secs(30), slack: Duration::from_secs(30) };

/// Drive Alpine through faults and check that nothing was hurt. Exit code 1 on any violation.
#[derive(Debug, Clone, Parser)]
#[command(name = "chaos", version)]
pub struct Options {
    /// Servers on the one database.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub replicas: u16,
    /// How long faults happen; the end takes another minute or two.
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// Decides the faults and the traffic. Default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where sessions run; containers need tests/docker/run.sh around this.
    #[arg(long, default_value = "local", value_parser = ["local", "docker"])]
    pub provider: String,
    /// Take the servers as they are shipped, without the build that has faults of its own.
    #[arg(long)]
    pub no_provider_faults: bool,
    /// Statements for the database before the servers start: to break it on purpose.
    #[arg(long, value_name = "SQL")]
    pub sabotage: Option<String>,
    /// A setting of the servers, for the same; as often as needed.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Keep logs, journal and ledger of a clean run, too.
    #[arg(long)]
    pub keep: bool,
    /// The report as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `NAME=VALUE`.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("this is not NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// One run; what it came to. The evidence of a violation is kept.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let begun = Instant::now();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let stage = Box::pin(Stage::set(options, seed)).await?;
    let schedule = schedule::plan(seed, length, stage.targets.replicas.len());
    stage.log.line(&format!("seed {seed}, {} replicas, {} faults in {length:?}", stage.targets.replicas.len(), schedule.len()));
    for fault in &schedule {
        stage.log.line(&format!("planned for {:.1} s: {fault}", fault.at.as_secs_f64()));
    }

    let callers = stage.targets.client.until(Instant::now() + length);
    let traffic = traffic::begin(&callers, seed);
    inflict::inflict(&stage.targets, schedule).await;
    stage.log.line("no more faults");
    for replica in stage.targets.replicas.iter() {
        replica.heal().await;
    }
    traffic.join_all().await;
    stage.log.line("no more traffic");

    let client = stage.targets.client.until(Instant::now() + Duration::from_secs(300));
    let mut connection = PgConnection::connect(&stage.url).await?;
    let rest = quiesce::rest(&mut connection, &client, &stage.watch).await?;
    stage.log.line(&format!("at rest after {:.1} s", rest.as_secs_f64()));
    let replays = quiesce::replay(&mut connection, &client).await?;
    stage.log.line(&format!("{replays} requests were made again"));
    for violation in check(&mut connection, &stage).await? {
        stage.watch.violation(violation.check, violation.what);
    }
    let report = stage.report(&mut connection, seed, begun.elapsed(), rest, replays).await?;
    if options.keep || !report.is_clean() {
        let kept = evidence::keep(&stage, seed).await?;
        stage.log.line(&format!("logs, journal and ledger are kept in {}", kept.display()));
    }
    stage.end().await;
    Ok(report)
}

async fn check(connection: &mut PgConnection, stage: &Stage) -> anyhow::Result<Vec<Violation>> {
    let journal = &stage.targets.client.journal;
    let mut found = invariants::ledger(connection, &LIMITS).await?;
    found.extend(invariants::sandboxes(connection, &stage.targets.ground.data_dir).await?);
    found.extend(invariants::answers(connection, &journal.answers()).await?);
    found.extend(stage.watch.stale_writes(connection).await?);
    let unexpected = |(_, status): &&(&str, String)| status == "500";
    found.extend(
        journal
            .statuses()
            .keys()
            .filter(unexpected)
            .map(|(action, status)| Violation { check: "no_internal_errors", what: format!("{action} was answered {status}") }),
    );
    Ok(found)
}

/// Cancelled when dropped: what goes on beside a run ends with it.
pub fn beside() -> (CancellationToken, tokio_util::sync::DropGuard) {
    let done = CancellationToken::new();
    let guard = done.clone().drop_guard();
    (done, guard)
}
