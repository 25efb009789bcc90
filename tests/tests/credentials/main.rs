//! What opens a repository: in which order, for whom, sealed how, and for how long.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod sealed;

use alpine_tests::{
    REPO, World,
    api::{Api, Reply, send},
    cli::{Answer, text},
    until,
};
use reqwest::Method;
use serde_json::{Value, json};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);
const REQUESTS: &str = "t0k3n-of-the-request";
const OWN: &str = "t0k3n-of-the-principal";
const TENANTS: &str = "t0k3n-of-the-tenant";
const MISSING: &str = "ERR_REPO_AUTH_MISSING";

/// `org/private`, which only this password opens.
async fn world_for(password: &str) -> (World, String) {
    let world = World::without_repositories(&[]).await;
    let (repo, _) = world.git.with_files("org/private", &[("a", "a\n")]);
    world.git.protect("org/private", password);
    (world, repo)
}

async fn put(api: &Api, body: Value) -> Reply {
    send(api.request(Method::PUT, "/v1/credentials").json(&body)).await
}

async fn set(api: &Api, owner: &str, token: &str) -> String {
    let reply = put(api, json!({"host": "github.com", "kind": "token", "owner": owner, "token": token})).await;
    assert!(matches!(reply.status.as_u16(), 200 | 201), "{}", reply.text);
    assert!(!reply.text.contains(token), "the secret came back");
    text(&reply.body, "credential_id")
}

async fn list(api: &Api) -> Vec<Value> {
    api.get("/v1/credentials").await.expect(200)["credentials"].as_array().unwrap().clone()
}

async fn remove(api: &Api, id: &str) -> Reply {
    send(api.request(Method::DELETE, &format!("/v1/credentials/{id}"))).await
}

/// An `up` of a private repository through the API, accepted.
async fn up(api: &Api, key: &str, repo: &str, token: Option<&str>) -> Reply {
    let mut body = json!({"repo_url": repo, "branch": "main"});
    if let Some(token) = token {
        body["repo_token"] = token.into();
    }
    send(api.request(Method::POST, "/v1/sessions").header("Idempotency-Key", key).json(&body)).await
}

/// What an `up` without a token of its own comes to.
async fn bare_up(world: &World, principal: &str, repo: &str) -> Answer {
    world.up(principal, repo, "main", &[]).without("GITHUB_TOKEN").run().await
}

