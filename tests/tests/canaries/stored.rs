//! Credentials that are stored: put through the API and by `alpine`, used, replaced, sealed anew, removed.

use std::process::{Command, Stdio};

use alpine_tests::{bins, cli::text, ground::write_secret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{callers::assert_refused, needles::random, stage::Stage};

const OLD: &str = "ALPINE_CREDENTIAL_OLD_KEY_FILES";

/// A principal's and a tenant's token, and a deploy key.
pub async fn credentials(stage: &mut Stage) {
    let own = stage.secret("a stored token of a principal");
    let repo = stage.repository("org/stored", &own);
    let put = put(stage, json!({ "host": "github.com", "kind": "token", "token": own })).await;
    let done = stage.up(&repo, json!({})).await;
    stage.ends(&done, "succeeded").await;

    let wrong = stage.secret("a stored token that opens nothing");
    let words = ["credential", "set", "github.com", "--token-stdin", "--json"];
    let set = stage.run(stage.alpine(&stage.jwt).args(&words).stdin(&format!("{wrong}\n"))).await.ok();
    assert_eq!(set["credential_id"], put["credential_id"], "in place of the first");
    let failed = stage.up(&repo, json!({})).await;
    stage.ends(&failed, "failed").await;

    let tenants = stage.secret("a stored token of a tenant");
    stage.world.git.protect("org/stored", &tenants);
    let admin = stage.world.token("dev", "root", &["alpine.admin"]);
    stage.know_jwt("an admin's bearer token", &admin);
    let body = json!({ "host": "github.com", "kind": "token", "owner": "tenant", "token": tenants });
    stage.ask(stage.with_token(&admin).request(Method::PUT, "/v1/credentials").json(&body)).await.expect(201);
    let path = format!("/v1/credentials/{}", text(&put, "credential_id"));
    stage.ask(stage.ann().request(Method::DELETE, &path)).await.expect(204);
    let done = stage.up(&repo, json!({})).await;
    stage.ends(&done, "succeeded").await;
    refused(stage).await;
    deploy_key(stage).await;
    stage.get("/v1/credentials").await.expect(200);
    stage.run(stage.alpine(&stage.jwt).args(&["credential", "list"])).await;
}

async fn put(stage: &Stage, body: Value) -> Value {
    stage.ask(stage.ann().request(Method::PUT, "/v1/credentials").json(&body)).await.expect(201).clone()
}

/// What cannot be stored is not told again.
async fn refused(stage: &mut Stage) {
    let token = stage.secret("a credential that is refused");
    for body in [
        json!({ "host": "github.com", "kind": "token", "token": format!("{token}\n{token}") }),
        json!({ "host": "github.com", "kind": "deploy_key", "private_key": token, "known_hosts": token }),
        json!({ "host": "github.com", "kind": token, "token": token }),
        json!({ "host": format!("https://u:{token}@github.com/"), "kind": "token", "token": token }),
        json!({ "host": "github.com", "kind": "token", "owner": token, "token": { "is": token } }),
    ] {
        assert_refused(&stage.ask(stage.ann().request(Method::PUT, "/v1/credentials").json(&body)).await);
    }
}

/// A key of ssh that goes where nobody listens: the server gives it to an agent, and git fails.
async fn deploy_key(stage: &mut Stage) {
    let path = stage.world.dir.join("deploy-key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "canary", "-f"]).arg(&path).status();
    assert!(made.expect("ssh-keygen runs").success());
    let key = std::fs::read_to_string(&path).unwrap();
    // The second line is the same in every key, the public half included; the third has the private one.
    stage.kinds.add("a deploy key", key.lines().nth(3).unwrap().as_bytes());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    put(
        stage,
        json!({ "host": "127.0.0.1:9", "kind": "deploy_key", "private_key": key, "known_hosts": format!("[127.0.0.1]:9 {public}") }),
    )
    .await;
    let up = stage.up("ssh://git@127.0.0.1:9/org/repo.git", json!({})).await;
    stage.ends(&up, "failed").await;
}

/// All that is stored is sealed anew with another key, and used once more.
pub async fn rotation(stage: &mut Stage) {
    let (old, new) = (stage.world.dir.join("credential.key"), stage.world.dir.join("credential.new.key"));
    let bytes = [random(), random()].concat().into_bytes()[..32].to_vec();
    stage.kinds.add("the next key that seals", &bytes);
    write_secret(&new, &bytes);
    let mut command = Command::new(bins::path("alpine-server"));
    command.arg("rotate-credentials").env_clear().env("DATABASE_URL", &stage.world.db.url).stdin(Stdio::null());
    let output = command.env("ALPINE_CREDENTIAL_KEY_FILE", &new).env(OLD, &old).output().expect("alpine-server runs");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");
    stage.keep("what alpine-server says", &said);
    stage.world.server.terminate().await;
    stage.world.server.configure("ALPINE_CREDENTIAL_KEY_FILE", Some(new.display().to_string()));
    stage.world.server.configure("OTEL_EXPORTER_OTLP_ENDPOINT", Some(stage.grpc_receiver.endpoint.clone()));
    stage.world.server.configure("OTEL_EXPORTER_OTLP_PROTOCOL", Some("grpc".to_owned()));
    stage.world.server.start_again().await;
    let done = stage.up("https://github.com/org/stored.git", json!({})).await;
    stage.ends(&done, "succeeded").await;
}
