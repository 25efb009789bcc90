//! What those who wait and watch are told, read for all of them together. The API's role asks by functions that look
//! across tenants; what they find goes to those alone who were let in to it.

use std::collections::{HashMap, HashSet};

use alpine_api::{Event, LogChunk, OperationId, SessionId};
use uuid::Uuid;

use super::{
    Hub, POLL,
    feeds::{Head, Told},
};
use crate::{
    domain::principal::TenantId,
    ledger::{
        Error,
        events::EventRow,
        log::ChunkRow,
        views::{OperationRow, read},
    },
    metrics::Metrics,
};

/// Of one session at once.
const EVENTS: i64 = 64;
const CHUNKS: i64 = 8;
/// Sessions whose logs are read at once: as much of it is in memory as they may have pieces.
const LOGS: usize = 32;
const SESSIONS: usize = 256;

/// Written by a newer version.
fn unreadable(error: &Error) {
    tracing::warn!(error = error as &dyn std::error::Error, "what is watched or waited for cannot be read");
}

/// As arguments of a statement.
fn columns(due: &[(SessionId, TenantId, i64)]) -> (Vec<String>, Vec<Uuid>, Vec<i64>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (session, tenant, after) in due {
        columns.0.push(tenant.as_str().to_owned());
        columns.1.push(session.uuid());
        columns.2.push(*after);
    }
    columns
}

impl Hub {
    pub(super) async fn read_ends(&self, metrics: &Metrics) {
        loop {
            self.ends.due.notified().await;
            let (tenants, ids) = self.ends.take_due();
            if !ids.is_empty()
                && let Err(error) = self.read_operations(metrics, &tenants, &ids).await
            {
                // Those that have ended are found by the poll.
                tracing::debug!(%error, "operations that are waited for were not read");
            }
        }
    }

    async fn read_operations(&self, metrics: &Metrics, tenants: &[String], ids: &[Uuid]) -> Result<(), Error> {
        metrics.watch_read("operations");
        let rows = sqlx::query_as!(
            OperationRow,
            r#"SELECT operation_id AS "operation_id!", session_id AS "session_id!", kind AS "kind!", status AS "status!", phase AS "phase!",
                   error, created_at AS "created_at!", finished_at, principal_id AS "principal_id!", state AS "state!",
                   target_commit_sha, opencode_url, ready_at, durable_object_id, persisted_at
               FROM watched_operations($1, $2)"#,
            tenants,
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            // What this version cannot read must not keep the others from hearing.
            match row.try_into() {
                Ok(operation) => self.ends.publish(operation),
                Err(error) => unreadable(&error),
            }
        }
        Ok(())
    }

    pub(super) async fn read_feeds(&self, metrics: &Metrics) {
        loop {
            self.feeds.due.notified().await;
            if let Err(error) = self.read_due(metrics).await {
                // The poll finds who is behind.
                tracing::debug!(%error, "sessions that are watched were not read");
            }
        }
    }

    async fn read_due(&self, metrics: &Metrics) -> Result<(), Error> {
        let events = self.feeds.take_due::<Event>();
        for some in events.chunks(SESSIONS) {
            self.read_events(metrics, some).await?;
        }
        let logs = self.feeds.take_due::<LogChunk>();
        for some in logs.chunks(LOGS) {
            self.read_logs(metrics, some).await?;
        }
        let (tenants, ids) = self.feeds.take_heads_due();
        if !ids.is_empty() {
            self.read_heads(metrics, &tenants, &ids).await?;
        }
        Ok(())
    }

