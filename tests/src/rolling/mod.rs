//! The rolling program: replicas behind a load balancer are replaced one after the other, again and again, while callers work; then
//! the question whether anybody noticed. With an older program to begin with it is an upgrade.

mod callers;
mod front;
mod report;
mod tally;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    base, bins,
    chaos::{journal::Journal, log::Log},
    ground::Ground,
    invariants::{self, Limits},
    postgres::Postgres,
    sandboxes,
    server::{PHASE_SCHEMA, PROGRAM, Server},
};
use callers::Callers;
use front::Front;
pub use report::Report;
use tally::Tally;

const DATABASE: &str = "alpine";
/// The bound of a replica's end: its delay, its drain and its last writes.
const BOUND: Duration = Duration::from_secs(12);
const LIMITS: Limits = Limits { lease: Duration::from_secs(10), cleanup: Duration::from_secs(30), slack: Duration::from_secs(10) };
/// What the next version brings with it, as far as the present one can tell: a column more in tables that it reads and writes.
const NEXT_SCHEMA: &str = "ALTER TABLE sessions ADD COLUMN next_version text;
    ALTER TABLE operations ADD COLUMN next_version integer NOT NULL DEFAULT 7;
    INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (29991231000000, 'next version', true, ''::bytea, 0)";

/// Replace replicas one after the other under traffic. Exit code 1 if anybody noticed.
#[derive(Debug, Clone, Parser)]
#[command(name = "rolling", version)]
pub struct Options {
    /// Servers on the one database.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=16))]
    pub replicas: u16,
    /// How often all of them are replaced.
    #[arg(long, default_value_t = 20)]
    pub restarts: u32,
    /// Callers of each class.
    #[arg(long, default_value_t = 2)]
    pub callers: usize,
    /// Begin with this older `alpine-server` and its schema; the first replacement is the upgrade.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "next")]
    pub from: Option<PathBuf>,
    /// Upgrade to a stand-in for the next version: one more migration, and phases that the present one does not know.
    #[arg(long)]
    pub next: bool,
    /// End replicas by SIGKILL: to see that this is noticed.
    #[arg(long)]
    pub abrupt: bool,
    /// Seconds between two replacements. A phase that is handed over begins anew: on a slow machine it needs the time.
    #[arg(long, default_value_t = 1.0)]
    pub pause: f64,
    /// A setting of the servers, to break them on purpose; as often as needed.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = crate::chaos::setting)]
    pub settings: Vec<(String, String)>,
    /// The report as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

struct Stage {
    postgres: Postgres,
    ground: Arc<Ground>,
    servers: Vec<Server>,
    front: Front,
    log: Log,
}

/// One run; what it came to.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let mut stage = Box::pin(Stage::set(options)).await?;
    let (journal, tally, stop) = (Arc::new(Journal::begin()), Arc::new(Tally::default()), CancellationToken::new());
    let callers = Callers {
        ground: Arc::clone(&stage.ground),
        journal: Arc::clone(&journal),
        tally: Arc::clone(&tally),
        base: format!("https://127.0.0.1:{}", stage.front.port),
        stop: stop.clone(),
    };
    let working = callers.begin(options.callers);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ends = Box::pin(stage.replace(options)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    working.join_all().await;
    stage.log.line("no more traffic");
    let mut connection = PgConnection::connect(&stage.postgres.url(DATABASE)).await?;
    let mut violations = tally.faults();
    violations.extend(stage.check(&mut connection, &journal).await?);
    violations.extend(ends.iter().filter(|end| !end.is_good()).map(ToString::to_string));
    let (connections, without_replica) = stage.front.counts();
    let adoptions = stage.servers.iter().map(|server| server.log_text().matches("\"adopted\"").count()).sum();
    let seen = report::Seen { connections, without_replica, adoptions, violations };
    let report = Report::new(options, (begun.elapsed(), &ends), &tally, seen, &mut connection).await?;
    stage.end(&report);
    Ok(report)
}

impl Stage {
    async fn set(options: &Options) -> anyhow::Result<Self> {
        let postgres = Postgres::start(&["synchronous_commit=on", "max_connections=200"]).await;
        let ground = Arc::new(Ground::prepare());
        ground.git.with_files("org/plain", &[("README.md", "hello\n")]);
        ground.git.with_files("org/slow", &[(".alpine.toml", "install = \"sleep 2; echo done >> installed\"")]);
        let log = Log::create(&ground.dir.join("rolling.log"))?;
        let mut env = ground.environment(&postgres.url(DATABASE));
        for (name, value) in settings().into_iter().chain(options.settings.iter().cloned()) {
            env.insert(name, value);
        }
        match &options.from {
            Some(program) => {
                postgres.execute("postgres", &format!("CREATE DATABASE {DATABASE}")).await;
                migrate(program, &postgres).await?;
                env.insert(PROGRAM.to_owned(), program.display().to_string());
            }
            None => postgres.create_migrated(DATABASE).await,
        }
        let place = |number| Server::prepare(env.clone(), base::free_port(), ground.dir.join(format!("server-{number}.log")), &ground.pki);
        let mut servers: Vec<Server> = (0..options.replicas).map(place).collect();
        for server in &mut servers {
            server.start_again().await;
        }
        let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
        let front = Front::start(&ports, ground.pki.client()).await?;
        let stage = Self { postgres, ground, servers, front, log };
        for number in 0..stage.servers.len() {
            stage.sees_ready(number).await;
        }
        Ok(stage)
    }

