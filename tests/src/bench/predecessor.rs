//! What took its predecessor seconds, done by Alpine.
//!
//! The predecessor's figures were measured on the same kind of machine (2 cores, Debian 12), before Alpine, with its own program and
//! git on the same disk. It kept everything in one file, and every command waited for whoever had it.

use std::{process::Stdio, time::Duration, time::Instant};

use anyhow::ensure;
use axum::body::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    Options,
    load::{self, Connection},
    report::{Row, Section, Target},
    samples::milliseconds,
    stage::{PRINCIPAL, Stage, TENANT},
};
use crate::{
    api::Api,
    base, bins,
    cli::{Alpine, text},
    git_server::url,
    until,
    world::write_profile,
};

/// `list` with 100,000 sessions.
const LIST: f64 = 12_000.0;
/// 200 `up`s at once, until the last was accepted.
const UPS: f64 = 5_000.0;
/// `list` while the `ls-remote` of somebody's `up` hangs.
const LIST_BEHIND: f64 = 19_000.0;

const SESSIONS: u32 = 100_000;
/// Of the one who has many that are over.
const ACTIVE: u32 = 500;
const AT_ONCE: usize = 200;
/// A remote that takes connections and says nothing, so that what is measured is not shared with a git server's work.
const SILENT: &str = "https://black.hole/org/repo.git";
/// Runs of the command line in one round.
const RUNS: usize = 5;

struct Bench {
    stage: Stage,
    server: usize,
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let sessions = options.at_scale(SESSIONS);
    let bench = Box::pin(Bench::set(sessions)).await?;
    let (mut own, mut old, mut all, mut ups) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        for _ in 0..RUNS {
            own.push(bench.alpine(PRINCIPAL, &["list"]).await?);
            old.push(bench.alpine("old", &["list", "--json"]).await?);
        }
        all.push(bench.alpine(PRINCIPAL, &["list", "--json"]).await?);
        ups.push(bench.ups(round).await?);
    }
    let behind = bench.behind(options.rounds * RUNS).await?;
    let row = |what: String, ours: Vec<f64>, theirs: f64| {
        Row::of_pairs(what, "ms", "the predecessor", &ours.into_iter().map(|ours| (ours, theirs)).collect::<Vec<_>>())
    };
    let rows = vec![
        row(format!("alpine list, {sessions} sessions of one's own, all active"), own, LIST)
            .target(Target::AtMost(1.0 / 100.0))
            .detail("the newest 50, as a person gets them"),
        row(format!("alpine list --json, {sessions} sessions of one's own, {ACTIVE} active"), old, LIST)
            .target(Target::AtMost(1.0 / 100.0))
            .detail(format!("all {ACTIVE}, in pages of 200; the others were over long ago (the predecessor then took 47 s)")),
        row(format!("alpine list --json, {sessions} sessions of one's own, all active"), all, LIST)
            .detail("the 10,000 that it gives at most, in pages of 200"),
        row(format!("{AT_ONCE} `up`s at once, all accepted"), ups, UPS)
            .target(Target::AtMost(1.0 / 20.0))
            .detail("each over a new TLS connection, opened within the time; their ls-remotes begin meanwhile"),
        row("alpine list --json while the ls-remote of an `up` hangs".to_owned(), behind, LIST_BEHIND).target(Target::AtMost(1.0 / 1000.0)),
    ];
    let about = format!(
        "Next to what was measured of the predecessor, on the same kind of machine and not in this run. Command lines as programs, from their start \
         to their end; {} rounds, fsync on.",
        options.rounds
    );
    Ok(Section { name: "predecessor", about, rows })
}

