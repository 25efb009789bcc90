//! From a commit to the client that waits for it: `up`s that end `ready`, each watched in three ways at once.
//!
//! One replica works and another serves, so that nothing is told within a process. PostgreSQL itself says when it
//! committed (`track_commit_timestamp`: as the commit record is written, before it is on disk), by the clock of the same
//! machine by which the client notes what it was told.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{Method, header};
use serde::Serialize;
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::Options;
use crate::{
    REPO,
    api::{Api, send},
    base,
    cli::text,
    db::{Db, uuid},
    drive::CHEAP_SERVE,
    ground::Ground,
    postgres::Postgres,
    sandboxes,
    server::Server,
    sse::Stream,
    until,
};

const POLL: Duration = Duration::from_secs(1);
const POLLS: &str = "polls each second";
/// Installs for as long as its file is not there.
const GATED: &str = "https://github.com/org/gated.git";
/// Connections that those who wait beside share.
const SHARED: usize = 16;

/// How long after the commit clients of one kind knew, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Row {
    pub what: &'static str,
    pub p50: f64,
    pub p95: f64,
    pub max: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub sessions: usize,
    pub at_once: usize,
    /// Who waited for another operation all the while.
    pub waiters: usize,
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "commit of `ready` to the waiting client, {} sessions, {} at once, {} more waiters, another replica, fsync on",
            self.sessions, self.at_once, self.waiters
        )?;
        writeln!(f, "| client | p50, ms | p95, ms | max, ms | p95 of polling / this |\n|---|---|---|---|---|")?;
        let polling = self.rows.iter().find(|row| row.what == POLLS).map_or(f64::NAN, |row| row.p95);
        self.rows
            .iter()
            .try_for_each(|r| writeln!(f, "| {} | {:.1} | {:.1} | {:.1} | {:.0} |", r.what, r.p50, r.p95, r.max, polling / r.p95))
    }
}

struct Stage {
    ground: Ground,
    db: Db,
    works: Server,
    serves: Server,
}

/// A session that is ready once its gate is open.
struct Gated {
    session: String,
    operation: String,
    gate: PathBuf,
}

/// When each client knew.
struct Known {
    waited: DateTime<Utc>,
    told: DateTime<Utc>,
    polled: DateTime<Utc>,
    session: String,
}

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let stage = Arc::new(Box::pin(Stage::set()).await);
    let gated = stage.begin_gated().await;
    let beside = stage.wait_beside(&gated.operation, options.waiters).await;
    let places = Arc::new(Semaphore::new(options.connections));
    let mut all = JoinSet::new();
    for number in 0..options.sessions {
        let (stage, places) = (Arc::clone(&stage), Arc::clone(&places));
        all.spawn(async move {
            let _place = places.acquire().await?;
            stage.watch(number).await
        });
    }
    let mut times: [Vec<f64>; 3] = Default::default();
    while let Some(known) = all.join_next().await {
        let known = known??;
        let committed = stage.committed(&known.session).await;
        for (times, at) in times.iter_mut().zip([known.waited, known.told, known.polled]) {
            times.push(after(committed, at));
        }
    }
    let kinds = ["Prefer: wait", "events, SSE", POLLS];
    let mut rows: Vec<Row> = kinds.into_iter().zip(times).map(|(what, times)| row(what, times)).collect();
    if options.waiters > 0 {
        std::fs::write(&gated.gate, "")?;
        let told = beside.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let committed = stage.committed(&gated.session).await;
        rows.push(row("Prefer: wait, all of the others at once", told.into_iter().map(|at| after(committed, at)).collect()));
    }
    Ok(Report { sessions: options.sessions, at_once: options.connections, waiters: options.waiters, rows })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index")]
fn row(what: &'static str, mut times: Vec<f64>) -> Row {
    times.sort_by(f64::total_cmp);
    let part = |part: f64| times.get((times.len().saturating_sub(1) as f64 * part).round() as usize).copied().unwrap_or(f64::NAN);
    Row { what, p50: part(0.5), p95: part(0.95), max: part(1.0) }
}

