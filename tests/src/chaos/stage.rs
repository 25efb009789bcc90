//! All that a run needs, set up and taken down: database, repositories, replicas, and who looks after them.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Options, beside,
    client::Client,
    inflict::Targets,
    journal::Journal,
    log::Log,
    proxy::Proxy,
    replica::{self, Replica},
    report::{self, Report},
    traffic,
    watch::Watch,
};
use crate::{base, bins, ground::Ground, postgres::Postgres, sandboxes, server::Server};

const DATABASE: &str = "alpine";
const CONNECTIONS: &str = "max_connections=80";

#[derive(Debug)]
pub struct Stage {
    pub targets: Targets,
    pub watch: Arc<Watch>,
    pub log: Log,
    /// The database without a proxy before it.
    pub url: String,
    pub logs: Vec<PathBuf>,
    _beside: DropGuard,
}

impl Stage {
    pub async fn set(options: &Options, seed: u64) -> anyhow::Result<Self> {
        // Built now: later they are started while a clock runs.
        for program in ["alpine-server", bins::FAULTY] {
            bins::path(program);
        }
        // An immediate stop must lose nothing that was committed.
        let postgres = Postgres::start(&["synchronous_commit=on", CONNECTIONS]).await;
        postgres.create_migrated(DATABASE).await;
        let quota = format!(
            "INSERT INTO tenants (tenant_id, max_active_sessions, max_active_sessions_per_principal) VALUES ('{}', 4, 2)",
            traffic::LIMITED_TENANT
        );
        postgres.execute(DATABASE, &quota).await;
        if let Some(sabotage) = &options.sabotage {
            postgres.execute(DATABASE, sabotage).await;
        }
        let ground = Arc::new(Ground::of_provider(&options.provider));
        traffic::repositories(&ground.git);
        let (url, log) = (postgres.url(DATABASE), Log::create(&ground.dir.join("chaos.log"))?);
        let watch = Arc::new(Watch::new(url.clone(), ground.pki.client(), log.clone()));
        let mut replicas = Vec::new();
        for number in 0..usize::from(options.replicas) {
            replicas.push(Arc::new(make(options, &ground, &postgres, &watch, number, seed).await?));
        }
        let mut logs: Vec<PathBuf> = replicas.iter().map(|replica| replica.log.clone()).collect();
        logs.extend([ground.dir.join("chaos.log"), postgres.log()]);
        let bases = replicas.iter().map(|replica| replica.base.clone()).collect();
        let journal = Arc::new(Journal::begin());
        let client = Client::new(Arc::clone(&ground), journal, bases, Instant::now());
        let (done, guard) = beside();
        let targets = Targets {
            replicas: Arc::new(replicas),
            postgres: Arc::new(tokio::sync::Mutex::new(postgres)),
            ground,
            client,
            log: log.clone(),
            inflicted: Arc::default(),
        };
        look_after(&targets, &watch, &done);
        ready(&targets).await;
        Ok(Self { targets, watch, log, url, logs, _beside: guard })
    }

    pub async fn report(
        &self,
        connection: &mut PgConnection,
        seed: u64,
        length: Duration,
        rest: Duration,
        replays: u64,
    ) -> anyhow::Result<Report> {
        for replica in self.targets.replicas.iter() {
            self.watch.scrape(replica.number, &replica.base).await;
        }
        let inflicted = self.targets.inflicted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let statuses = self.targets.client.journal.statuses();
        Ok(Report {
            seed,
            replicas: self.targets.replicas.len(),
            seconds: length.as_secs_f64(),
            sessions: counts(connection, "SELECT state, count(*) FROM sessions GROUP BY 1").await?,
            operations: counts(connection, "SELECT kind || ' ' || status, count(*) FROM operations GROUP BY 1").await?,
            requests: statuses.into_iter().map(|((action, status), count)| (format!("{action} {status}"), count)).collect(),
            replays,
            faults: inflicted.into_iter().map(|(kind, count)| (kind.to_string(), count)).collect(),
            provider_faults: self.injected(),
            adoptions: self.watch.counter("alpine_lease_adoptions_total"),
            fenced_writes: self.watch.counter("alpine_fenced_writes_total"),
            orphans: self.watch.counter("alpine_orphans_total"),
            recoveries: report::seconds(&self.watch.recoveries()),
            rest_seconds: rest.as_secs_f64(),
            checks: self.watch.checks(),
            violations: Report::by_check(self.watch.violations()),
        })
    }

    /// What the servers did to themselves, as they say in their logs.
    fn injected(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for replica in self.targets.replicas.iter() {
            let text = std::fs::read_to_string(&replica.log).unwrap_or_default();
            for line in text.lines().filter(|line| line.contains("injected fault")) {
                let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
                let field = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
                *counts.entry(format!("{} at {}", field("act"), field("point"))).or_default() += 1;
            }
        }
        counts
    }

    /// Nothing of it runs on.
    pub async fn end(self) {
        let Targets { replicas, postgres, ground, .. } = self.targets;
        drop(self._beside);
        for replica in replicas.iter() {
            replica.kill(Duration::ZERO).await;
        }
        sandboxes::kill_all(&ground.data_dir);
        postgres.lock().await.stop_immediately();
    }
}

async fn make(
    options: &Options,
    ground: &Ground,
    postgres: &Postgres,
    watch: &Arc<Watch>,
    number: usize,
    seed: u64,
) -> anyhow::Result<Replica> {
    let proxy = Proxy::start(postgres.socket()).await?;
    let url = format!("postgres://postgres@127.0.0.1:{}/{DATABASE}?sslmode=disable", proxy.port);
    let mut env = ground.environment(&url);
    env.extend(replica::settings());
    env.extend(options.settings.iter().cloned());
    let log = ground.dir.join(format!("server-{number}.log"));
    let server = Server::prepare(env, base::free_port(), log, &ground.pki);
    Ok(Replica::new(number, server, proxy, Arc::clone(watch), seed, !options.no_provider_faults))
}

fn look_after(targets: &Targets, watch: &Arc<Watch>, done: &CancellationToken) {
    for replica in targets.replicas.iter() {
        tokio::spawn({
            let (replica, done) = (Arc::clone(replica), done.clone());
            async move { replica.look_after(done).await }
        });
        tokio::spawn({
            let (replica, watch, done) = (Arc::clone(replica), Arc::clone(watch), done.clone());
            async move {
                while done.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
                    watch.scrape(replica.number, &replica.base).await;
                }
            }
        });
    }
    tokio::spawn({
        let (watch, done) = (Arc::clone(watch), done.clone());
        async move { watch.follow(done).await }
    });
}

/// Every replica answers once.
async fn ready(targets: &Targets) {
    let client = targets.ground.pki.client();
    for replica in targets.replicas.iter() {
        let url = format!("{}/readyz", replica.base);
        crate::until("a replica is ready", Duration::from_secs(60), || async {
            client.get(&url).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
async fn counts(connection: &mut PgConnection, sql: &str) -> sqlx::Result<BTreeMap<String, u64>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(name, count)| (name, count.unsigned_abs())).collect())
}
