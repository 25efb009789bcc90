//! What row-level security costs on accept, status and list.
//!
//! Twice: through HTTPS, where the policies are switched off and on between rounds (what a caller notices); and the
//! bare statements in pgbench, ours against the same without the tenant's setting, by a role that the policies do not
//! bind (all that it costs the database, the formulation included).

use std::{fmt, path::PathBuf, time::Duration};

use reqwest::Client;
use serde::Serialize;
use serde_json::json;

use super::{Options, load, median, pgbench};
use crate::{base, db::Db, ground::Ground, postgres::Postgres, server::Server};

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
const ROWS: u32 = 500;

/// One thing, with and without: medians of the rounds, a second.
#[derive(Debug, Serialize)]
pub struct Row {
    pub what: String,
    pub without: f64,
    pub with: f64,
    /// Time with, over time without: the median of the rounds' own ratios.
    pub ratio: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub connections: usize,
    pub rounds: usize,
    pub rows: Vec<Row>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "row-level security, {} connections, medians of {} rounds, fsync on", self.connections, self.rounds)?;
        writeln!(f, "| what | without, 1/s | with, 1/s | time with / without |\n|---|---|---|---|")?;
        self.rows.iter().try_for_each(|r| writeln!(f, "| {} | {:.0} | {:.0} | {:.2} |", r.what, r.without, r.with, r.ratio))
    }
}

struct Stage {
    url: String,
    db: Db,
    ground: Ground,
    server: Server,
    clients: Vec<Client>,
    /// A session of the principal that the load is.
    session: String,
    dir: PathBuf,
}

pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let stage = Box::pin(Stage::set(options.connections)).await;
    let mut figures: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for round in 0..options.rounds {
        for (what, pair) in stage.round(options, round).await? {
            match figures.iter_mut().find(|(known, _)| *known == what) {
                Some((_, pairs)) => pairs.push(pair),
                None => figures.push((what, vec![pair])),
            }
        }
    }
    let row = |(what, pairs): (String, Vec<(f64, f64)>)| Row {
        what,
        without: median(pairs.iter().map(|(without, _)| *without).collect()),
        with: median(pairs.iter().map(|(_, with)| *with).collect()),
        ratio: median(pairs.iter().map(|(without, with)| without / with).collect()),
    };
    Ok(Report { connections: options.connections, rounds: options.rounds, rows: figures.into_iter().map(row).collect() })
}

impl Stage {
    async fn set(connections: usize) -> Self {
        let ground = Ground::prepare();
        let settings = ["fsync=on", "full_page_writes=on", "shared_buffers=512MB", "max_connections=200", "max_wal_size=4GB"];
        let cluster = Box::leak(Box::new(Box::pin(Postgres::start(&settings)).await));
        cluster.create_migrated("bench").await;
        let url = cluster.url("bench");
        let db = Db::new(url.clone());
        db.execute(&format!("CREATE ROLE {UNBOUND} BYPASSRLS; GRANT alpine_api TO {UNBOUND}")).await;
        let mut env = ground.environment(&url);
        env.insert("ALPINE_ROLE".to_owned(), "api".to_owned());
        env.insert("ALPINE_LOG".to_owned(), "warn".to_owned());
        let server = Server::start(env, base::free_port(), ground.dir.join("server.log"), &ground.pki).await;
        let clients = (0..connections).map(|_| ground.pki.client()).collect();
        let dir = ground.dir.clone();
        let mut stage = Self { url, db, ground, server, clients, session: String::new(), dir };
        stage.fill().await;
        stage
    }

