//! From an `up` to the start of its operation, in the process that accepts it and at another replica.
//!
//! The operations are `up`s of a repository on the machine's own address: each is refused when its phase looks the name up, so that
//! little else happens than what is measured. An operation has started when the worker has it and is about to begin: at the commit
//! with which its first phase begins, after that of the claim. All times are of the machine's one clock.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::{task::JoinSet, time::sleep};

use super::engines::Engine;
use crate::{
    api::Api,
    bench::{
        Options, memory,
        report::{Row, Target},
        samples::{Samples, median, milliseconds},
        stage::{PRINCIPAL, Stage},
    },
    db::Db,
    until,
};

const AT_ONCE: usize = 4;
/// Milliseconds between two requests of one who asks.
const PAUSE: [u64; 2] = [120, 280];
/// Milliseconds: where it is accepted, and at another replica.
const MOST: [f64; 2] = [5.0, 50.0];
const WHERE: [&str; 2] = ["the accepting process", "another replica"];

/// One database of a server that does both, and one of a server that accepts and one that works.
pub struct Servers {
    apis: [Api; 2],
    dbs: [Db; 2],
    url: String,
}

/// Of each operation, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    /// From its acceptance: `created_at`, when the accept's statement began.
    from_accept: Vec<f64>,
    /// From before the request.
    from_request: Vec<f64>,
    /// From its acceptance to the claim's statement.
    to_claim: Vec<f64>,
}

/// Percentiles of the rounds.
#[derive(Debug, Default)]
struct Found {
    times: Times,
    accept_p95: Vec<f64>,
    request_p95: Vec<f64>,
    engines_p95: [Vec<f64>; 2],
}

impl Servers {
    pub async fn start(stage: &mut Stage) -> anyhow::Result<Self> {
        let url = memory::refused_repository().await;
        stage.cluster.create_migrated("apart").await;
        let apart = stage.cluster.url("apart");
        let all = Box::pin(stage.serve("all", &[])).await;
        let serves = Box::pin(stage.serve_on(&apart, "api", &[])).await;
        Box::pin(stage.serve_on(&apart, "worker", &[])).await;
        let api = |server: usize| Api::new(stage.ground.pki.client(), stage.servers[server].base(), stage.token(PRINCIPAL));
        Ok(Self { apis: [api(all), api(serves)], dbs: [stage.db.clone(), Db::new(apart)], url })
    }

    /// So many operations at a modest rate.
    async fn measure(&self, place: usize, round: usize, samples: u32) -> anyhow::Result<Times> {
        let mut all = JoinSet::new();
        for lane in 0..AT_ONCE {
            let (api, url, db) = (self.apis[place].clone(), self.url.clone(), self.dbs[place].clone());
            all.spawn(async move {
                let mut times = Times::default();
                for number in (lane..samples as usize).step_by(AT_ONCE) {
                    sleep(Duration::from_millis(fastrand::u64(PAUSE[0]..PAUSE[1]))).await;
                    let (key, before) = (format!("r{round}-{number}"), now());
                    let up = api.up(&key, &url, "main").await;
                    // It may have failed before it is answered.
                    anyhow::ensure!(up.status == 202 || up.status == 502, "{}", up.text);
                    let [created, claimed, began] = started(&db, &key).await;
                    times.from_accept.push(after(created, began));
                    times.to_claim.push(after(created, claimed));
                    times.from_request.push(after(before, began));
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Times::default();
        while let Some(lane) = all.join_next().await {
            times.add(lane??);
        }
        Ok(times)
    }
}

impl Times {
    fn add(&mut self, other: Self) {
        self.from_accept.extend(other.from_accept);
        self.from_request.extend(other.from_request);
        self.to_claim.extend(other.to_claim);
    }
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn after(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    // The clock may have been set in between.
    milliseconds((to - from).to_std().unwrap_or_default())
}

/// When the key's operation was accepted, claimed, and begun.
async fn started(db: &Db, key: &str) -> [DateTime<Utc>; 3] {
    let sql = format!(
        "SELECT (SELECT ARRAY[o.created_at, o.started_at, t.at]
         FROM idempotency_keys k JOIN operations o USING (tenant_id, operation_id)
         JOIN transitions t ON (t.tenant_id, t.session_id, t.seq) = (o.tenant_id, o.session_id, 2)
         WHERE k.key = '{key}')"
    );
    let begun = || async { db.one::<Option<Vec<DateTime<Utc>>>>(&sql).await };
    let times = until("it begins", Duration::from_secs(60), begun).await;
    times.try_into().expect("three times")
}

/// Rounds in turn.
pub async fn rows(servers: &Servers, engines: &[Engine; 2], options: &Options) -> anyhow::Result<Vec<Row>> {
    let samples = if options.short { 12 } else { 100 };
    let mut found: [Found; 2] = Default::default();
    for round in 0..=options.rounds {
        for (place, found) in found.iter_mut().enumerate() {
            let times = servers.measure(place, round, samples).await?;
            let mut theirs = Vec::new();
            for engine in engines {
                theirs.push(p95(engine.latencies(samples, AT_ONCE, PAUSE, place == 1).await?));
            }
            // The first is for plans, connections and caches.
            if round > 0 {
                found.accept_p95.push(p95(times.from_accept.clone()));
                found.request_p95.push(p95(times.from_request.clone()));
                found.times.add(times);
                for (all, theirs) in found.engines_p95.iter_mut().zip(theirs) {
                    all.push(theirs);
                }
            }
        }
    }
    Ok(found.into_iter().enumerate().flat_map(|(place, found)| found.rows(place, engines)).collect())
}

impl Found {
    fn rows(self, place: usize, engines: &[Engine; 2]) -> [Row; 2] {
        let (accepted, requested, claimed) =
            (Samples::of(self.times.from_accept), Samples::of(self.times.from_request), Samples::of(self.times.to_claim));
        let [first, second] = self.engines_p95.clone().map(median);
        let better = usize::from(second < first);
        let pairs: Vec<(f64, f64)> = self.request_p95.into_iter().zip(self.engines_p95[better].iter().copied()).collect();
        let place_name = WHERE[place];
        let bound = Row::within(format!("enqueue to start, p95, {place_name}"), "ms", median(self.accept_p95), MOST[place]);
        let against = format!("{}, enqueue to start", engines[better].name);
        let compared = Row::of_pairs(format!("request to start, p95, {place_name}"), "ms", against, &pairs).target(Target::AtMost(1.0));
        let other = &engines[1 - better];
        [
            bound.detail(format!("{}; to the claim {}", accepted.told(), claimed.told())),
            compared.detail(format!("{}; {}: p95 {:.1} ms", requested.told(), other.name, if better == 0 { second } else { first })),
        ]
    }
}

fn p95(figures: Vec<f64>) -> f64 {
    Samples::of(figures).part(0.95)
}