impl Bench {
    /// Ann's sessions are all active; of another's of the same team all but a few are over.
    async fn set(sessions: u32) -> anyhow::Result<Self> {
        let mut stage = Box::pin(Stage::set(&[])).await;
        let insert = |who: &str, count: u32, state: &str, ago: &str| {
            format!(
                "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, durable_object_id,
                     created_at, updated_at, stopped_at, persisted_at)
                 SELECT '{TENANT}', gen_random_uuid(), '{who}', '{}', 'main', true, '{state}', gen_random_uuid(), 'rec_1', at, at, at, at
                 FROM (SELECT now() - interval '{ago}' - i * interval '1 s' AS at FROM generate_series(1, {count}) i) AS times;",
                crate::REPO
            )
        };
        let active = ACTIVE.min(sessions / 2);
        stage
            .db
            .meddle(&format!(
                "INSERT INTO tenants (tenant_id) VALUES ('{TENANT}'); {} {} {}
                 INSERT INTO leases (tenant_id, session_id) SELECT tenant_id, session_id FROM sessions",
                insert(PRINCIPAL, sessions, "installing", "1 minute"),
                insert("old", active, "installing", "1 minute"),
                insert("old", sessions - active, "stopped", "2 days"),
            ))
            .await;
        stage.db.execute("VACUUM ANALYZE").await;
        let server = Box::pin(stage.serve("all", &[])).await;
        for dir in ["config", "home"] {
            std::fs::create_dir(stage.file(dir))?;
            base::open_for_passage(&stage.file(dir));
        }
        write_profile(&stage.file("config"), &stage.servers[server].base(), &stage.ground);
        Ok(Self { stage, server })
    }

    /// How long it took to its end.
    async fn alpine(&self, principal: &str, args: &[&str]) -> anyhow::Result<f64> {
        let alpine = Alpine::new(&self.stage.file("config"), &self.stage.file("home")).env("ALPINE_PRINCIPAL_ID", principal).args(args);
        let mut command = alpine.command_of(bins::path("alpine"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let output = command.output().await?;
        let took = milliseconds(begun.elapsed());
        ensure!(output.status.success() && output.stdout.len() > 1000, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(took)
    }

    /// From nothing to the last acceptance, each with its own connection.
    async fn ups(&self, round: usize) -> anyhow::Result<f64> {
        let token = self.stage.token("many");
        let port = self.stage.servers[self.server].port;
        let body = Bytes::from(json!({ "repo_url": SILENT, "branch": "main", "public": true }).to_string());
        let requests: Vec<_> = (0..AT_ONCE)
            .map(|number| load::request("/v1/sessions", &token, Some(&format!("{round}-{number}")), Some(body.clone())))
            .collect::<anyhow::Result<_>>()?;
        let client = load::tls(&self.stage.ground.pki)?;
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for request in requests {
            let client = client.clone();
            all.spawn(async move { Connection::open_with("localhost", port, client).await?.ask(request).await });
        }
        let mut accepted = Vec::new();
        while let Some(answer) = all.join_next().await {
            accepted.push(serde_json::from_slice::<Value>(&answer??)?);
        }
        let took = milliseconds(begun.elapsed());
        // Not beside the next measurement.
        let mut connection = Connection::open(port, &self.stage.ground.pki).await?;
        for up in accepted {
            let path = format!("/v1/sessions/{}/down", text(&up, "session_id"));
            connection.ask(load::request(&path, &token, None, Some("{}".into()))?).await?;
        }
        let none = || async { (self.stage.db.count("operations WHERE finished_at IS NULL").await == 0).then_some(()) };
        until("they are stopped", Duration::from_secs(120), none).await;
        Ok(took)
    }

    async fn behind(&self, runs: usize) -> anyhow::Result<Vec<f64>> {
        let (git, name) = (&self.stage.ground.git, "org/hangs");
        git.with_files(name, &[("README.md", "hello\n")]);
        git.delay(name, Duration::MAX);
        let api = Api::new(self.stage.ground.pki.client(), self.stage.servers[self.server].base(), self.stage.token("hangs"));
        api.up("hangs", &url(name), "main").await.expect(202);
        until("its ls-remote hangs", Duration::from_secs(30), || async { (git.requests(name) > 0).then_some(()) }).await;
        let mut took = Vec::new();
        for _ in 0..runs {
            took.push(self.alpine("old", &["list", "--json", "--limit", "50"]).await?);
        }
        let hangs = self.stage.db.count("operations WHERE finished_at IS NULL").await;
        ensure!(hangs == 1, "the `up` has not hung to the end");
        Ok(took)
    }
}
