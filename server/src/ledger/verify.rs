//! Whether a ledger is whole: what a restored copy is asked before it is trusted. It only reads.

use std::fmt;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

use super::{Error, connect::read_url};

/// Of each fault so many are told.
const TOLD: i64 = 20;

/// What there is, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub sessions: i64,
    pub records: i64,
    pub audit_entries: i64,
    pub newest: Option<DateTime<Utc>>,
    pub faults: Vec<String>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.newest.map_or_else(|| "none".to_owned(), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        let Self { sessions, records, audit_entries, .. } = self;
        write!(f, "{sessions} sessions, {records} records, {audit_entries} audit entries, newest change {newest}")
    }
}

/// Read all of it, in one snapshot.
pub async fn verify(database_url: &SecretString) -> Result<Verified, Error> {
    let options = read_url(database_url).map_err(Error::DatabaseUrl)?.application_name("alpine-server verify-ledger");
    let mut connection = PgConnection::connect_with(&options).await?;
    let mut tx = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sees_everything(&mut tx).await?;
    let counts = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM sessions) AS "sessions!", (SELECT count(*) FROM session_records) AS "records!",
               (SELECT count(*) FROM audit_log) AS "audit_entries!", (SELECT max(updated_at) FROM sessions) AS newest"#
    );
    let counts = counts.fetch_one(&mut *tx).await?;
    let mut faults = audit_entries(&mut tx).await?;
    faults.extend(audit_heads(&mut tx).await?);
    faults.extend(records(&mut tx).await?);
    faults.extend(sessions(&mut tx).await?);
    tx.rollback().await?;
    connection.close().await?;
    Ok(Verified { sessions: counts.sessions, records: counts.records, audit_entries: counts.audit_entries, newest: counts.newest, faults })
}

/// Row-level security would hide rows from others, and what is hidden seems to be whole.
pub(super) async fn sees_everything(connection: &mut PgConnection) -> Result<(), Error> {
    let sees = sqlx::query_scalar!(
        r#"SELECT bool_and(pg_has_role(current_user, r.name, 'USAGE')) AS "sees!"
           FROM unnest(ARRAY['alpine_worker', 'alpine_definer']) AS r (name)"#
    );
    if sees.fetch_one(connection).await? { Ok(()) } else { Err(Error::NotTheOwner) }
}

/// Each entry is of its content, in its place, and follows the one before.
async fn audit_entries(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let broken = sqlx::query_scalar!(
        r#"SELECT format('audit log of tenant %s: entry %s is changed, or one is missing before it', tenant_id, seq) AS "fault!"
           FROM (
               SELECT tenant_id, seq, hash <> audit_digest(a) AS changed, prev_hash IS DISTINCT FROM coalesce(lag(hash) OVER chain, '') AS unchained,
                   seq <> row_number() OVER chain AS displaced
               FROM audit_log a WINDOW chain AS (PARTITION BY tenant_id ORDER BY seq)
           ) AS entry
           WHERE changed OR unchained OR displaced ORDER BY tenant_id, seq LIMIT $1"#,
        TOLD
    );
    Ok(broken.fetch_all(connection).await?)
}

/// Each chain goes as far as its head says.
async fn audit_heads(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let broken = sqlx::query_scalar!(
        r#"SELECT format('audit log of tenant %s: it does not end where its head says (entry %s)', coalesce(h.tenant_id, a.tenant_id), h.seq) AS "fault!"
           FROM audit_heads h
           FULL JOIN (SELECT DISTINCT ON (tenant_id) tenant_id, seq, hash FROM audit_log ORDER BY tenant_id, seq DESC) AS a USING (tenant_id)
           WHERE (h.seq, h.hash) IS DISTINCT FROM (a.seq, a.hash) ORDER BY 1 LIMIT $1"#,
        TOLD
    );
    Ok(broken.fetch_all(connection).await?)
}

/// Each record has its digest, and each stopped session a verified one of its own.
async fn records(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let mut faults = sqlx::query_scalar!(
        r#"SELECT format('record %s of session %s: its digest is another', durable_object_id, session_id) AS "fault!"
           FROM session_records WHERE sha256(payload) <> sha256 ORDER BY 1 LIMIT $1"#,
        TOLD
    )
    .fetch_all(&mut *connection)
    .await?;
    let without = sqlx::query_scalar!(
        r#"SELECT format('session %s is stopped and has no verified record', session_id) AS "fault!"
           FROM sessions s
           WHERE state = 'stopped' AND NOT EXISTS (
               SELECT FROM session_records r
               WHERE r.tenant_id = s.tenant_id AND r.session_id = s.session_id AND r.durable_object_id = s.durable_object_id
                 AND r.persisted_at = s.persisted_at AND r.verified_at IS NOT NULL)
           ORDER BY 1 LIMIT $1"#,
        TOLD
    );
    faults.extend(without.fetch_all(connection).await?);
    Ok(faults)
}

/// What the guards of the database check at each commit, for all sessions.
async fn sessions(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    let inconsistent = sqlx::query_scalar!(
        r#"SELECT format('session %s is %s, which its transitions, operations or lease do not bear out', session_id, state) AS "fault!"
           FROM sessions s
           WHERE NOT EXISTS (
                   SELECT FROM transitions t
                   WHERE t.tenant_id = s.tenant_id AND t.session_id = s.session_id AND t.seq = s.transition_seq AND t.to_state = s.state)
               OR NOT EXISTS (SELECT FROM leases l WHERE l.tenant_id = s.tenant_id AND l.session_id = s.session_id)
               OR (state IN ('requested', 'provisioning', 'repo_syncing', 'installing', 'failing', 'stopping', 'persisting')) IS DISTINCT FROM EXISTS (
                   SELECT FROM operations o
                   WHERE o.tenant_id = s.tenant_id AND o.session_id = s.session_id AND o.status IN ('queued', 'running'))
           ORDER BY 1 LIMIT $1"#,
        TOLD
    );
    Ok(inconsistent.fetch_all(connection).await?)
}
