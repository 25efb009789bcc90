//! From a commit to the client that waits for it: `up`s that end `ready`, each watched in three ways at once.
//!
//! One replica works and another serves, so that nothing is told within a process. PostgreSQL itself says when it
//! committed (`track_commit_timestamp`: as the commit record is written, before it is on disk), by the clock of the same
//! machine by which the client notes what it was told.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::{Method, header};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    Options,
    report::{Row, Section},
    samples::Samples,
    stage::{PRINCIPAL, Stage},
};
use crate::{
    REPO,
    api::{Api, send},
    cli::text,
    db::uuid,
    drive::CHEAP_SERVE,
    server::Server,
    sse::Stream,
    until,
};

const POLL: Duration = Duration::from_secs(1);
/// Sessions on their way at once.
const AT_ONCE: usize = 4;
/// Milliseconds from the commit.
const MOST: f64 = 50.0;
/// MB.
const MOST_MEMORY: f64 = 120.0;
/// Installs for as long as its file is not there.
const GATED: &str = "https://github.com/org/gated.git";
/// Connections that those who wait beside share.
const SHARED: usize = 16;

/// One replica that works, and one that serves.
struct Two {
    stage: Stage,
    serves: usize,
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

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let (sessions, waiters) = if options.short { (8, 20) } else { (200, 1000) };
    let two = Arc::new(Box::pin(Two::set()).await);
    let gated = two.begin_gated().await;
    // The hub's listener is one, whoever waits.
    let without = two.connections_in_use().await;
    let beside = two.wait_beside(&gated.operation, waiters).await;
    let held = two.connections_in_use().await;
    anyhow::ensure!(held.is_finite() && without.is_finite(), "the connections in use are not told");
    let held = (held - without).max(0.0);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for number in 0..sessions {
        let (two, places) = (Arc::clone(&two), Arc::clone(&places));
        all.spawn(async move {
            let _place = places.acquire().await?;
            two.watch(number).await
        });
    }
    let mut times: [Vec<f64>; 3] = Default::default();
    while let Some(known) = all.join_next().await {
        let known = known??;
        let committed = two.committed(&known.session).await;
        for (times, at) in times.iter_mut().zip([known.waited, known.told, known.polled]) {
            times.push(after(committed, at));
        }
    }
    let resident = two.serves().metric("alpine_process_resident_memory_bytes", &[]).await.unwrap_or(f64::NAN) / 1024.0 / 1024.0;
    std::fs::write(&gated.gate, "")?;
    let told = beside.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let committed = two.committed(&gated.session).await;
    let at_once = Samples::of(told.into_iter().map(|at| after(committed, at)).collect());
    let [waited, told, polled] = times.map(Samples::of);
    let against_polling = |what: &str, samples: &Samples| {
        Row::of_pairs(what, "ms", "p95 of a client that polls each second", &[(samples.part(0.95), polled.part(0.95))])
            .detail(samples.told())
    };
    let rows = vec![
        Row::within("Prefer: wait, p95", "ms", waited.part(0.95), MOST).detail(waited.told()),
        Row::within("events (SSE), p95", "ms", told.part(0.95), MOST).detail(told.told()),
        against_polling("Prefer: wait, p95", &waited),
        against_polling("events (SSE), p95", &told),
        Row::of_pairs(format!("{waiters} told at once, p95"), "ms", "one at a time", &[(at_once.part(0.95), waited.part(0.95))])
            .detail(at_once.told()),
        Row::within(format!("memory of the replica that {waiters} wait at"), "MB", resident, MOST_MEMORY),
        Row::none(format!("database connections that {waiters} waiting hold"), held)
            .detail(format!("in use while all wait and nothing happens, beyond the {without:.0} without them")),
    ];
    let about = format!(
        "From the commit of `ready` to the waiting client: {sessions} sessions, {AT_ONCE} at once, {waiters} more who wait beside, at another replica \
         than the one that works, fsync on."
    );
    Ok(Section { name: "wait", about, rows })
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

impl Two {
    async fn set() -> Self {
        let mut stage = Box::pin(Stage::set(&["track_commit_timestamp=on"])).await;
        stage.ground.git.with_files("org/repo", &[("README.md", "hello\n")]);
        stage.ground.git.with_files("org/gated", &[(".alpine.toml", "install = \"while [ ! -e gate ]; do sleep 0.1; done\"\n")]);
        Box::pin(stage.serve("worker", &[("ALPINE_SANDBOX_SERVE", CHEAP_SERVE)])).await;
        let serves = Box::pin(stage.serve("api", &[])).await;
        Self { stage, serves }
    }

    fn serves(&self) -> &Server {
        &self.stage.servers[self.serves]
    }

    /// The fewest of a few looks: reads come and go.
    async fn connections_in_use(&self) -> f64 {
        let mut fewest = f64::INFINITY;
        for _ in 0..10 {
            sleep(POLL / 2).await;
            fewest = self.serves().metric("alpine_database_connections", &["state=\"used\""]).await.unwrap_or(f64::NAN).min(fewest);
        }
        fewest
    }

    fn api(&self) -> Api {
        Api::new(self.stage.ground.pki.client(), self.serves().base(), self.stage.token(PRINCIPAL))
    }

    async fn begin_gated(&self) -> Gated {
        let api = self.api();
        let up = api.up("gated", GATED, "main").await;
        let (session, operation) = (text(up.expect(202), "session_id"), text(&up.body, "operation_id"));
        let path = format!("/v1/sessions/{session}");
        until("it installs", POLL * 60, || async { (api.get(&path).await.body["state"] == "installing").then_some(()) }).await;
        let gate = self.stage.ground.data_dir.join("sandboxes").join(&session).join("workspace/gate");
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
        let wait = || async { (self.serves().metric("alpine_http_requests_in_flight", &[]).await >= wanted).then_some(()) };
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
        self.stage
            .db
            .one(&format!("SELECT pg_xact_commit_timestamp(xmin) FROM transitions WHERE session_id = '{id}' AND to_state = 'ready'"))
            .await
    }
}
