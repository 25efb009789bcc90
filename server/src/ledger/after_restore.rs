//! What a ledger needs that was brought back from a backup, before anybody works on it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection, PgTransaction};

use super::{Error, connect::read_url};
use crate::domain::principal::SYSTEM_ACTOR;

const REQUEST_ID: &str = "after-restore";
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Leases whose fence was raised.
    pub leases: u64,
    /// Operations that go on, with the time that they had left.
    pub operations: u64,
    /// Tenants in whose audit log it stands.
    pub tenants: u64,
    /// The last moment that the ledger knows of; `None`: it is empty.
    pub newest: Option<DateTime<Utc>>,
}

/// Take the sessions that are not over from whoever worked on them, under fences that nobody has ever had, and let their operations
/// go on as if no time had passed since the ledger's last change of a session. One transaction; a second run does no harm.
///
/// A restored ledger would give out fences a second time: to providers, which remember the first, two workers would be one. The
/// milliseconds since 1970 are beyond every fence given out since an earlier restore too, as a session is claimed less often.
pub async fn after_restore(database_url: &SecretString) -> Result<Restored, Error> {
    let mut tries = TRIES;
    loop {
        match attempt(database_url).await {
            // Servers that work on it lock many leases at once, too, and in another order.
            Err(Error::Unavailable(sqlx::Error::Database(error))) if tries > 0 => {
                tries -= 1;
                tracing::warn!(%error, "tried again");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

async fn attempt(database_url: &SecretString) -> Result<Restored, Error> {
    let options = read_url(database_url).map_err(Error::DatabaseUrl)?.application_name("alpine-server after-restore");
    // Servers that work on it already hold leases for moments only.
    let mut connection = PgConnection::connect_with(&options.options([("lock_timeout", "30s")])).await?;
    let mut tx = connection.begin().await?;
    super::verify::sees_everything(&mut tx).await?;
    let newest = newest(&mut tx).await?;
    let leases = raise_fences(&mut tx).await?;
    let operations = carry_over(&mut tx, newest).await?;
    let tenants = write_down(&mut tx, newest).await?;
    tx.commit().await?;
    connection.close().await?;
    Ok(Restored { leases, operations, tenants, newest })
}

/// An operation's `available_at` is there for a second run, which finds what the first has set.
async fn newest(tx: &mut PgTransaction<'_>) -> Result<Option<DateTime<Utc>>, Error> {
    let newest = sqlx::query_scalar!(
        "SELECT greatest((SELECT max(updated_at) FROM sessions), (SELECT max(created_at) FROM operations),
                (SELECT max(available_at) FROM operations WHERE status IN ('queued', 'running') AND available_at <= now()))"
    );
    Ok(newest.fetch_one(&mut **tx).await?)
}

/// Of a session that is over there is no sandbox and nothing to claim.
async fn raise_fences(tx: &mut PgTransaction<'_>) -> Result<u64, Error> {
    let raised = sqlx::query!(
        "UPDATE leases l
         SET fence = greatest(l.fence + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint), owner = NULL, until = NULL
         FROM sessions s
         WHERE s.tenant_id = l.tenant_id AND s.session_id = l.session_id AND s.state NOT IN ('stopped', 'failed')"
    );
    Ok(raised.execute(&mut **tx).await?.rows_affected())
}

async fn carry_over(tx: &mut PgTransaction<'_>, newest: Option<DateTime<Utc>>) -> Result<u64, Error> {
    let carried = sqlx::query!(
        "UPDATE operations
         SET deadline_at = deadline_at + (now() - $1), phase_started_at = phase_started_at + (now() - $1), available_at = now(), phase_attempt = 0
         WHERE status IN ('queued', 'running')",
        newest
    );
    Ok(carried.execute(&mut **tx).await?.rows_affected())
}

/// In each tenant's chain, so that whoever reads it knows why later entries that were once seen are gone.
async fn write_down(tx: &mut PgTransaction<'_>, newest: Option<DateTime<Utc>>) -> Result<u64, Error> {
    let written = sqlx::query!(
        "INSERT INTO audit_log (tenant_id, at, actor, actor_tenant, action, outcome, target, reason, request_id)
         SELECT tenant_id, now(), $1, tenant_id, 'ledger.restore', 'done', tenant_id, $2, $3 FROM tenants ORDER BY tenant_id",
        SYSTEM_ACTOR,
        newest.map(|at| format!("brought back as it was at {}", at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))),
        REQUEST_ID
    );
    Ok(written.execute(&mut **tx).await?.rows_affected())
}