    /// The principal has some sessions, and others have many more.
    async fn fill(&mut self) {
        self.db
            .meddle(&format!(
                "INSERT INTO tenants (tenant_id) SELECT 'dev' UNION ALL SELECT 't' || i FROM generate_series(1, 19) i;
                 INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, updated_at)
                 SELECT 'dev', gen_random_uuid(), 'ann', 'https://github.com/org/repo.git', 'main', true, 'requested', gen_random_uuid(),
                     now() - i * interval '1 s' FROM generate_series(1, {ROWS}) i;
                 INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, updated_at)
                 SELECT 't' || (i % 19 + 1), gen_random_uuid(), 'p' || (i % 190), 'https://github.com/org/repo.git', 'main', true, 'requested',
                     gen_random_uuid(), now() - i * interval '1 s' FROM generate_series(1, 50000) i;
                 INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
                 SELECT tenant_id, operation_id, session_id, 'up', 'resolve', principal_id, now() + interval '1 day' FROM sessions;
                 INSERT INTO leases (tenant_id, session_id) SELECT tenant_id, session_id FROM sessions;
                 INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
                 SELECT tenant_id, session_id, 1, 'requested', principal_id, 'up accepted', operation_id, 0 FROM sessions"
            ))
            .await;
        self.db.execute("VACUUM ANALYZE").await;
        self.session = self
            .db
            .one("SELECT 'ses_' || replace(session_id::text, '-', '') FROM sessions WHERE principal_id = 'ann' ORDER BY updated_at LIMIT 1")
            .await;
    }

    async fn policies(&self, on: bool) {
        let change = |table: &&str| format!("ALTER TABLE {table} {} ROW LEVEL SECURITY", if on { "ENABLE" } else { "DISABLE" });
        self.db.execute(&TABLES.iter().map(change).collect::<Vec<_>>().join(";")).await;
    }

    /// Each thing without and with; which comes first takes turns.
    async fn round(&self, options: &Options, round: usize) -> anyhow::Result<Vec<(String, (f64, f64))>> {
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

    async fn through_https(&self, options: &Options, round: usize, with: bool) -> anyhow::Result<Vec<(String, f64)>> {
        let length = Duration::from_secs(options.seconds);
        let base = self.server.base();
        let token = self.ground.token("dev", "ann", &[]);
        let get = |path: String| {
            let (url, token) = (format!("{base}{path}"), token.clone());
            move |client: &Client| client.get(&url).bearer_auth(&token)
        };
        let status = get(format!("/v1/sessions/{}", self.session));
        // Plans and connections first.
        load::per_second(&self.clients, Duration::from_millis(300), status.clone()).await?;
        let mut measured = vec![("status, HTTPS".to_owned(), load::per_second(&self.clients, length, status).await?)];
        measured.push(("list of 50, HTTPS".to_owned(), load::per_second(&self.clients, length, get("/v1/sessions".to_owned())).await?));
        let body = json!({ "repo_url": "https://github.com/org/repo.git", "branch": "main", "public": true });
        let token = self.ground.token("dev", &format!("r{round}{with}"), &[]);
        let accept = move |client: &Client| {
            let key = uuid::Uuid::new_v4().simple().to_string();
            client.post(format!("{base}/v1/sessions")).bearer_auth(&token).header("Idempotency-Key", key).json(&body)
        };
        measured.push(("accept, HTTPS".to_owned(), load::per_second(&self.clients, length, accept).await?));
        Ok(measured)
    }

    /// The statements of `ledger/views.rs` and `ledger/list.rs`.
    async fn bare(&self, options: &Options, with: bool) -> anyhow::Result<Vec<(String, f64)>> {
        let scoped = |select: &str| match with {
            true => format!("SELECT q.* FROM set_config('alpine.tenant', 'dev', true) AS tenant (id), LATERAL ({select} OFFSET 0) AS q;\n"),
            false => format!("{};\n", select.replace("tenant.id", "'dev'")),
        };
        let status = format!(
            "SELECT s.*, t.seq, t.from_state, t.to_state, t.at, t.actor, t.reason, t.operation_id AS transition_operation_id, t.fence FROM sessions s JOIN transitions t \
             ON t.tenant_id = s.tenant_id AND t.session_id = s.session_id AND t.seq = s.transition_seq WHERE s.tenant_id = tenant.id AND s.session_id = '{}'",
            crate::db::uuid(&self.session)
        );
        let part = |which: &str| {
            format!(
                "(SELECT * FROM sessions WHERE tenant_id = tenant.id AND principal_id = 'ann' AND {which} AND (updated_at, session_id) < \
                 (coalesce(NULL, 'infinity'::timestamptz), coalesce(NULL, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)) ORDER BY updated_at DESC, session_id DESC LIMIT 51)"
            )
        };
        let list = format!(
            "SELECT session_id, principal_id, state, repo_url, branch, created_at, updated_at, opencode_url FROM ({} UNION ALL {}) AS page \
             ORDER BY updated_at DESC, session_id DESC LIMIT 51",
            part("state NOT IN ('stopped', 'failed')"),
            part("state IN ('stopped', 'failed') AND updated_at > now() - interval '24 hours'")
        );
        let role = if with { "alpine_api" } else { UNBOUND };
        let mut measured = Vec::new();
        for (what, select) in [("status, bare statement", status), ("list of 50, bare statement", list)] {
            let script = self.dir.join("script.sql");
            std::fs::write(&script, scoped(&select))?;
            let tps = pgbench::per_second(&self.url, role, &script, options.connections, options.seconds).await?;
            measured.push((what.to_owned(), tps));
        }
        Ok(measured)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.kill();
        base::remove(&self.dir);
    }
}
