//! The accept of an `up`: through HTTPS with token check, validation and JSON; next to pgbench that does the server's very statement,
//! and to a handler that does it with nothing but TLS, HTTP and a pool around.

use std::time::Duration;

use super::{
    Options, bare, load, pgbench,
    report::{Row, Section, Target},
    samples::Samples,
    stage::{Stage, TENANT, up_body},
};

const CONNECTIONS: usize = 32;
const OF_ONE_KEY: usize = 64;

/// The statement of ledger/accept_up.rs with this key, and these ids, in pgbench's words.
pub fn statement(principal: &str, key: &str, operation: &str, session: &str) -> anyhow::Result<String> {
    let (tenant, principal, repo) = (format!("'{TENANT}'"), format!("'{principal}'"), format!("'{}'", crate::REPO));
    let digest = "decode(repeat('ab', 32), 'hex')";
    let parameters = [
        &tenant,
        &principal,
        key,
        digest,
        operation,
        session,
        &repo,
        "'main'",
        "true",
        "'resolve'",
        "NULL::text",
        "1800",
        operation,
        "'k'",
        "NULL::bytea",
        "true",
        "NULL::int",
        "NULL::int",
        "NULL::int",
        "NULL::int",
        "true",
        "'github.com'",
        "'token'",
        "1",
        "NULL::int",
        "NULL::int",
        "NULL::text",
        "NULL::int",
        "NULL::int",
        "NULL::int",
        "NULL::text",
        "NULL::int",
        "NULL::int",
        "NULL::int",
        "false",
    ];
    pgbench::statement(&["INTO idempotency_keys", "INTO leases", "INTO transitions"], &parameters)
}

/// An id that no other round, connection or transaction of pgbench has; decimal digits are hexadecimal ones too.
fn id(what: u8, round: usize) -> String {
    format!("(lpad(concat('{what}', '{round}', '0', (:client_id)::text), 16, '9') || lpad((:n)::text, 16, '0'))::uuid")
}

/// A script: each transaction has the next number.
fn script(sql: &str) -> String {
    format!("\\set n :n + 1\n{}", one_line(sql))
}

/// pgbench's own end of a statement is `;`; a line each is easier to read in its errors.
fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ") + "\n"
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    // Six sixteenths of them are for `up`: as many as pgbench and the bare handler have.
    let server = Box::pin(stage.serve("api", &[("ALPINE_DB_CONNECTIONS", "86")])).await;
    let bare = bare::Bare::start(&stage.url, &stage.ground.pki).await?;
    let (mut ours, mut bares) = (stage.connections(server, CONNECTIONS).await?, bare.connections(CONNECTIONS).await?);
    let length = Duration::from_secs(options.seconds);
    let file = stage.file("script.sql");
    let (mut by_pgbench, mut by_bare, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..=options.rounds {
        let token = stage.token(&format!("r{round}"));
        let accept = move |connection: usize, number: u64| {
            load::request("/v1/sessions", &token, Some(&format!("{connection}-{number}")), Some(up_body()))
        };
        let accepted = load::run(&mut ours, length, accept).await?;
        let bare = load::run(&mut bares, length, move |connection, number| bare::request(&format!("b{round}"), connection, number)).await?;
        let sql = statement(&format!("p{round}"), "concat((:client_id)::text, '-', (:n)::text)", &id(1, round), &id(2, round))?;
        std::fs::write(&file, script(&sql))?;
        let pgbench = pgbench::per_second(&stage.url, "alpine_api", &file, CONNECTIONS, options.seconds).await?;
        // The first is for plans, connections and caches.
        if round > 0 {
            by_pgbench.push((accepted.per_second, pgbench));
            by_bare.push((accepted.per_second, bare.per_second));
            p50.push(accepted.times.part(0.5));
            p99.push(accepted.times.part(0.99));
        }
    }
    let (half, most) = (Samples::of(p50).part(0.5), Samples::of(p99).part(0.5));
    let mut rows = vec![
        Row::of_pairs("accept", "1/s", "pgbench, the same statement", &by_pgbench).target(Target::AtLeast(0.7)),
        Row::of_pairs("accept", "1/s", "a bare handler, the same statement", &by_bare).target(Target::AtLeast(0.95)),
        Row::of_pairs("accept, p99", "ms", "its own p50", &[(most, half)]).target(Target::AtMost(4.0)),
    ];
    rows.push(same_key(&stage, server, options).await?);
    let about = format!(
        "{CONNECTIONS} connections ({OF_ONE_KEY} for one key), {} rounds of {} s in turn, fsync on, the load on the same machine.",
        options.rounds, options.seconds
    );
    Ok(Section { name: "accept", about, rows })
}

/// One key from many connections: one operation, however often it is asked for.
async fn same_key(stage: &Stage, server: usize, options: &Options) -> anyhow::Result<Row> {
    let mut connections = stage.connections(server, OF_ONE_KEY).await?;
    let length = Duration::from_secs(options.seconds);
    let file = stage.file("same.sql");
    let mut pairs = Vec::new();
    for round in 0..options.rounds {
        let (principal, token) = (format!("s{round}"), stage.token(&format!("s{round}")));
        let same = move |_, _| load::request("/v1/sessions", &token, Some("the-same"), Some(up_body()));
        let ours = load::run(&mut connections, length, same).await?;
        let made: i64 = stage.db.one(&format!("SELECT count(*) FROM operations WHERE actor = '{principal}'")).await;
        anyhow::ensure!(made == 1, "{made} operations of one key");
        let sql = statement(&format!("sp{round}"), "'the-same'", &id(3, round), &id(4, round))?;
        std::fs::write(&file, script(&sql))?;
        let bare = pgbench::per_second(&stage.url, "alpine_api", &file, OF_ONE_KEY, options.seconds).await?;
        pairs.push((ours.per_second, bare));
    }
    Ok(Row::of_pairs("the same key, one operation", "1/s", "pgbench, the same statement", &pairs).target(Target::AtLeast(0.5)))
}
