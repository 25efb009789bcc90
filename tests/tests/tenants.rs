//! Tenants: who may see and limit them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{
    REPO, World,
    api::{Api, Reply},
    audit,
    cli::text,
};
use reqwest::Method;
use serde_json::{Value, json};

const NO_LIMITS: &str = r#"{"max_active_sessions":null,"max_active_sessions_per_principal":null,"max_operations":null,"max_operations_per_principal":null,"max_memory_mb":null,"max_cpu_millis":null,"max_disk_mb":null,"max_lifetime_seconds":null,"max_idle_seconds":null}"#;

async fn world() -> World {
    World::with(&[("ALPINE_ROLE", "api")]).await
}

fn operator(world: &World) -> Api {
    world.api_of("house", "olga", &["alpine.operator"])
}

async fn create(by: &Api, tenant: &str, quotas: Value) -> Reply {
    by.send(Method::POST, "/v1/tenants", &json!({ "tenant_id": tenant, "quotas": quotas })).await
}

async fn patch(by: &Api, tenant: &str, body: Value) -> Reply {
    by.send(Method::PATCH, &format!("/v1/tenants/{tenant}"), &body).await
}

fn forbidden(reply: &Reply, role: &str) {
    let body = reply.expect(403);
    assert_eq!((text(body, "error_code"), text(body, "cause")), ("ERR_FORBIDDEN".into(), format!("this needs the role {role}")));
}