/// Milliseconds.
fn after(committed: DateTime<Utc>, at: DateTime<Utc>) -> f64 {
    (at - committed).as_seconds_f64() * 1000.0
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// When the operation's end was answered to one who waits for it.
async fn the_end(api: &Api, operation: &str) -> anyhow::Result<DateTime<Utc>> {
    let path = format!("/v1/operations/{operation}");
    loop {
        let reply = send(api.request(Method::GET, &path).header("prefer", "wait=60")).await;
        anyhow::ensure!(reply.status == 200, "{}", reply.text);
        if !reply.body["finished_at"].is_null() {
            anyhow::ensure!(reply.body["status"] == "succeeded", "{}", reply.text);
            return Ok(now());
        }
    }
}

impl Stage {
    async fn set() -> Self {
        let ground = Ground::prepare();
        ground.git.with_files("org/repo", &[("README.md", "hello\n")]);
        ground.git.with_files("org/gated", &[(".alpine.toml", "install = \"while [ ! -e gate ]; do sleep 0.1; done\"\n")]);
        let settings = ["fsync=on", "full_page_writes=on", "track_commit_timestamp=on", "max_connections=200"];
        let cluster = Box::leak(Box::new(Box::pin(Postgres::start(&settings)).await));
        cluster.create_migrated("bench").await;
        let server = async |role: &str| {
            let mut env = ground.environment(&cluster.url("bench"));
            for (name, value) in [("ALPINE_ROLE", role), ("ALPINE_LOG", "warn"), ("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)] {
                env.insert(name.to_owned(), value.to_owned());
            }
            Server::start(env, base::free_port(), ground.dir.join(format!("{role}.log")), &ground.pki).await
        };
        let (works, serves) = (server("worker").await, server("api").await);
        Self { db: Db::new(cluster.url("bench")), ground, works, serves }
    }

    fn api(&self) -> Api {
        Api::new(self.ground.pki.client(), self.serves.base(), self.ground.token("dev", "ann", &[]))
    }

    async fn begin_gated(&self) -> Gated {
        let api = self.api();
        let up = api.up("gated", GATED, "main").await;
        let (session, operation) = (text(up.expect(202), "session_id"), text(&up.body, "operation_id"));
        let path = format!("/v1/sessions/{session}");
        until("it installs", POLL * 60, || async { (api.get(&path).await.body["state"] == "installing").then_some(()) }).await;
        let gate = self.ground.data_dir.join("sandboxes").join(&session).join("workspace/gate");
        Gated { session, operation, gate }
    }

    /// So many who wait for the operation, when all do.
    async fn wait_beside(&self, operation: &str, waiters: usize) -> JoinSet<anyhow::Result<DateTime<Utc>>> {
        let apis: Vec<Api> = (0..SHARED).map(|_| self.api()).collect();
        let mut all = JoinSet::new();
        for api in apis.iter().cycle().take(waiters) {
            let (api, operation) = (api.clone(), operation.to_owned());
            all.spawn(async move { the_end(&api, &operation).await });
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let wanted = Some(waiters as f64);
        let wait = || async { (self.serves.metric("alpine_http_requests_in_flight", &[]).await >= wanted).then_some(()) };
        until("they wait", POLL * 60, wait).await;
        all
    }

    /// One `up`, and when each of three clients knew that it was ready.
    async fn watch(&self, number: usize) -> anyhow::Result<Known> {
        let (waits, hears, polls) = (self.api(), self.api(), self.api());
        let up = waits.up(&format!("bench{number}"), REPO, "main").await;
        let (session, operation) = (text(up.expect(202), "session_id"), text(&up.body, "operation_id"));
        let waited = the_end(&waits, &operation);
        let told = async {
            let mut stream = Stream::open(&hears, &format!("/v1/sessions/{session}/events"), None).await;
            while let Some(message) = stream.message().await? {
                if message.data["to_state"] == "ready" {
                    return Ok(now());
                }
            }
            anyhow::bail!("it ended before {session} was ready")
        };
        let polled = async {
            // It began to wait at any time.
            sleep(POLL.mul_f64(fastrand::f64())).await;
            loop {
                let reply =
                    send(polls.request(Method::GET, &format!("/v1/sessions/{session}")).header(header::ACCEPT, "application/json")).await;
                if reply.body["state"] == "ready" {
                    return Ok(now());
                }
                sleep(POLL).await;
            }
        };
        let (waited, told, polled) = tokio::try_join!(waited, told, polled)?;
        waits.down(&session, serde_json::json!({})).await;
        Ok(Known { waited, told, polled, session })
    }

    async fn committed(&self, session: &str) -> DateTime<Utc> {
        let id = uuid(session);
        self.db
            .one(&format!("SELECT pg_xact_commit_timestamp(xmin) FROM transitions WHERE session_id = '{id}' AND to_state = 'ready'"))
            .await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.works.kill();
        self.serves.kill();
        sandboxes::kill_all(&self.ground.data_dir);
        sandboxes::remove_groups(&self.ground.data_dir);
    }
}
