//! The end of a run: no more faults, and all comes to rest. Then every request is made once more.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use serde_json::json;
use sqlx::PgConnection;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    client::{Client, Up},
    watch::Watch,
};

/// Beyond this, what is still under way is stuck.
const LIMIT: Duration = Duration::from_secs(150);
/// Rest that lasts this long is rest: sweepers and reconcilers have had their rounds.
const ROUNDS: Duration = Duration::from_secs(12);

/// What is not at rest, in words; and whose record waits for an explicit retry.
#[derive(Debug, Default)]
struct Unrest {
    under_way: Vec<String>,
    to_retry: Vec<(Up, String)>,
}

/// Whether all came to rest in time; how long it took.
pub async fn rest(connection: &mut PgConnection, client: &Client, watch: &Watch) -> sqlx::Result<Duration> {
    let begun = Instant::now();
    let mut quiet_since = Instant::now();
    loop {
        let unrest = look(connection).await?;
        for (up, session) in &unrest.to_retry {
            client.down(up, session, json!({ "retry_persist": true })).await;
        }
        if !(unrest.under_way.is_empty() && unrest.to_retry.is_empty()) {
            quiet_since = Instant::now();
        }
        if quiet_since.elapsed() > ROUNDS {
            return Ok(quiet_since.duration_since(begun));
        }
        if begun.elapsed() > LIMIT {
            for what in unrest.under_way {
                watch.violation("all_comes_to_rest", what);
            }
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
async fn look(connection: &mut PgConnection) -> sqlx::Result<Unrest> {
    let rows: Vec<(String, String, Uuid, String, Option<String>)> = sqlx::query_as(
        "SELECT s.tenant_id, s.principal_id, s.session_id, s.state, o.kind || ' ' || o.status || ' in ' || o.phase
         FROM sessions s LEFT JOIN operations o ON o.tenant_id = s.tenant_id AND o.session_id = s.session_id AND o.finished_at IS NULL
         WHERE o.operation_id IS NOT NULL OR s.state NOT IN ('ready', 'stopped', 'failed')",
    )
    .fetch_all(connection)
    .await?;
    let mut unrest = Unrest::default();
    for (tenant, principal, session, state, operation) in rows {
        let session = SessionId::from_uuid(session).to_string();
        match (state.as_str(), &operation) {
            ("persist_failed" | "stopped_unpersisted", None) => unrest.to_retry.push((owner(tenant, principal), session)),
            _ => unrest.under_way.push(format!("{session} is {state}; {}", operation.as_deref().unwrap_or("no operation"))),
        }
    }
    Ok(unrest)
}

fn owner(tenant: String, principal: String) -> Up {
    Up { tenant, principal, key: String::new(), repo_url: String::new(), branch: "" }
}

/// Every `up` that was accepted, and the `down` of every session that is over, several times and through any replica: what was told
/// is told again.
pub async fn replay(connection: &mut PgConnection, client: &Client) -> sqlx::Result<u64> {
    let accepted = accepted(connection).await?;
    let is_accepted = |up: &Up| accepted.contains(&(up.tenant.clone(), up.principal.clone(), up.key.clone()));
    let mut requests: Vec<(Up, Option<String>)> = client.journal.ups().into_iter().filter(is_accepted).map(|up| (up, None)).collect();
    requests.extend(over(connection).await?.into_iter().map(|(up, session)| (up, Some(session))));
    let requests: Vec<_> = requests.iter().chain(&requests).cloned().collect();
    let count = requests.len() as u64;
    let queue = Arc::new(Mutex::new(requests));
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let (client, queue) = (client.clone(), Arc::clone(&queue));
        all.spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                match next {
                    Some((up, None)) => client.up(&up).await,
                    Some((up, Some(session))) => client.down(&up, &session, json!({})).await,
                    None => return,
                };
            }
        });
    }
    all.join_all().await;
    Ok(count)
}

#[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
async fn accepted(connection: &mut PgConnection) -> sqlx::Result<BTreeSet<(String, String, String)>> {
    let rows = sqlx::query_as("SELECT tenant_id, principal_id, key FROM idempotency_keys").fetch_all(connection).await?;
    Ok(rows.into_iter().collect())
}

#[expect(clippy::disallowed_methods, reason = "the ledger is looked at from outside, whatever the schema of the day")]
async fn over(connection: &mut PgConnection) -> sqlx::Result<Vec<(Up, String)>> {
    let rows: Vec<(String, String, Uuid)> =
        sqlx::query_as("SELECT tenant_id, principal_id, session_id FROM sessions WHERE state IN ('stopped', 'failed')")
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(|(tenant, principal, id)| (owner(tenant, principal), SessionId::from_uuid(id).to_string())).collect())
}
