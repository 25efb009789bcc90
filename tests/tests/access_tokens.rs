//! Personal access tokens: what they are good for, who makes and revokes them, and that nobody keeps one.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use alpine_api::{AuditEntry, AuditOutcome, TokenId};
use alpine_server::domain::access_token::AccessToken;
use alpine_tests::{
    REPO, World,
    api::{Api, Reply, send},
    cli::{Alpine, text},
};
use reqwest::Method;
use serde_json::{Value, json};

const ALL: &[&str] = &["sessions:read", "sessions:write"];

async fn create(api: &Api, scopes: &[&str]) -> Reply {
    send(api.request(Method::POST, "/v1/tokens").json(&json!({ "name": "ci", "scopes": scopes }))).await
}

/// A token of these scopes, made after signing in.
async fn made(api: &Api, scopes: &[&str]) -> Made {
    let reply = create(api, scopes).await;
    let body = reply.expect(201);
    assert_eq!(reply.headers["location"], format!("/v1/tokens/{}", text(body, "token_id")).as_str());
    assert_eq!(reply.headers["cache-control"], "no-store");
    Made { id: text(body, "token_id"), secret: text(body, "token"), request: reply.headers["x-request-id"].to_str().unwrap().to_owned() }
}

struct Made {
    id: String,
    secret: String,
    request: String,
}

impl Made {
    fn api(&self, world: &World) -> Api {
        Api::new(world.pki.client(), world.server.base(), self.secret.clone())
    }

    /// A script that has nothing but the token.
    fn alpine(&self, world: &World) -> Alpine {
        world.alpine("nobody").without("ALPINE_PRINCIPAL_ID").env("ALPINE_TOKEN", &self.secret)
    }

    fn uuid(&self) -> String {
        self.id.parse::<TokenId>().unwrap().uuid().to_string()
    }
}

async fn revoke(api: &Api, id: &str) -> Reply {
    send(api.request(Method::DELETE, &format!("/v1/tokens/{id}"))).await
}

