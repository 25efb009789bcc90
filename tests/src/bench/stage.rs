//! What a measurement stands on: a PostgreSQL of its own that writes to the disk as one in use does, servers, and sessions.

use std::path::PathBuf;

use axum::body::Bytes;
use serde_json::json;

use super::load::Connection;
use crate::{base, db::Db, ground::Ground, postgres::Postgres, sandboxes, server::Server};

const SETTINGS: [&str; 5] = ["fsync=on", "full_page_writes=on", "shared_buffers=512MB", "max_connections=300", "max_wal_size=4GB"];
/// Whose load it is.
pub const TENANT: &str = "dev";
pub const PRINCIPAL: &str = "ann";

#[derive(Debug)]
pub struct Stage {
    pub ground: Ground,
    pub cluster: &'static Postgres,
    /// Of the database `bench`.
    pub url: String,
    pub db: Db,
    pub servers: Vec<Server>,
}

impl Stage {
    /// A migrated database and no server. `settings` of PostgreSQL come besides its own.
    pub async fn set(settings: &[&str]) -> Self {
        Self::of_provider("local", settings).await
    }

    /// The same for sessions of this provider: `local` or `docker`.
    pub async fn of_provider(provider: &str, settings: &[&str]) -> Self {
        let ground = Ground::of_provider(provider);
        let settings: Vec<&str> = SETTINGS.iter().chain(settings).copied().collect();
        let cluster: &'static Postgres = Box::leak(Box::new(Box::pin(Postgres::start(&settings)).await));
        cluster.create_migrated("bench").await;
        let url = cluster.url("bench");
        Self { ground, cluster, db: Db::new(url.clone()), url, servers: Vec::new() }
    }

    /// One more server in this role, with these settings, ready; its place in `servers`.
    pub async fn serve(&mut self, role: &str, settings: &[(&str, &str)]) -> usize {
        let url = self.url.clone();
        self.serve_on(&url, role, settings).await
    }

    /// On another database.
    pub async fn serve_on(&mut self, url: &str, role: &str, settings: &[(&str, &str)]) -> usize {
        let mut env = self.ground.environment(url);
        for (name, value) in [("ALPINE_ROLE", role), ("ALPINE_LOG", "warn")].iter().chain(settings) {
            env.insert((*name).to_owned(), (*value).to_owned());
        }
        let number = self.servers.len();
        let server = Server::start(env, base::free_port(), self.ground.dir.join(format!("server{number}.log")), &self.ground.pki).await;
        self.servers.push(server);
        number
    }

    pub fn token(&self, principal: &str) -> String {
        self.ground.token(TENANT, principal, &[])
    }

    pub async fn connections(&self, server: usize, count: usize) -> anyhow::Result<Vec<Connection>> {
        Connection::open_many(count, self.servers[server].port, &self.ground.pki).await
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.ground.dir.join(name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill();
        }
        sandboxes::kill_all(&self.ground.data_dir);
        sandboxes::remove_groups(&self.ground.data_dir);
        base::remove(&self.ground.dir);
    }
}

/// What an `up` asks for.
pub fn up_body() -> Bytes {
    json!({ "repo_url": crate::REPO, "branch": "main", "public": true }).to_string().into()
}

/// The principal has so many active sessions, and 190 others of 19 tenants have so many more.
pub async fn fill(db: &Db, own: u32, others: u32) {
    let sessions = |who: &str, count: u32| {
        format!(
            "INSERT INTO sessions (tenant_id, session_id, principal_id, repo_url, branch, public, state, operation_id, updated_at)
             SELECT {who}, gen_random_uuid(), {}, '{}', 'main', true, 'requested', gen_random_uuid(), now() - i * interval '1 s'
             FROM generate_series(1, {count}) i;",
            if who.starts_with("'t'") { "'p' || (i % 190)".to_owned() } else { format!("'{PRINCIPAL}'") },
            crate::REPO
        )
    };
    let (own, others) = (sessions(&format!("'{TENANT}'"), own), sessions("'t' || (i % 19 + 1)", others));
    db.meddle(&format!(
        "INSERT INTO tenants (tenant_id) SELECT '{TENANT}' UNION ALL SELECT 't' || i FROM generate_series(1, 19) i;
         {own} {others}
         INSERT INTO operations (tenant_id, operation_id, session_id, kind, phase, actor, deadline_at)
         SELECT tenant_id, operation_id, session_id, 'up', 'resolve', principal_id, now() + interval '1 day' FROM sessions;
         INSERT INTO leases (tenant_id, session_id) SELECT tenant_id, session_id FROM sessions;
         INSERT INTO transitions (tenant_id, session_id, seq, to_state, actor, reason, operation_id, fence)
         SELECT tenant_id, session_id, 1, 'requested', principal_id, 'up accepted', operation_id, 0 FROM sessions"
    ))
    .await;
    db.execute("VACUUM ANALYZE").await;
}

/// One of the principal's sessions, as the API names it.
pub async fn a_session(db: &Db) -> String {
    db.one(&format!(
        "SELECT 'ses_' || replace(session_id::text, '-', '') FROM sessions WHERE principal_id = '{PRINCIPAL}' ORDER BY updated_at LIMIT 1"
    ))
    .await
}
