//! A session's events: transitions and progress, one sequence.

use alpine_api::{Event, EventKind, EventPage, OperationId, SessionId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    Error, Follower, Page, TenantLedger,
    scope::in_tenant,
    views::{self, read},
};
use crate::domain::{Fault, lifecycle, principal::Caller};

/// How many events one who follows reads at once.
const FOLLOWED: i64 = 100;

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

/// A row of a page: of the session, and of an event if there is one.
struct PageRow {
    principal_id: String,
    state: String,
    head: i64,
    seq: Option<i64>,
    kind: Option<String>,
    from_state: Option<String>,
    to_state: Option<String>,
    at: Option<DateTime<Utc>>,
    actor: Option<String>,
    reason: Option<String>,
    operation_id: Option<Uuid>,
    fence: Option<i64>,
    phase: Option<String>,
    percent: Option<i16>,
}

impl PageRow {
    /// `None` on the one row of a page without events.
    fn event(self) -> Option<Result<Event, Error>> {
        let row = EventRow {
            seq: self.seq?,
            kind: self.kind?,
            from_state: self.from_state,
            to_state: self.to_state?,
            at: self.at?,
            actor: self.actor?,
            reason: self.reason?,
            operation_id: self.operation_id?,
            fence: self.fence?,
            phase: self.phase,
            percent: self.percent,
        };
        Some(row.try_into())
    }
}

impl TenantLedger {
    /// Up to `limit` events that come after number `after`, oldest first.
    #[tracing::instrument(level = "debug", name = "ledger.events", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "events"))]
    pub async fn events(&self, by: &Caller, id: SessionId, after: i64, limit: i64) -> Result<EventPage, Error> {
        let (owner, page) = self.event_page(id, after, limit).await?;
        self.judge(by, "events.read", id, &owner).await?;
        let next_after = page.items.last().map_or(after, |event| event.seq);
        Ok(EventPage { events: page.items, next_after })
    }

    /// Follow the events that come after number `after`. The caller's right to it is judged, and written down, once: here.
    #[tracing::instrument(level = "debug", name = "ledger.follow_events", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "follow_events"))]
    pub async fn follow_events(&self, by: &Caller, id: SessionId, after: i64) -> Result<Follower<Event>, Error> {
        let (owner, first) = self.event_page(id, after, FOLLOWED).await?;
        self.judge(by, "events.read", id, &owner).await?;
        Ok(self.ledger.hub.follow(&self.tenant, id, after, first))
    }

    /// A page for one who follows already.
    #[tracing::instrument(level = "debug", name = "ledger.more_events", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "more_events"))]
    pub async fn more_events(&self, id: SessionId, after: i64) -> Result<Page<Event>, Error> {
        Ok(self.event_page(id, after, FOLLOWED).await?.1)
    }

    /// Whose session it is, and a page of its events: one statement, so that they are of one moment.
    async fn event_page(&self, id: SessionId, after: i64, limit: i64) -> Result<(String, Page<Event>), Error> {
        let rows = in_tenant!(
            query_as(
                PageRow,
                r#"SELECT s.principal_id AS "principal_id!", s.state AS "state!", coalesce(s.event_seq, s.transition_seq) AS "head!",
                     e.seq AS "seq?", e.kind AS "kind?", e.from_state AS "from_state?", e.to_state AS "to_state?", e.at AS "at?", e.actor AS "actor?",
                     e.reason AS "reason?", e.operation_id AS "operation_id?", e.fence AS "fence?", e.phase AS "phase?", e.percent AS "percent?"
                 FROM sessions s LEFT JOIN LATERAL (SELECT * FROM (
                     (SELECT coalesce(event_seq, seq) AS seq, 'transition' AS kind, from_state, to_state, at, actor, reason, operation_id, fence,
                         NULL AS phase, NULL::smallint AS percent
                      FROM transitions WHERE tenant_id = tenant.id AND session_id = $2 AND coalesce(event_seq, seq) > $3)
                     UNION ALL
                     (SELECT seq, 'progress', state, state, at, actor, message, operation_id, fence, phase, percent
                      FROM progress WHERE tenant_id = tenant.id AND session_id = $2 AND seq > $3 ORDER BY seq LIMIT $4)
                 ) AS both_kinds ORDER BY both_kinds.seq LIMIT $4) AS e ON true
                 WHERE s.tenant_id = tenant.id AND s.session_id = $2 ORDER BY e.seq"#
            ),
            self.tenant.as_str(),
            id.uuid(),
            after,
            limit
        )
        .fetch_all(self.statements())
        .await?;
        let session = rows.first().ok_or(Fault::SessionNotFound)?;
        let (owner, head, over) = (session.principal_id.clone(), session.head, lifecycle::is_final(read(&session.state)?));
        let items = rows.into_iter().filter_map(PageRow::event).collect::<Result<Vec<_>, _>>()?;
        let short = i64::try_from(items.len()).is_ok_and(|count| count < limit);
        Ok((owner, Page { items, short, head, over }))
    }
}