/// The answer once the operation has ended.
async fn outcome(api: &Api, accepted: &Reply) -> Value {
    let id = text(accepted.expect(202), "operation_id");
    until(&format!("{id} has ended"), LIMIT, || async {
        let operation = api.get(&format!("/v1/operations/{id}")).await;
        let ended = operation.body["status"] != "queued" && operation.body["status"] != "running";
        ended.then_some(operation.body)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_token_comes_first_then_the_principals_then_the_tenants() {
    let (world, repo) = world_for(TENANTS).await;
    let (ann, admin) = (world.api("ann"), world.api_of("dev", "root", &["alpine.admin"]));

    bare_up(&world, "ann", &repo).await.refused_because(1, MISSING, "repository credentials are missing");
    assert_eq!(world.db.count("sessions").await, 0);
    set(&admin, "tenant", TENANTS).await;
    bare_up(&world, "ann", &repo).await.ok();
    bare_up(&world, "bob", &repo).await.ok();

    // A wrong one before it is used, and fails: nothing falls through to one that would open.
    let own = set(&ann, "me", "wr0ng").await;
    let refused = bare_up(&world, "ann", &repo).await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    assert!(text(&refused, "cause").contains("credentials"), "{refused}");
    bare_up(&world, "bob", &repo).await.ok();

    world.git.protect("org/private", OWN);
    assert_eq!(set(&ann, "me", OWN).await, own, "one a host, kind and owner");
    bare_up(&world, "ann", &repo).await.ok();
    let wrong = outcome(&ann, &up(&ann, "wrong", &repo, Some("wr0ng")).await).await;
    assert_eq!(wrong["status"], "failed", "{wrong}");
    world.git.protect("org/private", REQUESTS);
    let right = outcome(&ann, &up(&ann, "right", &repo, Some(REQUESTS)).await).await;
    assert_eq!(right["status"], "succeeded", "{right}");

    assert_eq!(remove(&ann, &own).await.status, 204);
    world.git.protect("org/private", TENANTS);
    bare_up(&world, "ann", &repo).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_elses_credential_is_used_nor_shown_nor_removed() {
    let (world, repo) = world_for(OWN).await;
    let (ann, bob) = (world.api("ann"), world.api("bob"));
    let (admin, stranger) = (world.api_of("dev", "root", &["alpine.admin"]), world.api_of("other", "ann", &["alpine.admin"]));
    let id = set(&ann, "me", OWN).await;

    for nobody in [&bob, &admin, &stranger] {
        assert_eq!(up(nobody, "k", &repo, None).await.expect(422)["error_code"], MISSING);
        assert_eq!(list(nobody).await, Vec::<Value>::new());
        let absent = "cred_019ab1c24d3e7f508192a3b4c5d6e7f8";
        let (foreign, absent) = (remove(nobody, &id).await, remove(nobody, absent).await);
        let without_ids = |reply: &Reply, id: &str| {
            let mut body = reply.expect(404).clone();
            body["request_id"] = Value::Null;
            body.to_string().replace(id, "ID")
        };
        assert_eq!(without_ids(&foreign, &id), without_ids(&absent, "cred_019ab1c24d3e7f508192a3b4c5d6e7f8"));
        assert_eq!(foreign.body["error_code"], "ERR_NOT_FOUND");
    }
    // What was tried in the tenant is on record there; the other tenant's sees nothing of it.
    let denied = "SELECT count(*) FROM audit_log WHERE action = 'credential.remove' AND outcome = 'denied'";
    assert_eq!(world.db.one::<i64>(&format!("{denied} AND tenant_id = 'dev' AND owner = 'ann' AND target = '{id}'")).await, 2);
    assert_eq!(world.db.one::<i64>(denied).await, 2);

    let tenants = set(&admin, "tenant", OWN).await;
    assert_eq!(list(&bob).await.len(), 1);
    assert_eq!(remove(&bob, &tenants).await.expect(403)["error_code"], "ERR_FORBIDDEN");
    let by_member = put(&bob, json!({"host": "github.com", "kind": "token", "owner": "tenant", "token": "t"})).await;
    assert_eq!(by_member.expect(403)["error_code"], "ERR_FORBIDDEN");
    assert_eq!(up(&stranger, "k2", &repo, None).await.expect(422)["error_code"], MISSING);
    assert_eq!(up(&bob, "k3", &repo, None).await.status, 202);
    assert_eq!(remove(&admin, &tenants).await.status, 204);
    let said =
        "SELECT string_agg(action || ' ' || outcome || ' ' || actor || ' ' || coalesce(owner, '-') || ' ' || reason, E'\\n' ORDER BY seq)
                FROM audit_log WHERE tenant_id = 'dev'";
    let log: String = world.db.one(said).await;
    assert_eq!(
        log,
        "credential.set done ann ann token for github.com\n\
         credential.remove denied bob ann token for github.com\n\
         credential.remove denied root ann token for github.com\n\
         credential.set done root - token for github.com\n\
         credential.remove denied bob - token for github.com\n\
         credential.set denied bob - token for github.com\n\
         credential.remove done root - token for github.com"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_with_its_port_and_the_kind_must_fit_the_url() {
    let world = World::start().await;
    let ann = world.api("ann");
    let token = |host: &str| json!({"host": host, "kind": "token", "token": "t"});
    put(&ann, token("github.com:8443")).await.expect(201);
    put(&ann, token("gitlab.com")).await.expect(201);
    assert_eq!(up(&ann, "k1", REPO, None).await.expect(422)["error_code"], MISSING);
    put(&ann, token("GitHub.com")).await.expect(201);
    assert_eq!(up(&ann, "k2", REPO, None).await.status, 202);
    // A token opens no ssh remote, and `public` does not help there.
    for (key, url) in [("k3", "git@github.com:org/repo.git"), ("k4", "ssh://git@github.com/org/repo.git")] {
        for public in [false, true] {
            let body = json!({"repo_url": url, "branch": "main", "public": public, "repo_token": "t"});
            let reply = send(ann.request(Method::POST, "/v1/sessions").header("Idempotency-Key", key).json(&body)).await;
            assert_eq!(
                (&reply.expect(422)["error_code"], &reply.body["cause"]),
                (&json!(MISSING), &json!("no deploy key is stored for this host"))
            );
        }
    }
    let (private_key, known_hosts) = deploy_key(&world);
    let key = put(&ann, json!({"host": "github.com", "kind": "deploy_key", "private_key": private_key, "known_hosts": known_hosts})).await;
    assert!(text(key.expect(201), "fingerprint").starts_with("SHA256:"));
    assert_eq!(up(&ann, "k5", "git@github.com:org/repo.git", None).await.status, 202);
    assert_eq!(list(&ann).await.len(), 4);
}

/// A key pair's private half, and its public half as a host key of github.com.
fn deploy_key(world: &World) -> (String, String) {
    let (key, hosts) = alpine_tests::ground::deploy_key(&world.dir);
    (std::fs::read_to_string(key).unwrap(), std::fs::read_to_string(hosts).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_answered_from_its_operation_even_when_the_credential_is_gone() {
    let (world, repo) = world_for(OWN).await;
    let ann = world.api("ann");
    let id = set(&ann, "me", OWN).await;
    let first = up(&ann, "k", &repo, None).await;
    assert_eq!(outcome(&ann, &first).await["status"], "succeeded");
    remove(&ann, &id).await;
    let again = up(&ann, "k", &repo, None).await;
    assert_eq!(again.expect(200)["operation_id"], first.body["operation_id"]);
    assert_eq!(up(&ann, "other", &repo, None).await.expect(422)["error_code"], MISSING);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_removed_before_git_runs_fails_the_operation_for_good() {
    let (world, repo) = world_for(OWN).await;
    let ann = world.api("ann");
    let id = set(&ann, "me", OWN).await;
    world.git.delay("org/private", std::time::Duration::from_secs(3));
    let accepted = up(&ann, "k", &repo, None).await;
    // It is used to resolve the branch, and gone when the repository is cloned.
    until("git asks", LIMIT, || async { (world.git.requests("org/private") > 0).then_some(()) }).await;
    assert_eq!(remove(&ann, &id).await.status, 204);
    let operation = outcome(&ann, &accepted).await;
    assert_eq!((&operation["status"], &operation["error"]["error_code"]), (&json!("failed"), &json!(MISSING)), "{operation}");
    assert_eq!(operation["error"]["retryable"], false);
}

/// `cred_…` or `op_…` as the database's uuid.
fn uuid(id: &str) -> String {
    uuid::Uuid::parse_str(id.split_once('_').unwrap().1).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_stores_from_standard_input_and_files_lists_and_removes() {
    let (world, repo) = world_for(OWN).await;
    let ann = || world.alpine("ann").without("GITHUB_TOKEN");
    let stored = ann().args(&["credential", "set", "github.com", "--token-stdin", "--json"]).stdin(&format!("{OWN}\n")).run().await;
    assert!(!format!("{stored}").contains(OWN), "the secret was echoed");
    let stored = stored.ok();
    assert_eq!((&stored["kind"], &stored["owner"]), (&json!("token"), &json!("me")));
    bare_up(&world, "ann", &repo).await.ok();
    let denied = ann().args(&["credential", "set", "github.com", "--token-stdin", "--tenant", "--json"]).stdin(OWN).run().await;
    denied.refused(1, "ERR_FORBIDDEN");
    deploy_key(&world);
    let (key, public) = (world.dir.join("deploy-key"), world.dir.join("deploy-key.pub"));
    let hosts = world.dir.join("hosts");
    std::fs::write(&hosts, format!("github.com {}", std::fs::read_to_string(public).unwrap())).unwrap();
    let words = [
        "credential",
        "set",
        "github.com",
        "--tenant",
        "--json",
        "--deploy-key",
        key.to_str().unwrap(),
        "--known-hosts",
        hosts.to_str().unwrap(),
    ];
    let of_tenant = world.admin("root").args(&words).run().await.ok();
    assert_eq!((&of_tenant["kind"], &of_tenant["owner"]), (&json!("deploy_key"), &json!("tenant")));
    let wrong =
        ["credential", "set", "github.com", "--json", "--deploy-key", hosts.to_str().unwrap(), "--known-hosts", hosts.to_str().unwrap()];
    ann().args(&wrong).run().await.refused(1, "ERR_INVALID_REQUEST");

    let list = ann().args(&["credential", "list", "--json"]).run().await.ok();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    let id = text(&stored, "credential_id");
    ann().args(&["credential", "rm", &id, "--json"]).run().await.ok();
    ann().args(&["credential", "rm", &id, "--json"]).run().await.refused_because(1, "ERR_NOT_FOUND", "credential not found");
    ann().args(&["credential", "rm", "nonsense", "--json"]).run().await.refused_because(1, "ERR_NOT_FOUND", "credential not found");
    bare_up(&world, "ann", &repo).await.refused_because(1, MISSING, "repository credentials are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_token_is_erased_however_the_operation_ends() {
    let mut world = World::with(&[("ALPINE_PROVISION_DEADLINE_SECONDS", "15")]).await;
    let ann = world.api("ann");
    let db = world.db.clone();
    let tokens = || db.count("credentials");

    let done = outcome(&ann, &up(&ann, "succeeded", REPO, Some(REQUESTS)).await).await;
    assert_eq!((&done["status"], tokens().await), (&json!("succeeded"), 0));

    let (repo, _) = world.git.with_files("org/locked", &[("a", "a\n")]);
    world.git.protect("org/locked", "another");
    let failed = outcome(&ann, &up(&ann, "failed", &repo, Some(REQUESTS)).await).await;
    assert_eq!((&failed["status"], tokens().await), (&json!("failed"), 0));

    let (slow, _) = world.git.with_files("org/slow", &[("a", "a\n")]);
    world.git.delay("org/slow", std::time::Duration::MAX);
    let accepted = up(&ann, "cancelled", &slow, Some(REQUESTS)).await;
    assert_eq!(tokens().await, 1, "it waits for git");
    let session = text(accepted.expect(202), "session_id");
    ann.down(&session, json!({})).await;
    assert_eq!(tokens().await, 0, "`down` ends it, and the token with it");

    let late = outcome(&ann, &up(&ann, "late", &slow, Some(REQUESTS)).await).await;
    assert_eq!((&late["error"]["error_code"], tokens().await), (&json!("ERR_DEADLINE_EXCEEDED"), 0));

    // A phase that only another version knows.
    let held = up(&ann, "unreadable", &slow, Some(REQUESTS)).await;
    let id = uuid(&text(held.expect(202), "operation_id"));
    world.server.kill();
    world
        .db
        .meddle(&format!(
            "UPDATE operations SET phase = 'from-tomorrow', available_at = now(), deadline_at = now() WHERE operation_id = '{id}'"
        ))
        .await;
    world.db.meddle("UPDATE leases SET owner = NULL, until = NULL WHERE owner IS NOT NULL").await;
    assert_eq!(tokens().await, 1);
    world.server.start_again().await;
    let unreadable = outcome(&ann, &held).await;
    assert_eq!((&unreadable["status"], tokens().await), (&json!("failed"), 0), "{unreadable}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_store_the_same_at_once_leave_one_that_opens() {
    let (world, repo) = world_for(OWN).await;
    let ann = world.api("ann");
    let mut storing = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let ann = ann.clone();
        storing.spawn(async move { set(&ann, "me", OWN).await });
    }
    let ids: std::collections::BTreeSet<String> = storing.join_all().await.into_iter().collect();
    assert_eq!((ids.len(), world.db.count("stored_credentials").await), (1, 1));
    bare_up(&world, "ann", &repo).await.ok();
}