/// A tenant's log in a few words an entry.
async fn told(world: &World, tenant: &str) -> Vec<String> {
    let log = audit::log(&world.db, tenant).await;
    audit::assert_whole(&log);
    let said = |e: &alpine_api::AuditEntry| {
        let (target, reason) = (e.target.as_deref().unwrap_or("-"), e.reason.as_deref().unwrap_or("-"));
        format!("{}@{} {} {} {target}: {reason}", e.actor, e.actor_tenant, e.action, e.outcome.as_str())
    };
    log.iter().map(said).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_tenants_and_sets_their_limits_which_is_on_record_in_theirs() {
    let world = world().await;
    let olga = operator(&world);
    let made = create(&olga, "acme", json!({ "max_active_sessions": 5 })).await;
    let acme = made.expect(201).clone();
    assert_eq!(
        (text(&acme, "tenant_id"), &acme["usage"]),
        ("acme".into(), &json!({ "active_sessions": 0, "operations": 0, "memory_mb": 0, "cpu_millis": 0, "disk_mb": 0 }))
    );
    assert_eq!(create(&olga, "acme", json!({ "max_active_sessions": 5 })).await.expect(200), &acme, "the same again is the same");
    let other = create(&olga, "acme", json!({ "max_active_sessions": 6 })).await;
    assert_eq!(text(other.expect(409), "error_code"), "ERR_OPERATION_CONFLICT");
    // `null` takes away; what is absent stays.
    let change = json!({ "max_active_sessions": 10, "max_operations": 3, "reason": "they grow" });
    assert_eq!(patch(&olga, "acme", change).await.expect(200)["quotas"]["max_active_sessions"], 10);
    let now = patch(&olga, "acme", json!({ "max_operations": null })).await.expect(200)["quotas"].clone();
    assert_eq!((&now["max_active_sessions"], &now["max_operations"]), (&json!(10), &Value::Null));
    assert_eq!(patch(&olga, "acme", json!({})).await.expect(200)["quotas"], now);
    world.api_of("acme", "ann", &[]).up("k", REPO, "main").await.expect(202);
    let seen = olga.get("/v1/tenants/acme").await.expect(200).clone();
    assert_eq!(
        seen["usage"],
        json!({ "active_sessions": 1, "operations": 1, "memory_mb": 0, "cpu_millis": 0, "disk_mb": 0 }),
        "counted, not kept"
    );
    assert_eq!(patch(&olga, "nobody", json!({})).await.expect(404)["error_code"], "ERR_NOT_FOUND");
    assert_eq!(olga.get("/v1/tenants/nobody").await.expect(404)["error_code"], "ERR_NOT_FOUND");
    let expected = [
        "olga@house tenant.create done acme: -",
        "olga@house tenant.read done acme: -",
        "olga@house tenant.read done acme: -",
        "olga@house tenant.update done acme: max_active_sessions: 5 -> 10, max_operations: none -> 3; they grow",
        "olga@house tenant.update done acme: max_operations: 3 -> none",
        "olga@house tenant.update done acme: nothing changed",
        "olga@house tenant.read done acme: -",
    ];
    assert_eq!(told(&world, "acme").await, expected);
    assert_eq!(world.db.count("audit_log WHERE tenant_id = 'nobody'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_tenants_goes_on_where_a_page_ended() {
    let world = world().await;
    let olga = operator(&world);
    // Whatever a tenant is called.
    let names = ["a b/c?d=e%f", "acme", "zebra", "\u{e9}t\u{e9} \"'\\"];
    for name in names {
        create(&olga, name, json!({})).await.expect(201);
    }
    world.api_of("acme", "ann", &[]).up("k", REPO, "main").await.expect(202);
    let (mut found, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = world
            .pki
            .client()
            .get(format!("{}/v1/tenants", world.server.base()))
            .query(&[("limit", "2"), ("after", &after)])
            .bearer_auth(world.token("house", "olga", &["alpine.operator"]));
        let page = alpine_tests::api::send(page).await;
        found.extend(page.expect(200)["tenants"].as_array().unwrap().clone());
        pages += 1;
        match page.body["next_after"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found.iter().map(|tenant| text(tenant, "tenant_id")).collect::<Vec<_>>(), names);
    assert_eq!((pages, &found[1]["usage"]["active_sessions"], &found[2]["usage"]["operations"]), (2, &json!(1), &json!(0)));
    assert_eq!(told(&world, "house").await, ["olga@house tenant.list done house: -"; 2]);
    for (query, status) in [("limit=0", 400), ("limit=201", 400), ("limit=x", 400), ("after=%00", 400), ("bogus=1", 400)] {
        olga.get(&format!("/v1/tenants?{query}")).await.expect(status);
    }
    let seen = olga.get("/v1/tenants/a%20b%2Fc%3Fd%3De%25f").await;
    assert_eq!(seen.expect(200)["tenant_id"], names[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_is_as_one_that_is_not_there_to_everybody_but_operators() {
    let world = world().await;
    create(&operator(&world), "acme", json!({})).await.expect(201);
    create(&operator(&world), "other", json!({ "max_operations": 1 })).await.expect(201);
    let before = (told(&world, "other").await, world.db.count("audit_log").await);
    let change = json!({ "max_operations_per_principal": 1 });
    let mut tries = 0;
    for roles in [&[][..], &["alpine.admin"]] {
        let by = world.api_of("acme", "ann", roles);
        let malformed = by.get("/v1/tenants/%00").await;
        assert_eq!(malformed.expect(404)["error_code"], "ERR_NOT_FOUND");
        for absent in ["absnt", "%C3%A9%C3%A9x", "othe"] {
            let (foreign, none) = (by.get("/v1/tenants/other").await, by.get(&format!("/v1/tenants/{absent}")).await);
            assert_eq!(foreign.expect(404)["error_code"], "ERR_NOT_FOUND");
            assert_eq!((foreign.general(), foreign.general()), (none.general(), malformed.general()));
            let (foreign, none) = (patch(&by, "other", change.clone()).await, patch(&by, absent, change.clone()).await);
            assert_eq!(foreign.expect(404)["error_code"], "ERR_NOT_FOUND");
            assert_eq!(foreign.general(), none.general());
            let (foreign, none) = (by.get("/v1/audit?tenant=other").await, by.get(&format!("/v1/audit?tenant={absent}")).await);
            forbidden(&foreign, "alpine.operator");
            assert_eq!(foreign.general(), none.general());
            assert_eq!(foreign.general(), by.get("/v1/audit?tenant=%00").await.general());
            tries += 6;
        }
        forbidden(&create(&by, "acme", json!({})).await, "alpine.operator");
        forbidden(&create(&by, "absent", json!({})).await, "alpine.operator");
        forbidden(&by.get("/v1/tenants").await, "alpine.operator");
        tries += 3;
    }
    // Each try is on record, with whom it is no secret that they tried.
    assert_eq!(told(&world, "other").await, before.0);
    assert_eq!(world.db.count("audit_log WHERE tenant_id = 'acme' AND outcome = 'denied'").await, tries);
    assert_eq!(world.db.count("audit_log").await, before.1 + tries);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_shares_out_what_the_tenant_has_and_takes_no_more() {
    let world = world().await;
    create(&operator(&world), "acme", json!({ "max_active_sessions": 5 })).await.expect(201);
    let (root, ann) = (world.api_of("acme", "root", &["alpine.admin"]), world.api_of("acme", "ann", &[]));
    assert_eq!(root.get("/v1/tenants/acme").await.expect(200)["quotas"]["max_active_sessions"], 5);
    let share = json!({ "max_active_sessions_per_principal": 2, "max_operations_per_principal": 1, "reason": "fair" });
    assert_eq!(patch(&root, "acme", share.clone()).await.expect(200)["quotas"]["max_operations_per_principal"], 1);
    for more in [json!({ "max_active_sessions": 50 }), json!({ "max_operations": null, "max_operations_per_principal": 9 })] {
        forbidden(&patch(&root, "acme", more).await, "alpine.operator");
    }
    forbidden(&ann.get("/v1/tenants/acme").await, "alpine.admin");
    forbidden(&patch(&ann, "acme", share).await, "alpine.admin");
    let quotas = operator(&world).get("/v1/tenants/acme").await.expect(200)["quotas"].clone();
    let expected = json!({
        "max_active_sessions": 5, "max_active_sessions_per_principal": 2, "max_operations": null, "max_operations_per_principal": 1,
        "max_memory_mb": null, "max_cpu_millis": null, "max_disk_mb": null, "max_lifetime_seconds": null, "max_idle_seconds": null,
    });
    assert_eq!(quotas, expected);
    let expected = [
        "olga@house tenant.create done acme: -",
        "root@acme tenant.update done acme: max_active_sessions_per_principal: none -> 2, max_operations_per_principal: none -> 1; fair",
        "root@acme tenant.update denied acme: -",
        "root@acme tenant.update denied acme: -",
        "ann@acme tenant.read denied acme: -",
        "ann@acme tenant.update denied acme: -",
        "olga@house tenant.read done acme: -",
    ];
    assert_eq!(told(&world, "acme").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_in_words_and_changes_nothing() {
    let world = world().await;
    let olga = operator(&world);
    create(&olga, "acme", json!({})).await.expect(201);
    let before = world.db.count("audit_log").await;
    for (body, status) in [
        (json!({ "max_operations": -1 }), 422),
        (json!({ "max_operations": 2_147_483_648_u64 }), 422),
        (json!({ "max_operations": "5" }), 422),
        (json!({ "max_operations": 1.5 }), 422),
        (json!({ "max_sessions": 1 }), 422),
        (json!({ "reason": "x".repeat(501) }), 400),
        (json!({ "reason": "a\u{0}b" }), 400),
        (json!([]), 422),
    ] {
        let reply = patch(&olga, "acme", body.clone()).await;
        assert_eq!(reply.expect(status)["error_code"], "ERR_INVALID_REQUEST", "{body}");
        if body.is_object() && body["reason"].is_null() {
            assert_eq!(create(&olga, "new", body.clone()).await.expect(422)["error_code"], "ERR_INVALID_REQUEST", "{body}");
        }
    }
    for name in ["", " ", " acme", "a\nb", "a\u{0}b", &"x".repeat(256)] {
        assert_eq!(create(&olga, name, json!({})).await.expect(422)["error_code"], "ERR_INVALID_REQUEST", "{name:?}");
    }
    for query in ["after=-1", "after=x", "limit=0", "limit=501", "bogus=1", "after=99999999999999999999"] {
        olga.get(&format!("/v1/audit?{query}")).await.expect(400);
    }
    assert_eq!((world.db.count("audit_log").await, world.db.count("tenants").await), (before, 1));
    assert_eq!(olga.get("/v1/tenants/acme").await.expect(200)["quotas"], serde_json::from_str::<Value>(NO_LIMITS).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_shows_lists_and_limits_tenants() {
    let world = world().await;
    let olga = || world.alpine("olga").env("ALPINE_TENANT", "house").env("ALPINE_ROLES", "alpine.operator");
    let acme = olga().args(&["tenant", "create", "a/c me", "--max-sessions", "5", "--json"]).run().await.ok();
    assert_eq!((text(&acme, "tenant_id"), &acme["quotas"]["max_active_sessions"]), ("a/c me".into(), &json!(5)));
    let set = ["tenant", "set", "a/c me", "--max-sessions", "10", "--max-operations-per-principal", "0", "--reason", "more", "--json"];
    let set = olga().args(&set).run().await.ok();
    assert_eq!((&set["quotas"]["max_active_sessions"], &set["quotas"]["max_operations_per_principal"]), (&json!(10), &json!(0)));
    olga().args(&["tenant", "set", "a/c me", "--max-sessions", "none", "--json"]).run().await.ok();
    let shown = olga().args(&["tenant", "show", "a/c me", "--json"]).run().await.ok();
    assert_eq!(shown["quotas"]["max_active_sessions"], Value::Null);
    assert_eq!(olga().args(&["tenant", "list", "--json"]).run().await.ok(), json!([shown]));
    olga().args(&["tenant", "set", "a/c me", "--json"]).run().await.refused(1, "ERR_INVALID_REQUEST");
    olga().args(&["tenant", "show", "nobody", "--json"]).run().await.refused(1, "ERR_NOT_FOUND");
    world.admin("root").args(&["tenant", "show", "a/c me", "--json"]).run().await.refused(1, "ERR_NOT_FOUND");
    world.admin("root").args(&["tenant", "list", "--json"]).run().await.refused(1, "ERR_FORBIDDEN");
    let log = olga().args(&["audit", "--tenant", "a/c me", "--json"]).run().await.ok();
    let actions: Vec<String> = log.as_array().unwrap().iter().map(|entry| text(entry, "action")).collect();
    assert_eq!(actions, ["tenant.create", "tenant.update", "tenant.update", "tenant.read", "audit.read"]);
    let people = olga().args(&["audit", "--tenant", "a/c me", "--verify"]).run().await;
    assert!(people.stdout.starts_with("The audit log is whole.\nentries  6\nhead     6:"), "{people}");
}
