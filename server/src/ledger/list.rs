//! `list`: what is active, and what became final in the last 24 hours.

use std::{fmt, str::FromStr};

use alpine_api::{AuditOutcome, SessionId, SessionPage, SessionState, SessionSummary};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, TenantLedger, audit::Deed, scope::in_tenant, views};
use crate::domain::{Fault, principal::Caller};

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub updated_at: DateTime<Utc>,
    pub session_id: SessionId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this list")]
pub struct BadCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.updated_at.timestamp_micros().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.session_id.uuid().as_bytes());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let (time, id) = bytes.split_first_chunk::<8>().ok_or(BadCursor)?;
        // From 1970 to 9999: what a database takes for a date.
        let micros = Some(i64::from_be_bytes(*time)).filter(|micros| (0..253_402_300_800_000_000).contains(micros));
        let updated_at = micros.and_then(DateTime::from_timestamp_micros).ok_or(BadCursor)?;
        let session_id = SessionId::from_uuid(Uuid::from_slice(id).map_err(|_| BadCursor)?);
        Ok(Self { updated_at, session_id })
    }
}

#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub all_owners: bool,
    pub state: Option<SessionState>,
    pub branch: Option<String>,
    pub repo_url: Option<String>,
    pub after: Option<Cursor>,
    pub limit: i64,
}

struct Row {
    session_id: Uuid,
    principal_id: String,
    state: String,
    repo_url: String,
    branch: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    opencode_url: Option<String>,
}

/// Two ranges of two partial indexes, each cut at the page's end before they meet; never an OR.
/// `$owner` decides which pair of indexes serves.
macro_rules! page {
    ($owner:literal, $($arguments:expr),*) => {
        in_tenant!(
            query_as(
                Row,
                r#"SELECT session_id AS "session_id!", principal_id AS "principal_id!", state AS "state!", repo_url AS "repo_url!",
                       branch AS "branch!", created_at AS "created_at!", updated_at AS "updated_at!", opencode_url
                   FROM ("#
                + "(SELECT * FROM sessions WHERE tenant_id = tenant.id AND " + $owner
                + " AND state NOT IN ('stopped', 'failed')
                    AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR branch = $4) AND ($5::text IS NULL OR repo_url = $5)
                    AND (updated_at, session_id) < (coalesce($6, 'infinity'::timestamptz), coalesce($7, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
                    ORDER BY updated_at DESC, session_id DESC LIMIT $8)
                   UNION ALL
                   (SELECT * FROM sessions WHERE tenant_id = tenant.id AND " + $owner
                + " AND state IN ('stopped', 'failed') AND updated_at > now() - interval '24 hours'
                    AND ($3::text IS NULL OR state = $3) AND ($4::text IS NULL OR branch = $4) AND ($5::text IS NULL OR repo_url = $5)
                    AND (updated_at, session_id) < (coalesce($6, 'infinity'::timestamptz), coalesce($7, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
                    ORDER BY updated_at DESC, session_id DESC LIMIT $8)"
                + ") AS page ORDER BY updated_at DESC, session_id DESC LIMIT $8"
            ),
            $($arguments),*
        )
    };
}

impl TenantLedger {
    /// A page, newest `updated_at` first, stable on ties.
    #[tracing::instrument(level = "debug", name = "ledger.list", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "list"))]
    pub async fn list(&self, by: &Caller, query: ListQuery) -> Result<SessionPage, Error> {
        if query.all_owners {
            self.judge_all(by).await?;
        }
        let mut rows = self.rows(by, &query).await?;
        let more = rows.len() as i64 > query.limit;
        rows.truncate(usize::try_from(query.limit).unwrap_or(0));
        let sessions = rows.into_iter().map(SessionSummary::try_from).collect::<Result<Vec<_>, _>>()?;
        let last = sessions.last().filter(|_| more);
        let next_cursor = last.map(|row| Cursor { updated_at: row.updated_at, session_id: row.session_id }.to_string());
        Ok(SessionPage { sessions, next_cursor })
    }

    /// Everybody's sessions are an admin's to see, and that is on record.
    async fn judge_all(&self, by: &Caller) -> Result<(), Error> {
        let outcome = if by.is_admin() { AuditOutcome::Done } else { AuditOutcome::Denied };
        let target = self.tenant.as_str();
        let deed = Deed::on("session.list_all", outcome, target);
        self.record_deed(self.statements(), by, &deed).await?;
        if by.is_admin() { Ok(()) } else { Err(Fault::NotAdmin.into()) }
    }

    async fn rows(&self, by: &Caller, query: &ListQuery) -> Result<Vec<Row>, Error> {
        let tenant = self.tenant.as_str();
        let state = query.state.map(SessionState::as_str);
        let (updated_at, id) = (query.after.map(|c| c.updated_at), query.after.map(|c| c.session_id.uuid()));
        let (owner, limit) = (by.id.as_str(), query.limit + 1);
        let (branch, repo) = (query.branch.as_deref(), query.repo_url.as_deref());
        let rows = if query.all_owners {
            // The parameter keeps its place so that both forms take the same arguments.
            page!("($2::text IS NOT NULL)", tenant, owner, state, branch, repo, updated_at, id, limit).fetch_all(self.statements()).await?
        } else {
            page!("principal_id = $2", tenant, owner, state, branch, repo, updated_at, id, limit).fetch_all(self.statements()).await?
        };
        Ok(rows)
    }
}

impl TryFrom<Row> for SessionSummary {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            session_id: SessionId::from_uuid(row.session_id),
            state: views::read(&row.state)?,
            repo_url: row.repo_url,
            branch: row.branch,
            created_at: row.created_at,
            updated_at: row.updated_at,
            owner_principal_id: row.principal_id,
            opencode_url: row.opencode_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_refused() {
        let cursor =
            Cursor { updated_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(), session_id: SessionId::generate() };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "x", "AAAA", "????", &"A".repeat(64), "kPpKYsTgAAAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
    }
}
