//! `status` and `list` through HTTPS, next to pgbench that does the server's very statements.

use std::time::Duration;

use super::{
    Options, load, pgbench,
    report::{Row, Section, Target},
    samples::Samples,
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

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    fill(&stage.db, OWN, options.at_scale(50_000)).await;
    let session = a_session(&stage.db).await;
    let server = Box::pin(stage.serve("api", &[])).await;
    let mut connections = stage.connections(server, CONNECTIONS).await?;
    let statements = statements(&session)?;
    let paths = [format!("/v1/sessions/{session}"), "/v1/sessions".to_owned()];
    let token = stage.token(PRINCIPAL);
    let mut pairs = [Vec::new(), Vec::new()];
    let mut times: [Vec<f64>; 2] = Default::default();
    let length = Duration::from_secs(options.seconds);
    for round in 0..options.rounds {
        for (which, path) in paths.iter().enumerate() {
            let (path, token) = (path.clone(), token.clone());
            let ask = move |_, _| load::request(&path, &token, None, None);
            if round == 0 {
                // Plans and connections first.
                load::run(&mut connections, Duration::from_millis(300), ask.clone()).await?;
            }
            let ours = load::run(&mut connections, length, ask).await?;
            let script = stage.file("script.sql");
            std::fs::write(&script, &statements[which].1)?;
            let bare = pgbench::per_second(&stage.url, "alpine_api", &script, CONNECTIONS, options.seconds).await?;
            pairs[which].push((ours.per_second, bare));
            times[which].push(ours.times.part(0.95));
        }
    }
    let wanted = [0.35, 0.5];
    let rows = statements.iter().zip(&pairs).zip(wanted).zip(times).map(|(((statement, pairs), wanted), times)| {
        let detail = format!("p95 {:.1} ms", Samples::of(times).part(0.5));
        Row::of_pairs(statement.0, "1/s", "pgbench", pairs).target(Target::AtLeast(wanted)).detail(detail)
    });
    let about = format!("{CONNECTIONS} connections, {OWN} sessions of the caller, medians of {} rounds, fsync on.", options.rounds);
    Ok(Section { name: "status and list", about, rows: rows.collect() })
}