    async fn sees_ready(&self, number: usize) {
        let ready = || async { self.front.is_ready(number).then_some(()) };
        crate::until("the load balancer sees that a replica is ready", Duration::from_secs(60), ready).await;
    }

    /// Every replica, as often as it is asked for; how each ended.
    async fn replace(&mut self, options: &Options) -> anyhow::Result<Vec<report::End>> {
        if options.from.is_some() {
            self.log.line("the new program migrates under the old ones");
            migrate(&bins::path("alpine-server"), &self.postgres).await?;
        } else if options.next {
            self.log.line("the next version's migration under the present ones");
            self.postgres.execute(DATABASE, NEXT_SCHEMA).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut ends = Vec::new();
        for round in 0..options.restarts {
            for number in 0..self.servers.len() {
                let server = &mut self.servers[number];
                if options.abrupt {
                    server.kill_only();
                } else {
                    server.ask_to_end();
                }
                let asked = Instant::now();
                let (status, took) = (server.ended().await, asked.elapsed());
                server.configure(PROGRAM, None);
                if options.next {
                    server.configure(PHASE_SCHEMA, Some("3".to_owned()));
                }
                let begun = Instant::now();
                server.start_again().await;
                let end = report::End { round, replica: number, status, took, start: begun.elapsed() };
                self.log.line(&end.to_string());
                ends.push(end);
                self.sees_ready(number).await;
                tokio::time::sleep(Duration::from_secs_f64(options.pause)).await;
            }
        }
        Ok(ends)
    }

    /// At rest: the ledger, the sandboxes and what callers were told agree.
    async fn check(&self, connection: &mut PgConnection, journal: &Journal) -> anyhow::Result<Vec<String>> {
        // Sweepers and reconcilers have had their rounds.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let mut found = invariants::ledger(connection, &LIMITS).await?;
        found.extend(invariants::sandboxes(connection, &self.ground.data_dir).await?);
        found.extend(invariants::answers(connection, &journal.answers()).await?);
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn end(mut self, report: &Report) {
        if !report.is_clean() {
            for server in &self.servers {
                self.log.line(&format!("{}:\n{}", server.log.display(), server.log_tail()));
            }
        }
        self.servers.iter_mut().for_each(Server::kill);
        sandboxes::kill_all(&self.ground.data_dir);
        self.postgres.stop_immediately();
    }
}

fn settings() -> Vec<(String, String)> {
    let settings = [
        ("ALPINE_SHUTDOWN_DELAY_SECONDS", "2"),
        ("ALPINE_DRAIN_SECONDS", "5"),
        ("ALPINE_HAND_OVER_SECONDS", "3"),
        ("ALPINE_LEASE_SECONDS", "10"),
        ("ALPINE_SWEEP_SECONDS", "1"),
        ("ALPINE_RECONCILE_SECONDS", "2"),
        ("ALPINE_ORPHAN_GRACE_SECONDS", "10"),
        ("ALPINE_DB_CONNECTIONS", "8"),
        ("ALPINE_DB_TRANSACTION_CONNECTIONS", "4"),
        ("ALPINE_STOP_GRACE_SECONDS", "2"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// As a release does it: `alpine-server migrate` of this program.
async fn migrate(program: &std::path::Path, postgres: &Postgres) -> anyhow::Result<()> {
    let mut command = tokio::process::Command::new(program);
    let output = command.arg("migrate").env("DATABASE_URL", postgres.url(DATABASE)).output().await?;
    anyhow::ensure!(output.status.success(), "migrate: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
