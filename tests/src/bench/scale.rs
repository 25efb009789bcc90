//! Reads with 5,000,000 sessions of 200 tenants, next to the same with 10,000: two databases of one cluster, a server each.

use std::{sync::Arc, time::Duration};

use super::{
    Options,
    load::{self, Connection},
    report::{Row, Section, Target},
    stage::{PRINCIPAL, Stage, TENANT},
};
use crate::db::Db;

const MANY: u32 = 5_000_000;
const FEW: u32 = 10_000;
const CONNECTIONS: usize = 8;
/// Of the time with few.
const MOST: f64 = 1.4;
/// Of the big tenant's; there are fewer with few sessions.
const LOOKED_AT: u32 = 20_000;
const GB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Who asks for what, by the number of the request.
type Ask = Arc<dyn Fn(u64) -> (String, String) + Send + Sync>;

/// A database with so many sessions, and the server of it.
struct Side {
    db: Db,
    server: usize,
    connections: Vec<Connection>,
    /// Sessions of the big tenant, and whose they are.
    sessions: Arc<Vec<(String, String)>>,
}

pub async fn run(options: &Options) -> anyhow::Result<Section> {
    let mut stage = Box::pin(Stage::set(&[])).await;
    stage.cluster.create_migrated("few").await;
    let urls = [stage.url.clone(), stage.cluster.url("few")];
    let counts = [options.at_scale(MANY), FEW];
    let mut sides = Vec::new();
    for (url, count) in urls.iter().zip(counts) {
        sides.push(Box::pin(Side::fill(&mut stage, url, count)).await);
    }
    // All at the end: a server closes a connection on which nothing is asked.
    for side in &mut sides {
        side.connections = stage.connections(side.server, CONNECTIONS).await?;
    }
    let size: i64 = sides[0].db.one("SELECT pg_database_size(current_database())").await;
    let names = [
        format!("list, 500 of one's own in a tenant of {}", counts[0] / 10),
        "list, 500 of one's own in a small tenant".to_owned(),
        "status, each time of another session".to_owned(),
        format!("list of everybody in a tenant of {}, by an admin", counts[0] / 10),
    ];
    let mut pairs: [Vec<(f64, f64)>; 4] = Default::default();
    for round in 0..=options.rounds {
        for (which, pairs) in pairs.iter_mut().enumerate() {
            let mut p95 = [0.0; 2];
            for side in if round.is_multiple_of(2) { [0, 1] } else { [1, 0] } {
                let ask = asks(&stage, &sides[side].sessions).swap_remove(which);
                p95[side] = sides[side].p95(Duration::from_secs(options.seconds), ask).await?;
            }
            // The first is for plans, connections and caches.
            if round > 0 {
                pairs.push((p95[0], p95[1]));
            }
        }
    }
    let rows = names.into_iter().zip(pairs).enumerate().map(|(which, (name, pairs))| {
        let row = Row::of_pairs(format!("{name}, p95"), "ms", format!("with {FEW}"), &pairs);
        // An admin's is on record, so that it is a write.
        if which < 3 { row.target(Target::AtMost(MOST)) } else { row }
    });
    #[expect(clippy::cast_precision_loss, reason = "a few thousand million")]
    let about = format!(
        "{} sessions ({:.1} GB) of 200 tenants, one in five ready, next to {FEW}: {CONNECTIONS} connections through HTTPS, medians of {} rounds of {} s in turn, \
         shared_buffers 512 MB, fsync on.",
        counts[0],
        size as f64 / GB,
        options.rounds,
        options.seconds
    );
    Ok(Section { name: "scale", about, rows: rows.collect() })
}

/// What is asked for, in the order of the rows.
fn asks(stage: &Stage, sessions: &Arc<Vec<(String, String)>>) -> Vec<Ask> {
    let list = |tenant: &str, who: &str, roles: &[&str], path: &str| -> Ask {
        let (path, token) = (path.to_owned(), stage.ground.token(tenant, who, roles));
        Arc::new(move |_| (path.clone(), token.clone()))
    };
    let mut owners: Vec<&String> = sessions.iter().map(|(_, owner)| owner).collect();
    owners.sort();
    owners.dedup();
    let tokens: std::collections::HashMap<String, String> = owners.into_iter().map(|owner| (owner.clone(), stage.token(owner))).collect();
    let sessions = Arc::clone(sessions);
    let status: Ask = Arc::new(move |number| {
        let (session, owner) = &sessions[usize::try_from(number).unwrap_or(0) % sessions.len()];
        (format!("/v1/sessions/{session}"), tokens[owner].clone())
    });
    vec![
        list(TENANT, PRINCIPAL, &[], "/v1/sessions"),
        list("t1", "bob", &[], "/v1/sessions"),
        status,
        list(TENANT, "root", &["alpine.admin"], "/v1/sessions?owner=all"),
    ]
}

impl Side {
    async fn fill(stage: &mut Stage, url: &str, count: u32) -> Self {
        let db = Db::new(url.to_owned());
        db.meddle(&include_str!("scale.sql").replace("SESSIONS", &count.to_string())).await;
        db.execute("VACUUM ANALYZE").await;
        db.execute("CHECKPOINT").await;
        let found: Vec<String> = db
            .one(&format!(
                "SELECT array_agg('ses_' || replace(session_id::text, '-', '') || ' ' || principal_id) FROM (
                     SELECT session_id, principal_id FROM sessions WHERE tenant_id = '{TENANT}' ORDER BY hashint8(hashtext(session_id::text)) LIMIT {LOOKED_AT}
                 ) AS looked_at"
            ))
            .await;
        let sessions = found.iter().filter_map(|text| text.split_once(' ')).map(|(id, owner)| (id.to_owned(), owner.to_owned())).collect();
        let server = Box::pin(stage.serve_on(url, "api", &[])).await;
        Self { db, server, connections: Vec::new(), sessions: Arc::new(sessions) }
    }

    async fn p95(&mut self, length: Duration, ask: Ask) -> anyhow::Result<f64> {
        let request = move |connection: usize, number: u64| {
            // Each connection begins elsewhere.
            let (path, token) = ask(number + connection as u64 * 7919);
            load::request(&path, &token, None, None)
        };
        Ok(load::run(&mut self.connections, length, request).await?.times.part(0.95))
    }
}
