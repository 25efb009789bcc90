//! A user of the client that openapi-generator makes of alpine.v1.json. What is between the `docs` marks is shown in docs/clients.md.

use std::{env, error::Error as Failure, fs};

// docs: begin
use alpine_client::{
    apis::{operations_api::get_operation, sessions_api::*},
    models::{OperationStatus, UpSession},
};
// docs: end
use alpine_client::{
    apis::{Error, configuration::Configuration},
    models::{DownSession, Problem, SessionState},
};

fn api() -> Result<Configuration, Box<dyn Failure>> {
    // Which cryptography, as Cargo.toml chose `rustls-no-provider`. With reqwest's `rustls` there is nothing to install.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a provider is there already")?;
    let ca = reqwest::Certificate::from_pem(&fs::read(env::var("ALPINE_CA_FILE")?)?)?;
    let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
    Ok(Configuration {
        base_path: env::var("ALPINE_SERVER")?,
        bearer_access_token: Some(env::var("ALPINE_TOKEN")?),
        client,
        ..Configuration::new()
    })
}

/// What the call was refused with; it must be. `entity` names the first status that fits, so the problem is read from `content`.
fn refusal<T, E>(answer: Result<T, Error<E>>) -> Result<Problem, Box<dyn Failure>> {
    match answer {
        Err(Error::ResponseError(response)) => Ok(serde_json::from_str(&response.content)?),
        Err(_) => Err("it failed otherwise".into()),
        Ok(_) => Err("it was not refused".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Failure>> {
    let api = &api()?;
    let repo_url = env::var("ALPINE_REPO")?;
    // docs: begin

    let up = UpSession { public: Some(true), ..UpSession::new("main".to_owned(), repo_url) };
    let mut operation = create_session(api, "the-key", up.clone(), None).await?;
    while matches!(operation.status, OperationStatus::Queued | OperationStatus::Running) {
        operation = get_operation(api, &operation.operation_id, Some("wait=60")).await?;
    }
    // docs: end
    let ready = operation.clone();
    let session_id = ready.session_id.as_str();
    let replayed = create_session(api, "the-key", up.clone(), None).await?;

    let listed = list_sessions(api, Some(SessionState::Ready), None, None, None, None, Some(10)).await?;
    let status = get_session(api, session_id).await?;
    let mut sequence: Vec<i64> = Vec::new();
    loop {
        let page = list_events(api, session_id, sequence.last().copied(), Some(2), None).await?;
        if page.events.is_empty() {
            break;
        }
        sequence.extend(page.events.iter().map(|event| event.seq));
    }

    // docs: begin
    let stopped = down_session(api, &operation.session_id, Some("wait=60"), None).await?;
    // docs: end
    if stopped.state != SessionState::Stopped {
        return Err(format!("it is {}: {}", stopped.state, stopped.next_step.unwrap_or_default()).into());
    }
    let body = DownSession { reason: Some(Some("once more".to_owned())), ..DownSession::new() };
    let down_again = down_session(api, session_id, None, Some(body)).await?;
    let record = get_record(api, session_id).await?;

    let no_branch = refusal(create_session(api, "another-key", UpSession { branch: "no..branch".to_owned(), ..up }, None).await)?;
    let nobody = refusal(down_session(api, &format!("ses_{}", "0".repeat(32)), None, None).await)?;

    let listed: Vec<_> = listed.sessions.iter().map(|session| &session.session_id).collect();
    let refusals = [no_branch, nobody].map(|problem| serde_json::json!({ "status": problem.status, "error_code": problem.error_code }));
    let summary = serde_json::json!({
        "session_id": session_id,
        "operation_ids": [&ready.operation_id, &replayed.operation_id],
        "ready": ready.state,
        "commit": ready.target_commit_sha,
        "listed": listed,
        "status": status.state,
        "sequence": sequence,
        "down_operation_ids": [&stopped.operation_id, &down_again.operation_id],
        "stopped": stopped.state,
        "verified": stopped.persistence_verified,
        "record_state": record.record.state,
        "sha256": record.sha256,
        "refusals": refusals,
    });
    println!("{summary}");
    Ok(())
}
