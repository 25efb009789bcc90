//! Two tenants that have one of everything, under names that are easy to find.

use std::{collections::BTreeMap, time::Duration};

use alpine_tests::{
    World,
    api::{Api, Reply, send},
    cli::text,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};

const ROLES: &[&str] = &["alpine.admin"];

/// One tenant: people with the same names as in the other, and what is theirs.
pub struct Team {
    pub member: Api,
    pub admin: Api,
    pub admin_token: String,
    ids: BTreeMap<&'static str, String>,
}

pub struct Stage {
    pub world: World,
    pub north: Team,
    pub south: Team,
}

impl Team {
    /// The id of this tenant's own, by the name that the path gives it.
    pub fn id(&self, parameter: &str) -> String {
        self.ids.get(parameter).unwrap_or_else(|| panic!("`{parameter}` is a new kind of id: make one in `Stage::team`")).clone()
    }
}

impl Stage {
    pub async fn set() -> Self {
        let world = World::with(&[]).await;
        for tenant in ["north", "south"] {
            world.git.with_files(&format!("{tenant}/canary-repo"), &[("README.md", tenant)]);
        }
        let (north, south) = (team(&world, "north").await, team(&world, "south").await);
        Self { world, north, south }
    }

    /// Every row of a tenant in every table that has tenants, digested.
    pub async fn everything_of(&self, tenant: &str) -> Vec<(String, String)> {
        let tables: String = self
            .world
            .db
            .one("SELECT string_agg(DISTINCT table_name, ',' ORDER BY table_name) FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'tenant_id'")
            .await;
        let mut all = Vec::new();
        for table in tables.split(',') {
            let digest: String = self
                .world
                .db
                .one(&format!("SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM {table} t WHERE tenant_id = '{tenant}'"))
                .await;
            all.push((table.to_owned(), digest));
        }
        assert!(all.len() >= 12, "{all:?}");
        all
    }

    /// What of the south is found nowhere but there.
    pub fn canaries(&self) -> Vec<String> {
        let ids = ["session_id", "token_id", "credential_id"].map(|parameter| self.south.id(parameter));
        let named = ["south/canary-repo", "south-canary-token", "south-canary.example", "south canary reason"].map(str::to_owned);
        ids.into_iter().chain(named).collect()
    }

    /// What a body of ours says by itself.
    pub fn said(&self, body: &str) -> Vec<String> {
        let id = Some(self.south.id("session_id")).filter(|_| body == "import");
        ["south/canary-repo", "south-canary-token", "south-canary.example"].map(str::to_owned).into_iter().chain(id).collect()
    }

    /// Canaries in a reply; those that the request itself named are no leak.
    pub fn leaks(&self, what: &str, reply: &Reply, asked: &[&str]) -> Vec<String> {
        let headers = format!("{:?}", reply.headers);
        let canaries = self.canaries();
        let found = canaries.iter().filter(|canary| !asked.contains(&canary.as_str()));
        found
            .filter(|canary| reply.text.contains(*canary) || headers.contains(*canary))
            .map(|canary| format!("{what} leaks {canary}"))
            .collect()
    }

    pub fn words(&self, query: &str, foreign: bool) -> String {
        let id = |parameter: &str| if foreign { self.south.id(parameter) } else { absent(parameter) };
        let [repo, branch, tenant] = if foreign {
            ["https://github.com/south/canary-repo.git", "main", "south"]
        } else {
            ["https://github.com/nowhere/nothing.git", "nothing", "nowhere"]
        };
        let query = query.replace("{cursor}", &id("cursor")).replace("{token}", &id("token_id"));
        query.replace("{repo}", repo).replace("{branch}", branch).replace("{tenant}", tenant)
    }

    fn words_id(&self, foreign: bool) -> String {
        if foreign { self.south.id("session_id") } else { absent("session_id") }
    }

    pub fn body(&self, name: &str, foreign: bool) -> Value {
        match name {
            "up" => json!({ "repo_url": self.words("{repo}", foreign), "branch": "main", "public": true }),
            "token" => json!({ "name": if foreign { "south-canary-token" } else { "another" }, "scopes": ["sessions:read"] }),
            "credential" => {
                json!({ "host": if foreign { "south-canary.example" } else { "nowhere.example" }, "kind": "token", "owner": "me", "token": "secret" })
            }
            // Under the id of a session that the other tenant has.
            "import" => json!({ "dry_run": true, "session": {
                "session_id": self.words_id(foreign), "owner_principal_id": "ann", "repo_url": self.words("{repo}", foreign), "branch": "main",
                "state": "failed", "created_at": "2026-11-01T00:00:00Z",
            }}),
            "tenant" => json!({ "tenant_id": self.words("{tenant}", foreign) }),
            other => panic!("no body {other}"),
        }
    }
}