    async fn read_events(&self, metrics: &Metrics, due: &[(SessionId, TenantId, i64)]) -> Result<(), Error> {
        metrics.watch_read("events");
        let (tenants, ids, afters) = columns(due);
        let rows = sqlx::query!(
            r#"SELECT session_id AS "session_id!", seq AS "seq!", kind AS "kind!", from_state, to_state AS "to_state!", at AS "at!",
                   actor AS "actor!", reason AS "reason!", operation_id AS "operation_id!", fence AS "fence!", phase, percent
               FROM watched_events($1, $2, $3, $4)"#,
            &tenants,
            &ids,
            &afters,
            EVENTS
        )
        .fetch_all(&self.pool)
        .await?;
        let events = rows.into_iter().map(|row| {
            let event = EventRow {
                seq: row.seq,
                kind: row.kind,
                from_state: row.from_state,
                to_state: row.to_state,
                at: row.at,
                actor: row.actor,
                reason: row.reason,
                operation_id: row.operation_id,
                fence: row.fence,
                phase: row.phase,
                percent: row.percent,
            };
            (row.session_id, Event::try_from(event))
        });
        self.tell(events, EVENTS);
        Ok(())
    }

    async fn read_logs(&self, metrics: &Metrics, due: &[(SessionId, TenantId, i64)]) -> Result<(), Error> {
        metrics.watch_read("log");
        let (tenants, ids, afters) = columns(due);
        let rows = sqlx::query!(
            r#"SELECT session_id AS "session_id!", seq AS "seq!", at AS "at!", source AS "source!", text AS "text!"
               FROM watched_log($1, $2, $3, $4)"#,
            &tenants,
            &ids,
            &afters,
            CHUNKS
        )
        .fetch_all(&self.pool)
        .await?;
        let chunks = rows.into_iter().map(|row| {
            let chunk = ChunkRow { seq: row.seq, at: row.at, source: row.source, text: row.text };
            (row.session_id, LogChunk::try_from(chunk))
        });
        self.tell(chunks, CHUNKS);
        Ok(())
    }

    /// Each session's own to those who watch it; `most`: how many of one were read at once.
    fn tell<T: Told>(&self, items: impl Iterator<Item = (Uuid, Result<T, Error>)>, most: i64) {
        let mut by_session: HashMap<Uuid, Vec<T>> = HashMap::new();
        let mut broken = HashSet::new();
        for (session, item) in items {
            match item {
                // What comes after one that cannot be read would leave a gap.
                Ok(item) if !broken.contains(&session) => by_session.entry(session).or_default().push(item),
                Ok(_) => {}
                Err(error) => {
                    unreadable(&error);
                    broken.insert(session);
                }
            }
        }
        for (session, items) in by_session {
            let more = i64::try_from(items.len()).is_ok_and(|count| count >= most);
            self.feeds.publish(SessionId::from_uuid(session), items, more);
        }
    }

    async fn read_heads(&self, metrics: &Metrics, tenants: &[String], ids: &[Uuid]) -> Result<(), Error> {
        metrics.watch_read("heads");
        let rows = sqlx::query!(
            r#"SELECT session_id AS "session_id!", state AS "state!", event_seq AS "event_seq!", log_seq AS "log_seq!"
               FROM watched_heads($1, $2)"#,
            tenants,
            ids
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            let session = SessionId::from_uuid(row.session_id);
            match read(&row.state) {
                Ok(state) => self.feeds.advance(Head { session, state, event_seq: row.event_seq, log_seq: row.log_seq }),
                Err(error) => unreadable(&error),
            }
        }
        Ok(())
    }

    /// Once a second, what all that are waited for and watched are.
    pub(super) async fn poll(&self, metrics: &Metrics) {
        loop {
            tokio::time::sleep(POLL).await;
            self.feeds.all_due();
            self.poll_ends(metrics).await.unwrap_or_else(|error| tracing::debug!(%error, "poll for ended operations"));
        }
    }

    async fn poll_ends(&self, metrics: &Metrics) -> Result<(), Error> {
        let (tenants, ids) = self.ends.all();
        if ids.is_empty() {
            return Ok(());
        }
        metrics.watch_read("ends");
        let ended = sqlx::query_scalar!(r#"SELECT ended AS "ended!" FROM ended_operations($1, $2) AS ended"#, &tenants, &ids)
            .fetch_all(&self.pool)
            .await?;
        for operation in ended {
            self.ends.told(OperationId::from_uuid(operation));
        }
        Ok(())
    }
}
