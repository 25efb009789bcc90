//! What the reconciler asks of the ledger, and the beginning of the end of a session whose sandbox was lost.

use std::collections::HashMap;

use alpine_api::{Failure, OperationKind, SessionId, SessionState};
use chrono::{DateTime, Utc};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Error, Ledger, accept_down::Begin, views};
use crate::domain::{
    operation::Phase,
    principal::{SYSTEM_ACTOR, TenantId},
};

const PAGE: usize = 500;

/// A session as far as its sandbox is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    pub state: SessionState,
    pub fence: i64,
}

/// A ready session on which nobody works.
#[derive(Debug, Clone)]
pub struct Ready {
    pub tenant: TenantId,
    pub session: SessionId,
    pub sandbox: Option<serde_json::Value>,
}

impl Ledger {
    /// How these sessions stand; those that are not in the answer do not exist.
    #[tracing::instrument(level = "debug", name = "ledger.standings", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "standings"))]
    pub async fn standings(&self, sessions: &[(TenantId, SessionId)]) -> Result<HashMap<SessionId, Standing>, Error> {
        let mut standings = HashMap::new();
        for page in sessions.chunks(PAGE) {
            let tenants: Vec<String> = page.iter().map(|(tenant, _)| tenant.as_str().to_owned()).collect();
            let ids: Vec<Uuid> = page.iter().map(|(_, session)| session.uuid()).collect();
            let rows = sqlx::query!(
                "SELECT s.session_id, s.state, l.fence
                 FROM unnest($1::text[], $2::uuid[]) AS asked (tenant_id, session_id)
                 JOIN sessions s USING (tenant_id, session_id) JOIN leases l USING (tenant_id, session_id)",
                &tenants,
                &ids
            )
            .fetch_all(self.statements())
            .await?;
            for row in rows {
                standings.insert(SessionId::from_uuid(row.session_id), Standing { state: views::read(&row.state)?, fence: row.fence });
            }
        }
        Ok(standings)
    }

    /// How a session of whatever tenant stands. No index serves it: for the rare sandbox of nobody.
    #[tracing::instrument(level = "debug", name = "ledger.standing", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "standing"))]
    pub async fn standing(&self, session: SessionId) -> Result<Option<Standing>, Error> {
        let row = sqlx::query!(
            "SELECT s.state, l.fence FROM sessions s JOIN leases l USING (tenant_id, session_id) WHERE s.session_id = $1",
            session.uuid()
        )
        .fetch_optional(self.statements())
        .await?;
        row.map(|row| Ok(Standing { state: views::read(&row.state)?, fence: row.fence })).transpose()
    }

    /// A page of the ready sessions without a live operation, of those whose sandbox's handle names this root (nothing: names none).
    /// `None` after it is the first one. A page that is not full is the last.
    #[tracing::instrument(level = "debug", name = "ledger.ready_sessions", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "ready_sessions"))]
    pub async fn ready_sessions(&self, root: &str, after: Option<&Ready>) -> Result<(Vec<Ready>, bool), Error> {
        let (tenant, session) = after.map_or(("", Uuid::nil()), |last| (last.tenant.as_str(), last.session.uuid()));
        let rows = sqlx::query!(
            "SELECT tenant_id, session_id, sandbox FROM sessions s
             WHERE state = 'ready' AND coalesce(sandbox #>> '{detail,root}', '') = $4 AND (tenant_id, session_id) > ($1, $2) AND NOT EXISTS (
                 SELECT 1 FROM operations o
                 WHERE o.tenant_id = s.tenant_id AND o.session_id = s.session_id AND o.status IN ('queued', 'running'))
             ORDER BY tenant_id, session_id LIMIT $3",
            tenant,
            session,
            i64::try_from(PAGE).unwrap_or(i64::MAX),
            root
        )
        .fetch_all(self.statements())
        .await?;
        let full = rows.len() == PAGE;
        let page: Result<Vec<Ready>, Error> = rows
            .into_iter()
            .map(|row| {
                let tenant = TenantId::parse(&row.tenant_id).map_err(|error| Error::Corrupt(error.to_string()))?;
                Ok(Ready { tenant, session: SessionId::from_uuid(row.session_id), sandbox: row.sandbox })
            })
            .collect();
        Ok((page?, full))
    }

    /// The sandbox of a ready session is lost: the session fails, and what is left is cleaned up. `false`: it is
    /// no longer ready, or somebody works on it.
    #[tracing::instrument(level = "debug", name = "ledger.lose", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "lose"))]
    pub async fn lose(&self, tenant: &TenantId, session: SessionId, why: &Failure) -> Result<bool, Error> {
        let mut tx = self.transactions().begin().await?;
        let Some((persist_attempt, at)) = lock_ready(&mut tx, tenant, session).await? else {
            tx.rollback().await?;
            return Ok(false);
        };
        let begin = Begin {
            tenant,
            session,
            kind: OperationKind::Cleanup,
            phase: Phase::Cleanup,
            to: Some(SessionState::Failing),
            persist_attempt,
            force: true,
            actor: SYSTEM_ACTOR,
            reason: Some(&why.cause),
            traceparent: None,
            at,
        };
        self.begin_operation(&mut tx, &begin).await?;
        sqlx::query!(
            "UPDATE sessions SET last_error = $3 WHERE tenant_id = $1 AND session_id = $2",
            tenant.as_str(),
            session.uuid(),
            views::write_failure(Some(why))?
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        self.hub().work();
        self.hub().happened(session);
        Ok(true)
    }
}

/// Lock the lease of a session that is still ready and rests; its persist attempt, and the time.
async fn lock_ready(tx: &mut PgTransaction<'_>, tenant: &TenantId, session: SessionId) -> Result<Option<(i32, DateTime<Utc>)>, Error> {
    let (tenant, id) = (tenant.as_str(), session.uuid());
    let locked =
        sqlx::query_scalar!("SELECT fence FROM leases WHERE tenant_id = $1 AND session_id = $2 FOR UPDATE SKIP LOCKED", tenant, id)
            .fetch_optional(&mut **tx)
            .await?;
    if locked.is_none() {
        return Ok(None);
    }
    let row = sqlx::query!(
        r#"SELECT persist_attempt, clock_timestamp() AS "at!" FROM sessions s
         WHERE tenant_id = $1 AND session_id = $2 AND state = 'ready' AND NOT EXISTS (
             SELECT 1 FROM operations o
             WHERE o.tenant_id = s.tenant_id AND o.session_id = s.session_id AND o.status IN ('queued', 'running'))
         FOR UPDATE OF s"#,
        tenant,
        id
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| (row.persist_attempt, row.at)))
}
