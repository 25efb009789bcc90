//! A session's events: transitions and progress, one sequence.

use alpine_api::{Event, EventKind, EventPage, OperationId, SessionId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Error, TenantLedger,
    scope::in_tenant,
    views::{self, read},
};
use crate::domain::principal::Caller;

/// An event as it is stored, in one of two tables.
#[derive(Debug)]
pub(super) struct EventRow {
    pub seq: i64,
    pub kind: String,
    pub from_state: Option<String>,
    pub to_state: String,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub reason: String,
    pub operation_id: Uuid,
    pub fence: i64,
    pub phase: Option<String>,
    pub percent: Option<i16>,
}

impl TryFrom<EventRow> for Event {
    type Error = Error;

    fn try_from(row: EventRow) -> Result<Self, Error> {
        let kind: EventKind = read(&row.kind)?;
        Ok(Self {
            seq: row.seq,
            kind,
            from_state: row.from_state.as_deref().map(views::read).transpose()?,
            to_state: read(&row.to_state)?,
            at: row.at,
            actor: row.actor,
            reason: row.reason,
            operation_id: OperationId::from_uuid(row.operation_id),
            fence: row.fence,
            phase: row.phase,
            percent: row.percent,
        })
    }
}

impl TenantLedger {
    /// Up to `limit` events that come after number `after`, oldest first.
    pub async fn events(&self, by: &Caller, id: SessionId, after: i64, limit: i64) -> Result<EventPage, Error> {
        self.authorize(by, "events.read", id).await?;
        let rows = in_tenant!(
            query_as(
                EventRow,
                r#"SELECT seq AS "seq!", kind AS "kind!", from_state, to_state AS "to_state!", at AS "at!", actor AS "actor!",
                     reason AS "reason!", operation_id AS "operation_id!", fence AS "fence!", phase, percent
                 FROM (
                     (SELECT coalesce(event_seq, seq) AS seq, 'transition' AS kind, from_state, to_state, at, actor, reason, operation_id, fence,
                         NULL AS phase, NULL::smallint AS percent
                      FROM transitions WHERE tenant_id = tenant.id AND session_id = $2 AND coalesce(event_seq, seq) > $3)
                     UNION ALL
                     (SELECT seq, 'progress', state, state, at, actor, message, operation_id, fence, phase, percent
                      FROM progress WHERE tenant_id = tenant.id AND session_id = $2 AND seq > $3 ORDER BY seq LIMIT $4)
                 ) AS event ORDER BY seq LIMIT $4"#
            ),
            self.tenant.as_str(),
            id.uuid(),
            after,
            limit
        )
        .fetch_all(self.statements())
        .await?;
        let events = rows.into_iter().map(Event::try_from).collect::<Result<Vec<_>, _>>()?;
        let next_after = events.last().map_or(after, |event| event.seq);
        Ok(EventPage { events, next_after })
    }
}
