//! Sandbox classes: who may choose which, what a session then has, and what of it counts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use alpine_tests::{REPO, World, cli::text, server::Server};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

const CLASSES: &str = r#"
default = "standard"
[[class]]
name = "standard"
description = "what most need"
memory_mb = 1500
cpus = 1.5
[[class]]
name = "small"
memory_mb = 1024
cpus = 0.5
disk_mb = 48
lifetime_seconds = 600
max_lifetime_seconds = 1200
[[class]]
name = "theirs"
tenants = ["acme"]
"#;
/// Takes more of the disk than `small` has, and stays for long enough to be seen.
const LARGE: &str = "install = \"head -c 80000000 /dev/zero > big && sleep 5\"";

struct Offered {
    world: World,
    file: tempfile::NamedTempFile,
}

async fn offered(settings: &[(&str, &str)]) -> Offered {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, CLASSES).unwrap();
    let settings = [settings, &[("ALPINE_CLASSES_FILE", file.path().to_str().unwrap())]].concat();
    Offered { world: World::with(&settings).await, file }
}

fn names(classes: &Value) -> Vec<String> {
    let classes = classes["classes"].as_array().or_else(|| classes.as_array()).unwrap();
    classes.iter().map(|class| text(class, "name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_made_in_the_class_that_was_asked_for_and_has_its_size() {
    let Offered { world, file: _file } = offered(&[]).await;
    let (large, _) = world.git.with_files("org/large", &[(".alpine.toml", LARGE)]);
    let small = world.up("ann", &large, "main", &["--class", "small"]).run().await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
    assert!(text(&small, "cause").contains("it reached its disk limit of 48 MB"), "{small}");
    let standard = text(&world.up("ann", &large, "main", &[]).run().await.ok(), "session_id");
    assert_eq!(world.status("ann", &standard).await.ok()["class"], "standard", "the default one");
    let up = world.up("ann", REPO, "main", &["--class", "small"]).run().await.ok();
    let session = text(&up, "session_id");
    let meta: Value = serde_json::from_slice(&std::fs::read(world.sandbox(&session).join("meta.json")).unwrap()).unwrap();
    assert_eq!((&meta["size"]["memory"], &meta["size"]["cpu_millis"]), (&json!(1024 << 20), &json!(500)));
    let status = world.status("ann", &session).await.ok();
    let at = |field: &str| text(&status, field).parse::<DateTime<Utc>>().unwrap();
    assert_eq!((at("expires_at") - at("ready_at"), &status["class"]), (TimeDelta::seconds(600), &json!("small")));
    let extend = async |time: &str| world.alpine("ann").args(&["extend", &session, "--for", time, "--json"]).run().await;
    extend("20m").await.ok();
    extend("21m").await.refused(1, "ERR_INVALID_REQUEST");
    assert_eq!(world.down("ann", &session, &[]).await.ok()["state"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_and_gets_its_own_classes_and_no_other() {
    let Offered { world, file: _file } = offered(&[("ALPINE_ROLE", "api")]).await;
    let shown = world.alpine("ann").args(&["classes", "--json"]).run().await.ok();
    assert_eq!((names(&shown), &shown[0]["default"]), (vec!["standard".into(), "small".into()], &json!(true)));
    let acme = world.api_of("acme", "eve", &[]);
    assert_eq!(names(acme.get("/v1/classes").await.expect(200)), ["standard", "small", "theirs"]);
    let ask = |api: alpine_tests::api::Api, key: &str, class: &str| {
        let body = json!({ "repo_url": REPO, "branch": "main", "public": true, "class": class });
        alpine_tests::api::send(api.request(Method::POST, "/v1/sessions").header("idempotency-key", key).json(&body))
    };
    ask(acme, "k", "theirs").await.expect(202);
    let cause = "there is no such class here; there are standard, small";
    for class in ["theirs", "no-such"] {
        let reply = ask(world.api("ann"), "k", class).await;
        let refused = reply.expect(422);
        assert_eq!((text(refused, "error_code"), text(refused, "cause")), ("ERR_INVALID_REQUEST".into(), cause.into()), "{class}");
    }
    assert_eq!(world.db.count("sessions").await, 1, "a refusal leaves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_is_part_of_what_makes_two_requests_the_same() {
    let Offered { world, file: _file } = offered(&[("ALPINE_ROLE", "api")]).await;
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&other, "default = \"large\"\n[[class]]\nname = \"large\"\n").unwrap();
    let without = world.another_server(&[("ALPINE_CLASSES_FILE", other.path().to_str().unwrap())]).await;
    let ask = |server: &Server, key: &str, class: Option<&str>| {
        let mut body = json!({ "repo_url": REPO, "branch": "main", "public": true });
        if let Some(class) = class {
            body["class"] = class.into();
        }
        let api = world.api_at(&server.base(), "ann");
        alpine_tests::api::send(api.request(Method::POST, "/v1/sessions").header("idempotency-key", key).json(&body))
    };
    let first = ask(&world.server, "k", Some("small")).await.expect(202)["session_id"].clone();
    assert_eq!(ask(&world.server, "k", Some("small")).await.expect(202)["session_id"], first);
    for other in [Some("standard"), None] {
        assert_eq!(ask(&world.server, "k", other).await.expect(422)["error_code"], "ERR_OPERATION_CONFLICT", "{other:?}");
    }
    // A server that offers it no more still answers a key that has its answer.
    assert_eq!(ask(&without, "k", Some("small")).await.expect(202)["session_id"], first);
    let unknown = ask(&without, "another", Some("small")).await;
    assert_eq!(text(unknown.expect(422), "cause"), "there is no such class here; there are large");
    let plain = ask(&without, "plain", None).await.expect(202)["session_id"].clone();
    let session = world.status("ann", plain.as_str().unwrap()).await.ok();
    assert_eq!(session["class"], "large");
    // What has a size is not for workers of before, which would make it like all others.
    assert_eq!(world.db.count("operations WHERE phase_schema = 2").await, 1);
    assert_eq!(world.db.count("operations WHERE phase_schema = 1").await, 1, "a class that says nothing of sizes");
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_count_the_sizes_of_classes_exactly_however_many_ask_at_once() {
    let Offered { world, file: _file } = offered(&[("ALPINE_ROLE", "api")]).await;
    let olga = world.api_of("house", "olga", &["alpine.operator"]);
    for (quota, most, fit, cause) in [
        ("max_memory_mb", 3100, 3, "the tenant has 3072 of 3100 MB of memory, and this session would take 1024"),
        ("max_cpu_millis", 1000, 2, "the tenant has 1000 of 1000 thousandths of a CPU, and this session would take 500"),
        ("max_disk_mb", 200, 4, "the tenant has 192 of 200 MB of disk, and this session would take 48"),
    ] {
        let body = json!({ "tenant_id": quota, "quotas": { quota: most } });
        olga.send(Method::POST, "/v1/tenants", &body).await.expect(201);
        let ask = |n: usize| {
            let api = world.api_of(quota, "ann", &[]);
            let body = json!({ "repo_url": REPO, "branch": "main", "public": true, "class": "small" });
            tokio::spawn(alpine_tests::api::send(
                api.request(Method::POST, "/v1/sessions").header("idempotency-key", format!("k{n}")).json(&body),
            ))
        };
        let mut accepted = 0;
        for asked in (0..32).map(ask).collect::<Vec<_>>() {
            let reply = asked.await.unwrap();
            if reply.status == 202 {
                accepted += 1;
            } else {
                let refused = reply.expect(429);
                assert_eq!((text(refused, "error_code"), text(refused, "cause")), ("ERR_QUOTA_EXCEEDED".into(), cause.into()));
            }
        }
        assert_eq!(accepted, fit, "{quota}");
        let tenant = olga.get(&format!("/v1/tenants/{quota}")).await.expect(200).clone();
        let sizes =
            json!({ "active_sessions": fit, "operations": fit, "memory_mb": fit * 1024, "cpu_millis": fit * 500, "disk_mb": fit * 48 });
        assert_eq!(tenant["usage"], sizes);
        let listed = olga.get("/v1/tenants").await.expect(200)["tenants"].clone();
        assert!(listed.as_array().unwrap().contains(&tenant), "{listed}");
        // The operators' to change, and at once.
        let admin = world.api_of(quota, "root", &["alpine.admin"]);
        let more = json!({ quota: null });
        admin.send(Method::PATCH, &format!("/v1/tenants/{quota}"), &more).await.expect(403);
        olga.send(Method::PATCH, &format!("/v1/tenants/{quota}"), &more).await.expect(200);
        ask(99).await.unwrap().expect(202);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_start_with_classes_that_cannot_be_meant() {
    let Offered { mut world, file } = offered(&[]).await;
    world.server.kill();
    for (text, said) in [("default = \"a\"\nclass = []\n", "none of the classes"), ("[[class]", "TOML"), ("", "missing field")] {
        std::fs::write(&file, text).unwrap();
        world.server.spawn();
        assert!(!world.server.ended().await.success());
        let log = world.server.log_text();
        assert!(log.contains("cannot be used") && log.contains(said), "{said}: {log}");
    }
}
