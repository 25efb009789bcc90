//! Two tenants, every operation of the OpenAPI document, own, foreign, absent and malformed ids. What is another tenant's
//! is answered byte for byte as what is not there, and nothing of it changes or shows.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod schemathesis;
mod stage;

use std::collections::BTreeSet;

use alpine_tests::api::{Reply, send};
use reqwest::Method;
use serde_json::{Value, json};
use stage::{Stage, Team};

/// An operation of the document, as a request without its ids.
struct Operation {
    id: String,
    method: Method,
    path: String,
    /// The names in `{…}`.
    parameters: Vec<String>,
}

/// Every operation of the document that the server itself gives out.
async fn operations(stage: &Stage) -> Vec<Operation> {
    let document = stage.north.member.get("/openapi.json").await.expect(200).clone();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            operations.push(Operation {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method,
                path: path.clone(),
                parameters,
            });
        }
    }
    operations
}

/// How an operation reaches what another tenant has: by an id in its path, or by these words in its query or its body.
/// `{foreign}` stands for the other tenant's, or for what is not there. An operation that is missing here fails the test.
fn reach(operation: &str) -> Option<Reach> {
    let none = Reach { body: Value::Null, queries: &[], bodies: &[] };
    Some(match operation {
        // Nobody's data, or only the caller's own.
        "livez" | "readyz" | "metrics" | "openapi" | "protectedResource" | "whoAmI" | "listClasses" => none,
        "getSession" | "getRecord" | "openSession" | "getOperation" | "revokeToken" | "removeCredential" | "getTenant" => none,
        "listEvents" | "getLog" => Reach { queries: &["", "?after=0&limit=5"], ..none },
        "downSession" => Reach { body: json!({ "reason": "tried from another tenant", "force": true }), ..none },
        "listShares" | "removeShare" => none,
        "createShare" => Reach { body: json!({ "public": true }), ..none },
        "extendSession" => Reach { body: json!({ "lifetime_seconds": 3600 }), ..none },
        "updateTenant" => Reach { body: json!({ "max_active_sessions": 1, "max_active_sessions_per_principal": 1 }), ..none },
        "listSessions" => {
            Reach { queries: &["", "?owner=all", "?repo_url={repo}", "?owner=all&branch={branch}", "?owner=all&cursor={cursor}"], ..none }
        }
        "listTokens" => Reach { queries: &["", "?owner=all", "?owner=all&cursor={token}"], ..none },
        "listCredentials" => Reach { queries: &[""], ..none },
        "listTenants" => Reach { queries: &["", "?after=a"], ..none },
        "listAudit" => Reach { queries: &["", "?tenant={tenant}"], ..none },
        "createSession" => Reach { bodies: &["up"], ..none },
        "createToken" => Reach { bodies: &["token"], ..none },
        "setCredential" => Reach { bodies: &["credential"], ..none },
        "importSession" => Reach { bodies: &["import"], ..none },
        "createTenant" => Reach { bodies: &["tenant"], ..none },
        _ => return None,
    })
}

struct Reach {
    /// The body of a request with an id in its path.
    body: Value,
    queries: &'static [&'static str],
    bodies: &'static [&'static str],
}

/// What a reply is, apart from what differs between any two: the request's id, the time, what is left of a rate.
fn essence(reply: &Reply, id: &str) -> (u16, String, BTreeSet<String>) {
    let request_id = reply.headers["x-request-id"].to_str().unwrap();
    let text = reply.text.replace(id, "{id}").replace(request_id, "{request}");
    let passing = |name: &str| matches!(name, "date" | "x-request-id" | "content-length") || name.starts_with("ratelimit-");
    let headers = reply.headers.iter().filter(|(name, _)| !passing(name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap().replace(id, "{id}"))).collect();
    (reply.status.as_u16(), text, headers)
}

