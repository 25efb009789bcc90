//! Quotas: exact however many ask at once, and never in the way of what ends or is known already.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{REPO, World, api::Api, cli::text};
use reqwest::Method;
use serde_json::json;

const AT_ONCE: usize = 64;

fn operator(world: &World) -> Api {
    world.api_of("house", "olga", &["alpine.operator"])
}

/// Sixty-four ask at once, of two principals in turn; how many were accepted, and what the others were told.
async fn rush(world: &World, tenant: &str) -> (usize, Vec<String>) {
    let ask = |n: usize| {
        let api = world.api_of(tenant, if n.is_multiple_of(2) { "ann" } else { "bob" }, &[]);
        tokio::spawn(async move { api.up(&format!("k{n}"), REPO, "main").await })
    };
    let (mut accepted, mut causes) = (0, Vec::new());
    for asked in (0..AT_ONCE).map(ask).collect::<Vec<_>>() {
        let reply = asked.await.unwrap();
        if reply.status == 202 {
            accepted += 1;
            continue;
        }
        let body = reply.expect(429);
        assert_eq!(text(body, "error_code"), "ERR_QUOTA_EXCEEDED");
        causes.push(text(body, "cause"));
    }
    causes.sort();
    causes.dedup();
    (accepted, causes)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_four_quotas_is_exact_when_64_ask_at_once_and_names_limit_and_use() {
    let world = World::with(&[("ALPINE_ROLE", "api")]).await;
    let olga = operator(&world);
    for (quota, most, fit, cause) in [
        ("max_active_sessions", 7, 7, "the tenant has 7 of 7 active sessions"),
        ("max_active_sessions_per_principal", 5, 10, "the principal has 5 of 5 active sessions"),
        ("max_operations", 6, 6, "the tenant has 6 of 6 operations in flight"),
        ("max_operations_per_principal", 3, 6, "the principal has 3 of 3 operations in flight"),
        ("max_operations", 0, 0, "the tenant has 0 of 0 operations in flight"),
    ] {
        let tenant = format!("{quota}-{most}");
        let body = json!({ "tenant_id": tenant, "quotas": { quota: most } });
        olga.send(Method::POST, "/v1/tenants", &body).await.expect(201);
        assert_eq!(rush(&world, &tenant).await, (fit, vec![cause.to_owned()]), "{quota}");
        let used = olga.get(&format!("/v1/tenants/{tenant}")).await.expect(200)["usage"].clone();
        assert_eq!(used, json!({ "active_sessions": fit, "operations": fit, "memory_mb": 0, "cpu_millis": 0, "disk_mb": 0 }), "{quota}");
    }
    // Nobody else's quota is touched.
    world.api("ann").up("k", REPO, "main").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_refuses_no_replay_and_no_down_and_is_free_again_after_it() {
    let world = World::start().await;
    let key = ["--client-request-id", "one"];
    let first = world.up("ann", REPO, "main", &key).run().await.ok();
    let session = text(&first, "session_id");
    let full =
        json!({ "max_active_sessions": 1, "max_active_sessions_per_principal": 1, "max_operations": 0, "max_operations_per_principal": 0 });
    operator(&world).send(Method::PATCH, "/v1/tenants/dev", &full).await.expect(200);
    let error = world.up("ann", REPO, "main", &[]).run().await.refused(1, "ERR_QUOTA_EXCEEDED");
    assert_eq!((text(&error, "cause").as_str(), &error["retryable"]), ("the tenant has 1 of 1 active sessions", &json!(true)));
    assert_eq!(world.up("ann", REPO, "main", &key).run().await.ok()["session_id"], session.as_str(), "the same key is the same session");
    // No operation may begin, and still what runs can be stopped.
    assert_eq!(world.down("ann", &session, &[]).await.ok()["state"], "stopped");
    let open = json!({ "max_operations": 1, "max_operations_per_principal": null });
    operator(&world).send(Method::PATCH, "/v1/tenants/dev", &open).await.expect(200);
    world.ready("ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_operators_make_tenants_an_unknown_one_is_refused_and_leaves_nothing() {
    let world = World::with(&[("ALPINE_ROLE", "api"), ("ALPINE_TENANTS", "operator")]).await;
    let ann = world.api_of("acme", "ann", &[]);
    let refused = ann.up("k", REPO, "main").await;
    let body = refused.expect(403);
    assert_eq!((text(body, "error_code"), text(body, "cause")), ("ERR_FORBIDDEN".into(), "the tenant is not known here".into()));
    for table in ["tenants", "sessions", "operations", "idempotency_keys", "leases"] {
        assert_eq!(world.db.count(table).await, 0, "{table}");
    }
    let body = json!({ "tenant_id": "acme", "quotas": {} });
    operator(&world).send(Method::POST, "/v1/tenants", &body).await.expect(201);
    ann.up("k", REPO, "main").await.expect(202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_seen_for_the_first_time_gets_the_default_quotas_and_keeps_what_it_was_given() {
    let settings = [
        ("ALPINE_ROLE", "api"),
        ("ALPINE_QUOTA_SESSIONS", "3"),
        ("ALPINE_QUOTA_SESSIONS_PER_PRINCIPAL", "2"),
        ("ALPINE_QUOTA_OPERATIONS", "9"),
        ("ALPINE_QUOTA_OPERATIONS_PER_PRINCIPAL", "8"),
    ];
    let world = World::with(&settings).await;
    let olga = operator(&world);
    assert_eq!(rush(&world, "acme").await.0, 3);
    let expected = json!({ "max_active_sessions": 3, "max_active_sessions_per_principal": 2, "max_operations": 9, "max_operations_per_principal": 8, "max_memory_mb": null, "max_cpu_millis": null, "max_disk_mb": null, "max_lifetime_seconds": null, "max_idle_seconds": null });
    assert_eq!(olga.get("/v1/tenants/acme").await.expect(200)["quotas"], expected);
    // What an operator has set is not set back by the next `up`.
    let change = json!({ "max_active_sessions": 4, "max_active_sessions_per_principal": null });
    olga.send(Method::PATCH, "/v1/tenants/acme", &change).await.expect(200);
    world.api_of("acme", "cid", &[]).up("c1", REPO, "main").await.expect(202);
    world.api_of("acme", "cid", &[]).up("c2", REPO, "main").await.expect(429);
    assert_eq!(olga.get("/v1/tenants/acme").await.expect(200)["quotas"]["max_active_sessions"], 4);
}
