//! A session's log: what git, the installer and the served program wrote, in numbered pieces, bounded.

use alpine_api::{LogChunk, LogPage, LogSource, SessionId};
use chrono::{DateTime, Utc};

use super::{Error, Follower, Lease, Ledger, Page, TenantLedger, scope::in_tenant, views::read};
use crate::domain::{
    Fault, lifecycle,
    principal::{Caller, TenantId},
};

/// How many pieces one who follows reads at once.
const FOLLOWED: i64 = 16;

/// How much of one session's log is kept, in bytes. What is beyond it goes, the oldest first.
pub const KEPT_BYTES: i64 = 1024 * 1024;

/// What is appended: at most 64 KiB of text without control characters but newline and tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    pub source: LogSource,
    pub text: String,
}

/// Output of the served program: everything from `from` to `to`, both in bytes of what it has ever written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedPiece {
    pub from: i64,
    pub to: i64,
    pub text: String,
}

pub(super) struct ChunkRow {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub source: String,
    pub text: String,
}

impl TryFrom<ChunkRow> for LogChunk {
    type Error = Error;

    fn try_from(row: ChunkRow) -> Result<Self, Error> {
        Ok(Self { seq: row.seq, at: row.at, source: read(&row.source)?, text: row.text })
    }
}

/// A row of a page: of the session, and of a piece of its log if there is one.
struct PageRow {
    principal_id: String,
    state: String,
    head: i64,
    first_seq: Option<i64>,
    seq: Option<i64>,
    at: Option<DateTime<Utc>>,
    source: Option<String>,
    text: Option<String>,
}

impl PageRow {
    /// `None` on the one row of a page without pieces.
    fn chunk(self) -> Option<Result<LogChunk, Error>> {
        Some(ChunkRow { seq: self.seq?, at: self.at?, source: self.source?, text: self.text? }.try_into())
    }
}

/// A page, and of whom.
struct Read {
    owner: String,
    first_seq: Option<i64>,
    page: Page<LogChunk>,
}

impl TenantLedger {
    /// Up to `limit` pieces of the log that come after number `after`, oldest first.
    #[tracing::instrument(level = "debug", name = "ledger.log", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "log"))]
    pub async fn log(&self, by: &Caller, id: SessionId, after: i64, limit: i64) -> Result<LogPage, Error> {
        let Read { owner, first_seq, page } = self.log_page(id, after, limit).await?;
        self.judge(by, "log.read", id, &owner).await?;
        let next_after = page.items.last().map_or(after, |chunk| chunk.seq);
        Ok(LogPage { chunks: page.items, next_after, first_seq })
    }

    /// Follow the log after number `after`. The caller's right to it is judged, and written down, once: here.
    #[tracing::instrument(level = "debug", name = "ledger.follow_log", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "follow_log"))]
    pub async fn follow_log(&self, by: &Caller, id: SessionId, after: i64) -> Result<Follower<LogChunk>, Error> {
        let Read { owner, page, .. } = self.log_page(id, after, FOLLOWED).await?;
        self.judge(by, "log.read", id, &owner).await?;
        Ok(self.ledger.hub.follow(&self.tenant, id, after, page))
    }

    /// A page for one who follows already.
    #[tracing::instrument(level = "debug", name = "ledger.more_log", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "more_log"))]
    pub async fn more_log(&self, id: SessionId, after: i64) -> Result<Page<LogChunk>, Error> {
        Ok(self.log_page(id, after, FOLLOWED).await?.page)
    }

    /// Whose session it is, and a page of its log: one statement, so that they are of one moment.
    async fn log_page(&self, id: SessionId, after: i64, limit: i64) -> Result<Read, Error> {
        let rows = in_tenant!(
            query_as(
                PageRow,
                r#"SELECT s.principal_id AS "principal_id!", s.state AS "state!", coalesce(h.seq, 0) AS "head!", (
                         SELECT seq FROM session_logs WHERE tenant_id = tenant.id AND session_id = $2 ORDER BY seq LIMIT 1
                     ) AS "first_seq?", l.seq AS "seq?", l.at AS "at?", l.source AS "source?", l.text AS "text?"
                 FROM sessions s LEFT JOIN session_log_heads h ON h.tenant_id = tenant.id AND h.session_id = $2
                 LEFT JOIN LATERAL (
                     SELECT seq, at, source, text FROM session_logs WHERE tenant_id = tenant.id AND session_id = $2 AND seq > $3 ORDER BY seq LIMIT $4
                 ) AS l ON true
                 WHERE s.tenant_id = tenant.id AND s.session_id = $2 ORDER BY l.seq"#
            ),
            self.tenant.as_str(),
            id.uuid(),
            after,
            limit
        )
        .fetch_all(self.statements())
        .await?;
        let session = rows.first().ok_or(Fault::SessionNotFound)?;
        let (owner, first_seq, head) = (session.principal_id.clone(), session.first_seq, session.head);
        let over = lifecycle::is_final(read(&session.state)?);
        let items = rows.into_iter().filter_map(PageRow::chunk).collect::<Result<Vec<_>, _>>()?;
        let short = i64::try_from(items.len()).is_ok_and(|count| count < limit);
        Ok(Read { owner, first_seq, page: Page { items, short, head, over } })
    }
}