async fn team(world: &World, tenant: &str) -> Team {
    let member = world.api_of(tenant, "ann", &[]);
    let admin = world.api_of(tenant, "root", ROLES);
    let mut ids = BTreeMap::from([("tenant_id", tenant.to_owned())]);
    // Two, so that the list has a second page.
    for key in ["apart-0", &format!("{tenant}-alone")] {
        let (session, operation) = come_and_gone(world, tenant, &member, &admin, key).await;
        ids.extend([("session_id", session), ("operation_id", operation)]);
    }
    ids.insert("cursor", text(member.get("/v1/sessions?limit=1").await.expect(200), "next_cursor"));
    let token = json!({ "name": format!("{tenant}-canary-token"), "scopes": ["sessions:read"] });
    let token = send(member.request(Method::POST, "/v1/tokens").json(&token)).await;
    ids.insert("token_id", text(token.expect(201), "token_id"));
    let credential = json!({ "host": format!("{tenant}-canary.example"), "kind": "token", "owner": "tenant", "token": "s3cret" });
    let credential = send(admin.request(Method::PUT, "/v1/credentials").json(&credential)).await;
    assert!(credential.status.is_success(), "{}", credential.text);
    ids.insert("credential_id", text(&credential.body, "credential_id"));
    ids.insert("share_id", shared(world, tenant, &ids["session_id"]).await);
    Team { member, admin, admin_token: world.token(tenant, "root", ROLES), ids }
}

/// A share of that session, which is over: such a row stays until its end.
async fn shared(world: &World, tenant: &str, session: &str) -> String {
    let (id, session) = (uuid::Uuid::now_v7(), session.trim_start_matches("ses_"));
    let values = format!("('{tenant}', '{session}', '{id}', '{{{tenant}-canary}}', 'ann', now() + interval '1 h')");
    let columns = "tenant_id, session_id, share_id, principal_ids, created_by, expires_at";
    world.db.execute(&format!("INSERT INTO session_shares ({columns}) VALUES {values}")).await;
    format!("shr_{}", id.simple())
}

/// A session stopped by an admin, so that there is a record, and an entry in the audit log; its id and the operation's.
async fn come_and_gone(world: &World, tenant: &str, member: &Api, admin: &Api, key: &str) -> (String, String) {
    let up = member.request(Method::POST, "/v1/sessions").header("Idempotency-Key", key).header("Prefer", "wait=60");
    let repo = format!("https://github.com/{tenant}/canary-repo.git");
    let up = send(up.json(&json!({ "repo_url": repo, "branch": "main", "public": true }))).await;
    let session = text(up.expect(200), "session_id");
    world.db.wait_for_state(&session, &["ready"], Duration::from_secs(60)).await;
    let down = admin.request(Method::POST, &format!("/v1/sessions/{session}/down")).header("Prefer", "wait=60");
    let down = send(down.json(&json!({ "reason": format!("{tenant} canary reason") }))).await;
    let operation = text(down.expect(200), "operation_id");
    (session, operation)
}

/// Of the right form, and nobody's.
pub fn absent(parameter: &str) -> String {
    let prefix = match parameter {
        "session_id" => "ses_",
        "operation_id" => "op_",
        "token_id" => "tok_",
        "share_id" => "shr_",
        "credential_id" => "cred_",
        "tenant_id" => return "nowhere".to_owned(),
        // A moment and a session.
        "cursor" => {
            return URL_SAFE_NO_PAD.encode([&1_700_000_000_123_456_i64.to_be_bytes()[..], uuid::Uuid::now_v7().as_bytes()].concat());
        }
        other => panic!("`{other}` is a new kind of id"),
    };
    format!("{prefix}{}", uuid::Uuid::now_v7().simple())
}

/// Not of the right form, as it stands in a path.
pub fn malformed(parameter: &str) -> Vec<String> {
    let good = absent(parameter);
    let mut all: Vec<String> =
        ["x", "%00", "%0a", "%2e%2e", "%2f", "*", "null", "-1", "'%20OR%20''='", "%F0%9F%92%A9", "%ff%fe"].map(str::to_owned).into();
    all.push("a".repeat(3000));
    if !matches!(parameter, "tenant_id" | "cursor") {
        all.extend([
            good.to_uppercase(),
            format!("{good}0"),
            good[..good.len() - 1].to_owned(),
            format!("%20{good}"),
            good.replace('_', "-"),
        ]);
    }
    all
}
