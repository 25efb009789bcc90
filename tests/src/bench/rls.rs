//! What row-level security costs on accept, status and list.
//!
//! Twice: through HTTPS, where the policies are switched off and on between rounds (what a caller notices); and the
//! bare statements in pgbench, ours against the same without the tenant's setting, by a role that the policies do not
//! bind (all that it costs the database, the formulation included).

use std::time::Duration;

use anyhow::Context as _;

use super::{
    Options,
    load::{self, Connection},
    pgbench, reads,
    report::{Row, Section, Target},
    stage::{PRINCIPAL, Stage, TENANT, a_session, fill, up_body},
};

const TABLES: [&str; 12] = [
    "tenants",
    "sessions",
    "operations",
    "leases",
    "idempotency_keys",
    "transitions",
    "session_records",
    "audit_log",
    "audit_heads",
    "credentials",
    "access_tokens",
    "stored_credentials",
];
/// Sees every row, whatever the policies say.
const UNBOUND: &str = "bench_unbound";
const OWN: u32 = 500;
const CONNECTIONS: usize = 8;
/// Of the time without.
const MOST: f64 = 1.15;

struct Bench {
    stage: Stage,
    connections: Vec<Connection>,
    /// A session of the principal that the load is.
    session: String,
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    stage.db.execute(&format!("CREATE ROLE {UNBOUND} BYPASSRLS; GRANT alpine_api TO {UNBOUND}")).await;
    fill(&stage.db, OWN, options.at_scale(50_000)).await;
    let session = a_session(&stage.db).await;
    let server = Box::pin(stage.serve("api", &[])).await;
    let mut bench = Bench { connections: stage.connections(server, CONNECTIONS).await?, session, stage };
    let mut figures: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for round in 0..options.rounds {
        for (what, pair) in bench.round(options, round).await? {
            match figures.iter_mut().find(|(known, _)| *known == what) {
                Some((_, pairs)) => pairs.push(pair),
                None => figures.push((what, vec![pair])),
            }
        }
    }
    // As time, not as a rate: what it costs is then over 1.
    let row = |(what, pairs): (String, Vec<(f64, f64)>)| {
        let times: Vec<_> = pairs.iter().map(|(without, with)| (1000.0 / with, 1000.0 / without)).collect();
        let row = Row::of_pairs(&what, "ms", "without", &times);
        if what.ends_with("HTTPS") { row.target(Target::AtMost(MOST)) } else { row }
    };
    let about = format!(
        "With the policies and without: {CONNECTIONS} connections, medians of {} rounds in turn, fsync on; times are of all connections together.",
        options.rounds
    );
    Ok(Section { name: "row-level security", about, rows: figures.into_iter().map(row).collect() })
}

impl Bench {
    async fn policies(&self, on: bool) {
        let change = |table: &&str| format!("ALTER TABLE {table} {} ROW LEVEL SECURITY", if on { "ENABLE" } else { "DISABLE" });
        self.stage.db.execute(&TABLES.iter().map(change).collect::<Vec<_>>().join(";")).await;
    }

    /// Each thing without and with; which comes first takes turns.
    async fn round(&mut self, options: &Options, round: usize) -> anyhow::Result<Vec<(String, (f64, f64))>> {
        let mut measured = [Vec::new(), Vec::new()];
        for with in if round.is_multiple_of(2) { [false, true] } else { [true, false] } {
            self.policies(with).await;
            measured[usize::from(with)] = self.through_https(options, round, with).await?;
        }
        self.policies(true).await;
        let mut bare = [Vec::new(), Vec::new()];
        for with in if round.is_multiple_of(2) { [false, true] } else { [true, false] } {
            bare[usize::from(with)] = self.bare(options, with).await?;
        }
        let [without, with] = measured;
        let [bare_without, bare_with] = bare;
        let pairs = without.into_iter().zip(with).chain(bare_without.into_iter().zip(bare_with));
        Ok(pairs.map(|((what, without), (_, with))| (what, (without, with))).collect())
    }

    async fn through_https(&mut self, options: &Options, round: usize, with: bool) -> anyhow::Result<Vec<(String, f64)>> {
        let length = Duration::from_secs(options.seconds);
        let token = self.stage.token(PRINCIPAL);
        let get = |path: String| {
            let token = token.clone();
            move |_, _| load::request(&path, &token, None, None)
        };
        let status = get(format!("/v1/sessions/{}", self.session));
        // Plans and connections first.
        load::run(&mut self.connections, Duration::from_millis(300), status.clone()).await?;
        let mut measured = vec![("status, HTTPS".to_owned(), load::run(&mut self.connections, length, status).await?.per_second)];
        let list = load::run(&mut self.connections, length, get("/v1/sessions".to_owned())).await?;
        measured.push(("list of 50, HTTPS".to_owned(), list.per_second));
        let token = self.stage.token(&format!("r{round}{with}"));
        let accept =
            move |connection, number| load::request("/v1/sessions", &token, Some(&format!("{connection}-{number}")), Some(up_body()));
        measured.push(("accept, HTTPS".to_owned(), load::run(&mut self.connections, length, accept).await?.per_second));
        Ok(measured)
    }

    /// The statements of `ledger/views.rs` and `ledger/list.rs`; without: the SELECT in them alone, by a role that nothing binds.
    async fn bare(&self, options: &Options, with: bool) -> anyhow::Result<Vec<(String, f64)>> {
        let plain = |sql: &str| -> anyhow::Result<String> {
            let select = sql.split_once("LATERAL (").and_then(|(_, rest)| rest.rsplit_once(" OFFSET 0)"));
            let (select, _) = select.context("the statement names its tenant")?;
            Ok(format!("{};\n", select.replace("tenant.id", &format!("'{TENANT}'"))))
        };
        let role = if with { "alpine_api" } else { UNBOUND };
        let mut measured = Vec::new();
        for (what, sql) in reads::statements(&self.session)? {
            let script = self.stage.file("script.sql");
            std::fs::write(&script, if with { sql } else { plain(&sql)? })?;
            let tps = pgbench::per_second(&self.stage.url, role, &script, CONNECTIONS, options.seconds).await?;
            measured.push((format!("{what}, bare statement"), tps));
        }
        Ok(measured)
    }
}
