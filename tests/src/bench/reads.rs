//! `status` and `list` through HTTPS, next to pgbench that does the server's very statements.

use std::time::Duration;

use super::{
    Options, load, pgbench,
    report::{Row, Section, Target},
    samples::median,
    stage::{PRINCIPAL, Stage, TENANT, a_session, fill},
};
use crate::db::uuid;

/// As DESIGN's capacity is told.
const CONNECTIONS: usize = 8;
const OWN: u32 = 500;

/// The statements, as the server has them.
pub fn statements(session: &str) -> anyhow::Result<[(&'static str, String); 2]> {
    let (tenant, session) = (format!("'{TENANT}'"), format!("'{}'::uuid", uuid(session)));
    let status = pgbench::statement(&["t.operation_id AS transition_operation_id", "JOIN transitions"], &[&tenant, &session])?;
    let (owner, nothing) = (format!("'{PRINCIPAL}'"), "NULL::text");
    let parameters = [&tenant, &owner, nothing, nothing, nothing, "NULL::timestamptz", "NULL::uuid", "51"];
    let list = pgbench::statement(&["UNION ALL", "principal_id = $2", "AS page ORDER BY"], &parameters)?;
    Ok([("status", status), ("list of 50", list)])
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub enum Read {
    Status,
    List,
}

pub async fn run(read: Read, options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    fill(&stage.db, OWN, options.at_scale(50_000)).await;
    let session = a_session(&stage.db).await;
    let server = Box::pin(stage.serve("api", &[])).await;
    let mut connections = stage.connections(server, CONNECTIONS).await?;
    let [status, list] = statements(&session)?;
    let (name, (what, sql), path, wanted) = match read {
        Read::Status => ("status", status, format!("/v1/sessions/{session}"), 0.35),
        Read::List => ("list", list, "/v1/sessions".to_owned(), 0.5),
    };
    let token = stage.token(PRINCIPAL);
    let ask = move |_, _| load::request(&path, &token, None, None);
    let (script, length) = (stage.file("script.sql"), Duration::from_secs(options.seconds));
    std::fs::write(&script, sql)?;
    let (mut pairs, mut times) = (Vec::new(), Vec::new());
    // Plans and connections first.
    load::run(&mut connections, Duration::from_millis(300), ask.clone()).await?;
    for _ in 0..options.rounds {
        let ours = load::run(&mut connections, length, ask.clone()).await?;
        let bare = pgbench::per_second(&stage.url, "alpine_api", &script, CONNECTIONS, options.seconds).await?;
        pairs.push((ours.per_second, bare));
        times.push(ours.times.part(0.95));
    }
    let row = Row::of_pairs(what, "1/s", "pgbench, the same statement", &pairs)
        .target(Target::AtLeast(wanted))
        .detail(format!("p95 {:.1} ms", median(times)));
    let about =
        format!("{CONNECTIONS} connections, {OWN} sessions of the caller, {} rounds of {} s, fsync on.", options.rounds, options.seconds);
    Ok(Section { name, about, rows: vec![row] })
}