async fn ask(team: &Team, admin: bool, operation: &Operation, path: &str, body: &Value) -> Reply {
    let api = if admin { &team.admin } else { &team.member };
    let request = api.request(operation.method.clone(), path).header("Idempotency-Key", "south-alone");
    send(if body.is_null() { request } else { request.json(body) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_tenants_is_not_there() {
    let stage = Stage::set().await;
    let before = stage.everything_of("south").await;
    let mut wrong = Vec::new();
    let mut compared = 0;
    for operation in operations(&stage).await {
        let Some(reach) = reach(&operation.id) else {
            panic!("{} is a new operation: say in `reach` how it could reach what is another tenant's", operation.id);
        };
        for admin in [false, true] {
            for parameter in &operation.parameters {
                for query in if reach.queries.is_empty() { &[""] } else { reach.queries } {
                    let path = |id: &str| operation.path.replace(&format!("{{{parameter}}}"), id) + query;
                    let (foreign, absent) = (stage.south.id(parameter), stage::absent(parameter));
                    let foreign_reply = ask(&stage.north, admin, &operation, &path(&foreign), &reach.body).await;
                    let absent_reply = ask(&stage.north, admin, &operation, &path(&absent), &reach.body).await;
                    let (seen, expected) = (essence(&foreign_reply, &foreign), essence(&absent_reply, &absent));
                    if seen != expected || !foreign_reply.status.is_client_error() {
                        wrong.push(format!("{} (admin: {admin}): foreign {seen:?}\n  absent {expected:?}", operation.id));
                    }
                    compared += 1;
                    for reply in [foreign_reply, absent_reply] {
                        wrong.extend(stage.leaks(&format!("{} {query}", operation.id), &reply, &[&foreign]));
                    }
                    for malformed in stage::malformed(parameter) {
                        let reply = ask(&stage.north, admin, &operation, &path(&malformed), &reach.body).await;
                        if !reply.status.is_client_error() {
                            wrong.push(format!("{} with the id {malformed:?}: {} {}", operation.id, reply.status, reply.text));
                        }
                        wrong.extend(stage.leaks(&operation.id, &reply, &[]));
                    }
                }
            }
            if operation.parameters.is_empty() {
                wrong.extend(by_words(&stage, admin, &operation, &reach).await);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 18, "{compared}");
    assert_eq!(stage.everything_of("south").await, before, "something of the other tenant has changed");
}

/// Operations without an id in their path: what they say of the other tenant is what they say of one that is not there.
async fn by_words(stage: &Stage, admin: bool, operation: &Operation, reach: &Reach) -> Vec<String> {
    let mut wrong = Vec::new();
    for query in if reach.bodies.is_empty() && reach.queries.is_empty() { &[""] } else { reach.queries } {
        let (foreign, absent) = (stage.words(query, true), stage.words(query, false));
        let foreign_reply = ask(&stage.north, admin, operation, &format!("{}{foreign}", operation.path), &Value::Null).await;
        let absent_reply = ask(&stage.north, admin, operation, &format!("{}{absent}", operation.path), &Value::Null).await;
        if operation.id != "metrics" && query.contains('{') && essence(&foreign_reply, "south").0 != essence(&absent_reply, "nowhere").0 {
            wrong.push(format!("{}{query}: {} but {}", operation.id, foreign_reply.status, absent_reply.status));
        }
        if query.contains('{')
            && foreign_reply.status.is_client_error()
            && essence(&foreign_reply, "south") != essence(&absent_reply, "nowhere")
        {
            wrong.push(format!("{}{query}: {} but {}", operation.id, foreign_reply.text, absent_reply.text));
        }
        wrong.extend(stage.leaks(&format!("{}{query}", operation.id), &foreign_reply, &[]));
    }
    for body in reach.bodies {
        // With the very values that the other tenant has used, keys and names included.
        let (foreign, absent) = (stage.body(body, true), stage.body(body, false));
        let foreign_reply = ask(&stage.north, admin, operation, &operation.path, &foreign).await;
        let absent_reply = ask(&stage.north, admin, operation, &operation.path, &absent).await;
        let alike =
            foreign_reply.status == absent_reply.status || (operation.id == "createSession" && foreign_reply.status.as_u16() == 202);
        if !alike || foreign_reply.status.is_server_error() {
            wrong.push(format!("{} {body}: {} {} but {}", operation.id, foreign_reply.status, foreign_reply.text, absent_reply.status));
        }
        wrong.extend(stage.leaks(
            &format!("{} {body}", operation.id),
            &foreign_reply,
            &stage.said(body).iter().map(String::as_str).collect::<Vec<_>>(),
        ));
    }
    wrong
}

/// The other side of the coin: without it a server that refuses everything would pass.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_ones_own_is_there() {
    let stage = Stage::set().await;
    for operation in operations(&stage).await {
        let Some(parameter) = operation.parameters.first().filter(|_| operation.method == Method::GET) else { continue };
        let own = stage.north.id(parameter);
        let path = operation.path.replace(&format!("{{{parameter}}}"), &own);
        let reply = ask(&stage.north, true, &operation, &path, &Value::Null).await;
        assert!(reply.status.is_success(), "{} {path}: {} {}", operation.id, reply.status, reply.text);
        // A log names nobody, and a session that is over is shared with nobody.
        let written = operation.id == "getLog" && reply.text.contains("\"chunks\":") || operation.id == "listShares";
        assert!(written || reply.text.contains(&own) || reply.text.contains("north canary reason"), "{}", reply.text);
    }
    // And what the canaries of the other tenant are is visible to it: they can leak.
    let seen = [
        stage.south.admin.get("/v1/sessions?owner=all").await.text,
        stage.south.admin.get("/v1/tokens?owner=all").await.text,
        stage.south.admin.get("/v1/credentials").await.text,
        stage.south.admin.get("/v1/audit").await.text,
        stage.south.member.get(&format!("/v1/sessions/{}/events", stage.south.id("session_id"))).await.text,
    ]
    .join("\n");
    for canary in stage.canaries() {
        assert!(seen.contains(&canary), "{canary} is nowhere, so it proves nothing: {seen}");
    }
}
