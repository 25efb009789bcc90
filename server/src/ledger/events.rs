//! A session's events.

use alpine_api::{EventPage, SessionId, Transition};

use super::{Error, TenantLedger, scope::in_tenant, views::TransitionRow};
use crate::domain::principal::Caller;

impl TenantLedger {
    /// Up to `limit` events that come after number `after`, oldest first.
    pub async fn events(&self, by: &Caller, id: SessionId, after: i64, limit: i64) -> Result<EventPage, Error> {
        self.authorize(by, "events.read", id).await?;
        let rows = in_tenant!(
            query_as(
                TransitionRow,
                "SELECT seq, from_state, to_state, at, actor, reason, operation_id, fence FROM transitions
                 WHERE tenant_id = tenant.id AND session_id = $2 AND seq > $3 ORDER BY seq LIMIT $4"
            ),
            self.tenant.as_str(),
            id.uuid(),
            after,
            limit
        )
        .fetch_all(self.statements())
        .await?;
        let events = rows.into_iter().map(Transition::try_from).collect::<Result<Vec<_>, _>>()?;
        let next_after = events.last().map_or(after, |event| event.seq);
        Ok(EventPage { events, next_after })
    }
}
