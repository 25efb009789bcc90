//! Of what is sent.

use alpine_api as api;
use api::{OperationKind as Kind, OperationStatus as Status, Scope, SessionState as State};
use serde_json::{Value, json};

use super::{REPO, SHA, at, value};

fn imported_session() -> Value {
    json!({
        "session": {
            "session_id": "s-17", "owner_principal_id": "ann", "repo_url": REPO, "branch": "main", "public": true, "state": State::Ready,
            "target_commit_sha": SHA, "created_at": at(0), "ready_at": at(9),
        },
        "transitions": [{ "to_state": State::Requested, "at": at(0) }, { "to_state": State::Ready, "at": at(9), "operation_id": "op-17" }],
        "operations": [
            { "operation_id": "op-17", "kind": Kind::Up, "status": Status::Succeeded, "created_at": at(0), "finished_at": at(9) },
        ],
        "keys": [{ "key": "up-of-monday", "operation_id": "op-17" }],
        "dry_run": true,
    })
}

/// By the operation's id.
pub(super) fn examples(operation: &str) -> Vec<(&'static str, Value)> {
    let up = |public, repo_token: Option<&str>| {
        value(api::UpSession {
            repo_url: REPO.into(),
            branch: "main".into(),
            public,
            repo_token: repo_token.map(str::to_owned),
            max_lifetime_seconds: None,
            idle_timeout_seconds: None,
            class: None,
        })
    };
    match operation {
        "createSession" => vec![("public", up(true, None)), ("with_a_token", up(false, Some("ghp_an-example-and-no-token")))],
        "downSession" => vec![
            ("graceful", json!({})),
            ("at_once", value(api::DownSession { force: true, reason: Some("it hangs".into()), ..Default::default() })),
        ],
        "extendSession" => {
            vec![("by_eight_hours", value(api::ExtendSession { lifetime_seconds: Some(28_800) })), ("as_at_first", json!({}))]
        }
        "createToken" => {
            let (name, scopes) = ("nightly build".into(), vec![Scope::SessionsRead, Scope::SessionsWrite]);
            vec![("for_scripts", value(api::CreateToken { name, scopes, expires_in_days: 90 }))]
        }
        "setCredential" => vec![
            ("access_token", json!({ "host": "github.com", "kind": "token", "token": "ghp_an-example-and-no-token" })),
            (
                "deploy_key",
                json!({
                    "host": "github.com", "kind": "deploy_key", "owner": "tenant",
                    "private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\n...\n-----END OPENSSH PRIVATE KEY-----\n",
                    "known_hosts": "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
                }),
            ),
        ],
        "createTenant" => {
            let quotas = api::CreateTenantQuotas {
                max_active_sessions: Some(200),
                max_active_sessions_per_principal: Some(20),
                ..Default::default()
            };
            vec![("with_limits", value(api::CreateTenant { tenant_id: "acme".into(), quotas, reason: Some("signed up".into()) }))]
        }
        "openSession" => vec![("a_port", json!({ "port": 3000 }))],
        "createShare" => vec![
            ("with_colleagues", json!({ "with": ["bob"], "port": 3000, "expires_in": 3600 })),
            ("with_whoever_has_the_link", json!({ "public": true, "expires_in": 3600 })),
        ],
        "importSession" => vec![("a_ready_one", imported_session())],
        "updateTenant" => vec![(
            "more",
            json!({ "max_active_sessions": 400, "max_operations": null, "max_lifetime_seconds": 28_800, "reason": "they asked for more" }),
        )],
        _ => Vec::new(),
    }
}