impl Ledger {
    /// Append what a phase wrote, under its lease. `Fenced`: nothing was written.
    #[tracing::instrument(level = "debug", name = "ledger.append_log", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "append_log"))]
    pub async fn append_log(&self, lease: &Lease, pieces: &[LogPiece]) -> Result<(), Error> {
        let (sources, texts): (Vec<_>, Vec<_>) = pieces.iter().map(|piece| (piece.source.as_str().to_owned(), piece.text.clone())).unzip();
        let bytes = sqlx::query_scalar!(
            r#"WITH ok AS MATERIALIZED (
                SELECT now() AS at WHERE hold_lease($1, $2, $3, $4)
            ), piece AS (
                SELECT source, text, number FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS p (source, text, number)
            ), size AS (
                SELECT count(*) AS pieces, coalesce(sum(octet_length(text)), 0) AS bytes FROM piece
            ), head AS (
                INSERT INTO session_log_heads AS h (tenant_id, session_id, seq, bytes) SELECT $1, $2, pieces, size.bytes FROM ok, size
                ON CONFLICT (tenant_id, session_id) DO UPDATE SET seq = h.seq + excluded.seq, bytes = h.bytes + excluded.bytes
                RETURNING h.seq, h.bytes
            ), appended AS (
                INSERT INTO session_logs (tenant_id, session_id, seq, at, source, text)
                SELECT $1, $2, head.seq - size.pieces + piece.number, ok.at, piece.source, piece.text FROM ok, head, size, piece
            )
            SELECT bytes AS "bytes!" FROM head"#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            lease.fence,
            lease.owner,
            &sources,
            &texts
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Error::Fenced)?;
        self.appended(&lease.tenant, lease.session, bytes).await;
        Ok(())
    }

    /// Append what the served program wrote. False: another has taken this part already, and nothing was written.
    #[tracing::instrument(level = "debug", name = "ledger.append_served", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "append_served"))]
    pub async fn append_served(&self, tenant: &TenantId, session: SessionId, piece: &ServedPiece) -> Result<bool, Error> {
        let bytes = sqlx::query_scalar!(
            r#"WITH head AS (
                INSERT INTO session_log_heads AS h (tenant_id, session_id, seq, bytes, served_offset)
                SELECT $1, $2, 1, octet_length($5), $4 WHERE $3::bigint = 0
                    OR EXISTS (SELECT FROM session_log_heads WHERE tenant_id = $1 AND session_id = $2)
                ON CONFLICT (tenant_id, session_id) DO UPDATE SET seq = h.seq + 1, bytes = h.bytes + octet_length($5), served_offset = $4
                    WHERE h.served_offset = $3
                RETURNING h.seq, h.bytes
            ), appended AS (
                INSERT INTO session_logs (tenant_id, session_id, seq, source, text) SELECT $1, $2, head.seq, 'server', $5 FROM head
            )
            SELECT bytes AS "bytes!" FROM head"#,
            tenant.as_str(),
            session.uuid(),
            piece.from,
            piece.to,
            piece.text
        )
        .fetch_optional(self.statements())
        .await?;
        let Some(bytes) = bytes else { return Ok(false) };
        self.appended(tenant, session, bytes).await;
        Ok(true)
    }

    /// How far the served program's output has been taken, in bytes of what it has ever written.
    #[tracing::instrument(level = "debug", name = "ledger.served_offset", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "served_offset"))]
    pub async fn served_offset(&self, tenant: &TenantId, session: SessionId) -> Result<i64, Error> {
        let offset = sqlx::query_scalar!(
            "SELECT served_offset FROM session_log_heads WHERE tenant_id = $1 AND session_id = $2",
            tenant.as_str(),
            session.uuid()
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(offset.unwrap_or(0))
    }

    async fn appended(&self, tenant: &TenantId, session: SessionId, bytes: i64) {
        self.hub.logged(session);
        // What is written is written: the next append shortens what this one could not.
        if bytes > KEPT_BYTES
            && let Err(error) = self.shorten_log(tenant, session).await
        {
            tracing::debug!(%session, error = &error as &dyn std::error::Error, "a log was not shortened");
        }
    }

    /// Three quarters of the bound stay, so that this is not done with each piece.
    async fn shorten_log(&self, tenant: &TenantId, session: SessionId) -> Result<(), Error> {
        sqlx::query!(
            "WITH head AS (
                SELECT bytes FROM session_log_heads WHERE tenant_id = $1 AND session_id = $2 AND bytes > $3 FOR UPDATE
            ), sized AS (
                SELECT seq, octet_length(text) AS size, sum(octet_length(text)) OVER (ORDER BY seq DESC) AS with_newer
                FROM session_logs, head WHERE tenant_id = $1 AND session_id = $2
            ), gone AS (
                DELETE FROM session_logs l USING sized
                WHERE l.tenant_id = $1 AND l.session_id = $2 AND l.seq = sized.seq AND sized.with_newer > $3 / 4 * 3
                RETURNING sized.size
            )
            UPDATE session_log_heads SET bytes = bytes - (SELECT coalesce(sum(size), 0) FROM gone) WHERE tenant_id = $1 AND session_id = $2",
            tenant.as_str(),
            session.uuid(),
            KEPT_BYTES
        )
        .execute(self.statements())
        .await?;
        Ok(())
    }
}