fn assert_nobody(reply: &Reply, next_step: &str) {
    let body = reply.expect(401);
    assert_eq!(body["error_code"], "ERR_CALLER_IDENTITY_REQUIRED");
    assert!(text(body, "next_step").contains(next_step), "{body}");
    assert!(reply.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_with_a_token_does_all_that_its_maker_does() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let human = world.alpine("ann").args(&["token", "create", "--name", "ci"]).run().await;
    assert_eq!(human.code, Some(0), "{human}");
    let secret = human.stdout.lines().find(|line| line.starts_with("alpine_pat_")).expect("on a line of its own").to_owned();
    assert!(AccessToken::parse(&secret).is_ok(), "{secret}");
    assert!(human.stderr.contains("only time") && !human.stderr.contains(&secret), "{human}");
    let script = || world.alpine("nobody").without("ALPINE_PRINCIPAL_ID").env("ALPINE_TOKEN", &secret);
    let list = script().args(&["list", "--json"]).run().await.ok();
    assert_eq!((&list[0]["session_id"], &list[0]["owner_principal_id"]), (&session.as_str().into(), &"ann".into()));
    let up = script().args(&["up", REPO, "--branch", "main", "--json", "--no-browser"]).run().await.ok();
    let second = text(&up, "session_id");
    assert_eq!(world.status("ann", &second).await.ok()["owner_principal_id"], "ann");
    script().args(&["events", &second, "--json"]).run().await;
    for id in [&session, &second] {
        assert_eq!(script().args(&["down", id, "--json"]).run().await.ok()["state"], "stopped");
    }
    // What a list of tokens says, and never the secret.
    let tokens = script().args(&["token", "list", "--json"]).run().await;
    let row = &tokens.ok()[0];
    assert_eq!((&row["name"], &row["scopes"], &row["owner_principal_id"]), (&"ci".into(), &json!(ALL), &"ann".into()));
    assert!(row["last_used_at"].is_string() && row["revoked_at"].is_null() && !tokens.stdout.contains("alpine_pat_"), "{tokens}");
    let id = text(row, "token_id");
    assert_eq!(world.alpine("ann").args(&["token", "revoke", &id, "--json"]).run().await.ok()["revoked"], true);
    let after = script().args(&["list", "--json"]).run().await.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    assert!(text(&after, "next_step").contains("revoked"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_a_token_lacks_is_named_and_nothing_is_done() {
    let world = World::start().await;
    let session = text(&world.ready("ann").await, "session_id");
    let ann = world.api("ann");
    let read = made(&ann, &["sessions:read"]).await;
    let write = made(&ann, &["sessions:write"]).await;
    let lacks = |answer: alpine_tests::Answer, scope: &str| {
        answer.refused_because(1, "ERR_FORBIDDEN", &format!("the token lacks the scope {scope}"));
    };
    assert_eq!(read.alpine(&world).args(&["list", "--json"]).run().await.ok().as_array().unwrap().len(), 1);
    lacks(read.alpine(&world).args(&["up", REPO, "--branch", "main", "--json"]).run().await, "sessions:write");
    lacks(read.alpine(&world).args(&["down", &session, "--json"]).run().await, "sessions:write");
    lacks(read.alpine(&world).args(&["token", "revoke", &read.id, "--json"]).run().await, "sessions:write");
    for args in [&["list", "--json"][..], &["status", &session, "--json"], &["token", "list", "--json"]] {
        lacks(write.alpine(&world).args(args).run().await, "sessions:read");
    }
    assert_eq!((world.db.state(&session).await.as_str(), world.db.count("sessions").await), ("ready", 1));
    write.api(&world).down(&session, json!({})).await.expect(202);
    // A token of less power revokes none of more; one of its own kind it does.
    let both = made(&ann, ALL).await;
    assert_eq!(revoke(&write.api(&world), &both.id).await.expect(403)["cause"], "the token lacks the scope sessions:read");
    revoke(&write.api(&world), &write.id).await.expect(204);
    assert_nobody(&write.api(&world).get("/v1/sessions").await, "revoked");
    both.api(&world).get("/v1/sessions").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admins_role_is_in_a_token_only_with_the_scope_for_it() {
    let world = World::start().await;
    world.api("ann").up("k", REPO, "main").await.expect(202);
    let root = world.api_of("dev", "root", &["alpine.admin", "alpine.operator"]);
    let admin = made(&root, &["sessions:read", "sessions:write", "admin"]).await;
    let plain = made(&root, ALL).await;
    let of_ann = made(&world.api("ann"), ALL).await;
    let all = "/v1/sessions?owner=all";
    assert_eq!(admin.api(&world).get(all).await.expect(200)["sessions"].as_array().unwrap().len(), 1);
    plain.api(&world).get(all).await.expect(403);
    let tokens = admin.api(&world).get("/v1/tokens?owner=all").await;
    let owners: BTreeSet<String> = tokens.expect(200)["tokens"].as_array().unwrap().iter().map(|t| text(t, "owner_principal_id")).collect();
    assert_eq!(owners, ["ann", "root"].map(String::from).into());
    assert_eq!(plain.api(&world).get("/v1/tokens?owner=all").await.expect(403)["cause"], "this needs the role alpine.admin");
    let cli = world.admin("root").args(&["token", "list", "--all-owners"]).run().await;
    assert!(cli.code == Some(0) && cli.stdout.contains("OWNER") && cli.stdout.contains("ann"), "{cli}");
    // A member makes no admin's token, and nobody makes a token with a token.
    let refused = create(&world.api("ann"), &["sessions:read", "admin"]).await;
    assert_eq!(
        (&refused.expect(403)["error_code"], &refused.body["cause"]),
        (&"ERR_FORBIDDEN".into(), &"this needs the role alpine.admin".into())
    );
    for token in [&admin, &of_ann] {
        assert_eq!(create(&token.api(&world), &["sessions:read"]).await.expect(403)["cause"], "tokens are made after signing in");
    }
    assert_eq!(world.db.count("access_tokens").await, 3);
    // Another's token: an admin revokes it, and the one without the scope does not see it.
    let absent = revoke(&plain.api(&world), &TokenId::generate().to_string()).await;
    let denied = revoke(&plain.api(&world), &of_ann.id).await;
    assert_eq!(blind(&denied, &of_ann.id), blind(&absent, absent.body["instance"].as_str().unwrap().rsplit('/').next().unwrap()));
    of_ann.api(&world).get("/v1/sessions").await.expect(200);
    revoke(&admin.api(&world), &of_ann.id).await.expect(204);
    assert_nobody(&of_ann.api(&world).get("/v1/sessions").await, "revoked");
}

/// An answer without what differs from request to request.
fn blind(reply: &Reply, id: &str) -> Value {
    let mut body = reply.expect(404).clone();
    assert_eq!(body["error_code"], "ERR_NOT_FOUND");
    body["request_id"] = Value::Null;
    serde_json::from_str(&body.to_string().replace(id, "ID")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn anothers_and_another_tenants_token_are_answered_as_one_that_is_not_there() {
    let world = World::start().await;
    let token = made(&world.api("ann"), ALL).await;
    let absent = TokenId::generate().to_string();
    let expected = blind(&revoke(&world.api("bob"), &absent).await, &absent);
    for (who, id) in [
        (world.api("bob"), token.id.as_str()),
        (world.api_of("elsewhere", "ann", &[]), &token.id),
        (world.api_of("elsewhere", "root", &["alpine.admin"]), &token.id),
        (world.api("bob"), "nonsense"),
        (world.api("bob"), &token.id.to_uppercase()),
        (world.api("bob"), &token.id.replace("tok_", "ses_")),
    ] {
        assert_eq!(blind(&revoke(&who, id).await, id), expected, "{id}");
    }
    world.alpine("ann").args(&["token", "revoke", &token.secret, "--json"]).run().await.refused(1, "ERR_NOT_FOUND");
    // Of one tenant it opens nothing of another, whatever it asks for.
    let there = world.api_of("elsewhere", "root", &["alpine.admin"]);
    there.up("k", REPO, "main").await.expect(202);
    assert_eq!(token.api(&world).get("/v1/sessions").await.expect(200)["sessions"], json!([]));
    assert_eq!(there.get("/v1/tokens?owner=all").await.expect(200)["tokens"], json!([]));
    let session: String = world.db.one("SELECT 'ses_' || replace(session_id::text, '-', '') FROM sessions").await;
    token.api(&world).get(&format!("/v1/sessions/{session}")).await.expect(404);
    token.api(&world).down(&session, json!({})).await.expect(404);
    token.api(&world).get("/v1/sessions").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_or_revoked_token_is_nobody_at_once_and_stays_so() {
    let world = World::start().await;
    let ann = world.api("ann");
    let (expired, revoked) = (made(&ann, ALL).await, made(&ann, ALL).await);
    for token in [&expired, &revoked] {
        token.api(&world).get("/v1/sessions").await.expect(200);
    }
    world.db.execute(&format!("UPDATE access_tokens SET expires_at = now() WHERE token_id = '{}'", expired.uuid())).await;
    assert_nobody(&expired.api(&world).get("/v1/sessions").await, "expired");
    revoke(&ann, &revoked.id).await.expect(204);
    assert_nobody(&revoked.api(&world).get("/v1/sessions").await, "revoked");
    revoke(&ann, &revoked.id).await.expect(204);
    assert_eq!(world.db.count("audit_log WHERE action = 'token.revoke'").await, 1, "again is no second time");
    let refusal = world.db.try_execute("UPDATE access_tokens SET revoked_at = NULL").await.unwrap_err();
    assert!(refusal.contains("stays revoked"), "{refusal}");
    let listed = ann.get("/v1/tokens").await;
    let ids: Vec<&str> = listed.expect(200)["tokens"].as_array().unwrap().iter().map(|t| t["token_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [revoked.id.as_str(), expired.id.as_str()], "newest first");
    assert!(listed.body["tokens"][0]["revoked_at"].is_string() && listed.body["tokens"][1]["revoked_at"].is_null());
    // Pages of one are the same list.
    let first = ann.get("/v1/tokens?limit=1").await.expect(200).clone();
    assert_eq!((&first["tokens"][0]["token_id"], &first["next_cursor"]), (&revoked.id.as_str().into(), &revoked.id.as_str().into()));
    let second = ann.get(&format!("/v1/tokens?limit=1&cursor={}", revoked.id)).await.expect(200).clone();
    assert_eq!((&second["tokens"][0]["token_id"], &second["next_cursor"]), (&expired.id.as_str().into(), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_token_was_used_is_noted_once_a_minute() {
    let world = World::start().await;
    let token = made(&world.api("ann"), ALL).await;
    let used = || world.db.one::<Option<String>>("SELECT last_used_at::text FROM access_tokens");
    assert_eq!(used().await, None);
    token.api(&world).get("/v1/sessions").await.expect(200);
    let first = used().await.expect("noted");
    token.api(&world).get("/v1/sessions").await.expect(200);
    assert_eq!(used().await.unwrap(), first);
    world.db.execute("UPDATE access_tokens SET last_used_at = last_used_at - interval '30 seconds'").await;
    let earlier = used().await.unwrap();
    token.api(&world).get("/v1/sessions").await.expect(200);
    assert_eq!(used().await.unwrap(), earlier, "the minute is not over");
    world.db.execute("UPDATE access_tokens SET last_used_at = last_used_at - interval '31 seconds'").await;
    token.api(&world).get("/v1/sessions").await.expect(200);
    assert!(used().await.unwrap() > first, "the minute is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_is_refused_without_the_database() {
    let world = World::start().await;
    let token = made(&world.api("ann"), ALL).await;
    let last = if token.secret.ends_with('0') { "1" } else { "0" };
    let with = |bearer: &str| Api::new(world.pki.client(), world.server.base(), bearer.to_owned());
    let wrong = with(&format!("{}{last}", &token.secret[..59]));
    let locked = world.db.lock("access_tokens").await;
    assert_nobody(&wrong.get("/v1/sessions").await, "not one of this server's");
    for bad in ["alpine_pat_", "alpine_pat_x", &token.secret[..59], &format!("{}0", token.secret)] {
        assert_nobody(&with(bad).get("/v1/sessions").await, "not one of this server's");
    }
    // The right one has to be looked for, and that cannot be done now.
    token.api(&world).get("/v1/sessions").await.expect(503);
    drop(locked);
    token.api(&world).get("/v1/sessions").await.expect(200);
    let stranger = AccessToken::generate(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
    assert_nobody(&with(stranger.expose()).get("/v1/sessions").await, "not one of this server's");
    // Where a proxy puts its token an access token is none.
    let assertion = world.pki.client().get(format!("{}/v1/sessions", world.server.base())).header("Cf-Access-Jwt-Assertion", &token.secret);
    send(assertion).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_fifty_tokens_however_many_are_asked_for_at_once() {
    let world = World::start().await;
    let ann = world.api("ann");
    let asked = (0..100).map(|_| {
        let ann = ann.clone();
        tokio::spawn(async move { create(&ann, &["sessions:read"]).await })
    });
    let mut made = 0;
    for reply in asked.collect::<Vec<_>>() {
        let reply = reply.await.unwrap();
        match reply.status.as_u16() {
            201 => made += 1,
            429 => {
                assert_eq!(reply.body["error_code"], "ERR_QUOTA_EXCEEDED");
                assert_eq!(reply.body["cause"], "the principal has 50 of 50 access tokens");
            }
            // Too long a queue for the few connections of transactions.
            503 => {}
            other => panic!("{other}: {}", reply.text),
        }
    }
    while create(&ann, &["sessions:read"]).await.status == 201 {
        made += 1;
    }
    assert_eq!((made, world.db.count("access_tokens").await), (50, 50));
    // Another has its own fifty; one that is over makes room.
    create(&world.api("bob"), &["sessions:read"]).await.expect(201);
    let id = text(&ann.get("/v1/tokens?limit=1").await.expect(200)["tokens"][0], "token_id");
    revoke(&ann, &id).await.expect(204);
    create(&ann, &["sessions:read"]).await.expect(201);
    create(&ann, &["sessions:read"]).await.expect(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_token_is_checked_field_by_field() {
    let world = World::start().await;
    let ann = world.api("ann");
    for (body, status) in [
        (json!({ "name": "", "scopes": ["sessions:read"] }), 400),
        (json!({ "name": "x".repeat(101), "scopes": ["sessions:read"] }), 400),
        (json!({ "name": "a\nb", "scopes": ["sessions:read"] }), 400),
        (json!({ "name": "a\u{0}b", "scopes": ["sessions:read"] }), 400),
        (json!({ "name": "x", "scopes": [] }), 400),
        (json!({ "name": "x", "scopes": ["sessions:read", "sessions:read", "sessions:read", "sessions:read"] }), 400),
        (json!({ "name": "x", "scopes": ["root"] }), 422),
        (json!({ "name": "x", "scopes": "admin" }), 422),
        (json!({ "name": "x" }), 422),
        (json!({ "scopes": ["sessions:read"] }), 422),
        (json!({ "name": "x", "scopes": ["sessions:read"], "expires_in_days": 0 }), 400),
        (json!({ "name": "x", "scopes": ["sessions:read"], "expires_in_days": 366 }), 400),
        (json!({ "name": "x", "scopes": ["sessions:read"], "expires_in_days": 1.5 }), 422),
        (json!({ "name": "x", "scopes": ["sessions:read"], "owner": "bob" }), 422),
    ] {
        let reply = send(ann.request(Method::POST, "/v1/tokens").json(&body)).await;
        assert_eq!(reply.expect(status)["error_code"], "ERR_INVALID_REQUEST", "{body}");
    }
    assert_eq!(world.db.count("access_tokens").await, 0);
    let name = "ü".repeat(100);
    let body = json!({ "name": name, "scopes": ["sessions:write", "sessions:read", "sessions:write"], "expires_in_days": 365 });
    let reply = send(ann.request(Method::POST, "/v1/tokens").json(&body)).await;
    assert_eq!((&reply.expect(201)["name"], &reply.body["scopes"]), (&name.into(), &json!(ALL)));
    let days: i32 = world.db.one("SELECT round(extract(epoch FROM expires_at - created_at) / 86400)::int FROM access_tokens").await;
    assert_eq!(days, 365);
}

/// Every row of every table, as text.
async fn dump(world: &World) -> String {
    let tables: Vec<String> = world.db.one("SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = 'public'").await;
    assert!(tables.len() > 12, "{tables:?}");
    let mut dump = String::new();
    for table in tables {
        dump.push_str(&world.db.one::<String>(&format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM \"{table}\" t")).await);
    }
    dump
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_itself_is_kept_and_told_by_nobody() {
    let world = World::with(&[("ALPINE_LOG", "debug")]).await;
    let ann = world.api("ann");
    let token = made(&ann, ALL).await;
    let mistyped = format!("{}{}", &token.secret[..59], if token.secret.ends_with('0') { '1' } else { '0' });
    token.api(&world).up("k", REPO, "main").await.expect(202);
    token.api(&world).get("/v1/sessions?state=nonsense").await.expect(400);
    Api::new(world.pki.client(), world.server.base(), mistyped.clone()).get("/v1/sessions").await.expect(401);
    // In places where it does not belong.
    revoke(&ann, &token.secret).await.expect(404);
    let body = json!({ "name": token.secret, "scopes": [token.secret], "expires_in_days": token.secret });
    let misplaced = send(ann.request(Method::POST, "/v1/tokens").json(&body)).await;
    assert!(!misplaced.text.contains("alpine_pat_"), "{}", misplaced.text);
    revoke(&ann, &token.id).await.expect(204);
    token.api(&world).get("/v1/sessions").await.expect(401);

    let (body, hash) = (&token.secret[11..54], AccessToken::parse(&token.secret).unwrap().sha256());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let (dump, log) = (dump(&world).await, world.server.log_text());
    assert!(dump.contains(&hash) && dump.contains(&token.uuid()), "what is kept is found");
    assert!(
        log.contains("DEBUG") && log.contains(&token.request) && log.contains("revokeToken") | log.contains("/v1/tokens/"),
        "the log is there"
    );
    for place in [&dump, &log] {
        for secret in [body, "alpine_pat_"] {
            let found = place.find(secret).map(|at| place[at.saturating_sub(200)..].chars().take(400).collect::<String>());
            assert_eq!(found, None);
        }
    }
    assert!(!log.contains(&hash), "nor its hash");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_token_is_in_a_chain_that_holds() {
    let world = World::start().await;
    let (ann, root) = (world.api("ann"), world.api_of("dev", "root", &["alpine.admin"]));
    let first = made(&ann, ALL).await;
    let second = made(&ann, &["sessions:read"]).await;
    let denied = revoke(&world.api("bob"), &first.id).await;
    let own = revoke(&ann, &second.id).await;
    let by_admin = revoke(&root, &first.id).await;
    root.get("/v1/tokens?owner=all").await.expect(200);
    world.api("bob").get("/v1/tokens?owner=all").await.expect(403);
    let id = |reply: &Reply| reply.headers["x-request-id"].to_str().unwrap().to_owned();
    let entries = entries(&world).await;
    let said: Vec<_> = entries
        .iter()
        .map(|e| (e.actor.as_str(), e.action.as_str(), e.outcome, e.target.as_deref().unwrap(), e.owner.as_deref()))
        .collect();
    use AuditOutcome::{Denied, Done};
    assert_eq!(
        said,
        [
            ("ann", "token.create", Done, first.id.as_str(), Some("ann")),
            ("ann", "token.create", Done, &second.id, Some("ann")),
            ("bob", "token.revoke", Denied, &first.id, Some("ann")),
            ("ann", "token.revoke", Done, &second.id, Some("ann")),
            ("root", "token.revoke", Done, &first.id, Some("ann")),
            ("root", "token.list_all", Done, "dev", None),
            ("bob", "token.list_all", Denied, "dev", None),
        ]
    );
    assert_eq!(entries[0].reason.as_deref(), Some("scopes: sessions:read sessions:write"));
    let requests: Vec<&str> = entries.iter().take(5).map(|e| e.request_id.as_str()).collect();
    assert_eq!(requests, [&first.request, &second.request, &id(&denied), &id(&own), &id(&by_admin)]);
    let mut before = String::new();
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!((entry.seq, &entry.prev_hash, entry.digest()), (index as i64 + 1, &before, entry.hash.clone()), "{entry:?}");
        before.clone_from(&entry.hash);
    }
    let request: String = world.db.one(&format!("SELECT created_by_request FROM access_tokens WHERE token_id = '{}'", first.uuid())).await;
    assert_eq!(request, first.request);
}

/// The tenant's audit log as the database has it.
async fn entries(world: &World) -> Vec<AuditEntry> {
    let rows: Value = world
        .db
        .one(
            "SELECT jsonb_agg(jsonb_build_object('tenant', tenant_id, 'seq', seq, 'at', at, 'actor', actor, 'actor_tenant', actor_tenant,
                'action', action, 'outcome', outcome, 'target', target, 'owner', owner, 'reason', reason, 'request_id', request_id,
                'prev_hash', encode(prev_hash, 'hex'), 'hash', encode(hash, 'hex')) ORDER BY seq) FROM audit_log WHERE tenant_id = 'dev'",
        )
        .await;
    serde_json::from_value(rows).unwrap()
}
