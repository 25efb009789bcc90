//! Under which database roles the real server works, and that it needs no more than those.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, process::Command, time::Duration};

use alpine_tests::{
    REPO, World,
    api::{Api, Reply},
    base, bins,
    cli::text,
    db::Db,
    ground::Ground,
    postgres::Postgres,
    server::Server,
};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_running_servers_connections_have_the_roles_that_they_should() {
    let world = World::start().await;
    let ann = world.api("ann");
    ann.get("/v1/sessions").await.expect(200);
    // The server logs in as a superuser here: it would not notice, were it not for the roles that it takes on.
    world.db.execute("REVOKE SELECT ON sessions FROM alpine_api").await;
    assert_eq!(ann.get("/v1/sessions").await.expect(500)["error_code"], "ERR_INTERNAL");
    world.db.execute("GRANT SELECT ON sessions TO alpine_api").await;
    ann.get("/v1/sessions").await.expect(200);
    world.db.execute("REVOKE SELECT, UPDATE ON leases FROM alpine_worker").await;
    let session = text(ann.up("k", REPO, "main").await.expect(202), "session_id");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.db.state(&session).await, "requested", "nobody could claim it");
    world.db.execute("GRANT SELECT, UPDATE ON leases TO alpine_worker").await;
    world.db.wait_for_state(&session, &["ready"], LIMIT).await;
}

/// A cluster whose database is an ordinary role's, migrated by it, and the settings of servers on it.
struct Hosted {
    cluster: Postgres,
    ground: Ground,
}

impl Hosted {
    async fn prepare() -> Self {
        let cluster = Postgres::start(&[]).await;
        cluster.execute("postgres", "CREATE ROLE keeper LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOBYPASSRLS").await;
        cluster.execute("postgres", "CREATE DATABASE hosted OWNER keeper").await;
        let hosted = Self { cluster, ground: Ground::prepare() };
        let migrated = Command::new(bins::path("alpine-server")).arg("migrate").env("DATABASE_URL", hosted.url("keeper")).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
        hosted.ground.git.with_files("org/repo", &[("README.md", "hello\n")]);
        hosted
    }

    /// The database as somebody who logs in.
    fn url(&self, login: &str) -> String {
        self.cluster.url("hosted").replacen("postgres@", &format!("{login}@"), 1)
    }

    async fn login(&self, name: &str, roles: &str) {
        // An ordinary role like the owner can do it.
        let keeper = Db::new(self.url("keeper"));
        keeper.execute(&format!("CREATE ROLE {name} LOGIN IN ROLE {roles}")).await;
    }

    async fn serve(&self, login: &str, role: &str) -> Server {
        let mut env: BTreeMap<String, String> = self.ground.environment(&self.url(login));
        env.insert("ALPINE_ROLE".into(), role.into());
        let port = base::free_port();
        Server::start(env, port, self.ground.dir.join(format!("{role}-{port}.log")), &self.ground.pki).await
    }

    fn api(&self, server: &Server, tenant: &str, principal: &str, roles: &[&str]) -> Api {
        Api::new(self.ground.pki.client(), server.base(), self.ground.token(tenant, principal, roles))
    }
}

async fn waited(api: &Api, method: reqwest::Method, path: &str, body: serde_json::Value) -> Reply {
    alpine_tests::api::send(api.request(method, path).header("Idempotency-Key", "k").header("Prefer", "wait=60").json(&body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_owner_migrates_and_a_mere_member_of_the_two_roles_serves() {
    let hosted = Hosted::prepare().await;
    hosted.login("app", "alpine_api, alpine_worker").await;
    let mut server = hosted.serve("app", "all").await;
    let (ann, root) = (hosted.api(&server, "acme", "ann", &[]), hosted.api(&server, "acme", "root", &["alpine.admin"]));
    let olga = hosted.api(&server, "house", "olga", &["alpine.operator"]);
    let body = json!({ "repo_url": REPO, "branch": "main", "public": true });
    let up = waited(&ann, reqwest::Method::POST, "/v1/sessions", body).await;
    assert_eq!(up.expect(200)["state"], "ready");
    let session = text(&up.body, "session_id");
    assert_eq!(ann.get("/v1/sessions").await.expect(200)["sessions"][0]["session_id"], session.as_str());
    root.get(&format!("/v1/sessions/{session}")).await.expect(200);
    assert_eq!(olga.get("/v1/tenants").await.expect(200)["tenants"][0]["usage"]["active_sessions"], 1);
    let path = format!("/v1/sessions/{session}/down");
    assert_eq!(waited(&ann, reqwest::Method::POST, &path, json!({})).await.expect(200)["state"], "stopped");
    ann.get(&format!("/v1/sessions/{session}/record")).await.expect(200);
    assert_eq!(root.get("/v1/audit").await.expect(200)["entries"].as_array().unwrap().len(), 1);
    // Who owns the tables sees nothing in them: it is named in no policy. It is a member of the server's roles, though,
    // and what they see is its own until it is told not to inherit it.
    hosted.cluster.execute("postgres", "ALTER ROLE keeper NOINHERIT").await;
    let (keeper, root) = (Db::new(hosted.url("keeper")), Db::new(hosted.cluster.url("hosted")));
    for table in ["tenants", "sessions", "operations", "transitions", "session_records", "audit_log", "audit_heads", "idempotency_keys"] {
        assert_eq!(keeper.count(table).await, 0, "{table}");
        assert!(root.count(table).await > 0, "{table}");
    }
    // And who serves is neither owner nor can become more than it is.
    let app = Db::new(hosted.url("app"));
    for sql in [
        "SET ROLE alpine_definer",
        "SET ROLE keeper",
        "SET session_replication_role = replica",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY of_acting_tenant ON sessions",
        "ALTER ROLE app BYPASSRLS",
        "CREATE TABLE mine ()",
    ] {
        let refusal = app.try_execute(sql).await.expect_err(sql);
        assert!(["permission denied", "must be owner", "must be superuser"].iter().any(|what| refusal.contains(what)), "{sql}: {refusal}");
    }
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_answers_needs_only_the_apis_role_and_one_that_only_works_the_workers() {
    let hosted = Hosted::prepare().await;
    hosted.login("front", "alpine_api").await;
    hosted.login("back", "alpine_worker").await;
    let mut front = hosted.serve("front", "api").await;
    let ann = hosted.api(&front, "acme", "ann", &[]);
    let first = ann.up("k", REPO, "main").await.expect(202).clone();
    assert_eq!(ann.get("/v1/sessions").await.expect(200)["sessions"][0]["state"], "requested");
    let mut back = hosted.serve("back", "worker").await;
    let operation = format!("/v1/operations/{}", text(&first, "operation_id"));
    assert_eq!(waited(&ann, reqwest::Method::GET, &operation, json!({})).await.expect(200)["status"], "succeeded");
    let path = format!("/v1/sessions/{}/down", text(&first, "session_id"));
    assert_eq!(waited(&ann, reqwest::Method::POST, &path, json!({})).await.expect(200)["state"], "stopped");
    front.kill();
    back.kill();
}
