//! Who else may use a session's host, and until when: principals by name, or whoever has a link.

use alpine_api::{AuditOutcome, SessionId, SessionState, Share, ShareId, ShareList};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{
    Error, Ledger, TenantLedger,
    apps::{port, ready, what},
    audit::Deed,
    scope::in_tenant,
    seal::PassKind,
};
use crate::domain::{
    Fault,
    apps::App,
    pass::Pass,
    principal::{Access, Caller, PrincipalId},
};

const SHARE: &str = "session.share";
const UNSHARE: &str = "session.unshare";
/// Of one session, at once.
const LIVE_MAX: i64 = 32;

#[derive(Debug)]
pub struct NewShare {
    pub caller: Caller,
    pub app: App,
    /// Where that is; `None`: sessions have no hosts here.
    pub at: Option<String>,
    /// `None`: whoever has the link.
    pub with: Option<Vec<PrincipalId>>,
    /// In seconds from now.
    pub expires_in: i32,
}

struct Row {
    share_id: Uuid,
    session_id: Uuid,
    port: Option<i32>,
    principal_ids: Option<Vec<String>>,
    created_by: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl Ledger {
    /// Forget shares that are over; how many it was.
    #[tracing::instrument(level = "debug", name = "ledger.sweep_shares", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "sweep_shares"))]
    pub async fn sweep_shares(&self) -> Result<u64, Error> {
        let swept = sqlx::query!("DELETE FROM session_shares WHERE expires_at < now()").execute(self.statements()).await?;
        Ok(swept.rows_affected())
    }
}

impl TenantLedger {
    /// Share what one host of a ready session serves: where that is, and the text that stands in a link to it.
    #[tracing::instrument(level = "debug", name = "ledger.create_share", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "create_share"))]
    pub async fn create_share(&self, new: NewShare) -> Result<(String, SecretString, Share), Error> {
        let NewShare { caller, app, .. } = &new;
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = self.lock_session(&mut tx, app.session).await?;
        let verdict = match caller.access(&found.owner) {
            Access::Denied => Err(Fault::NotOwner),
            Access::Own | Access::AsAdmin if found.state != SessionState::Ready => Err(Fault::NotOpen { state: found.state }),
            Access::Own | Access::AsAdmin => self.room(&mut tx, *app).await?,
        };
        let verdict = verdict.and_then(|()| new.at.clone().ok_or(Fault::NoApp));
        let whom = match &new.with {
            None => "whoever has the link".to_owned(),
            Some(names) => names.iter().map(PrincipalId::as_str).collect::<Vec<_>>().join(", "),
        };
        let (outcome, reason) =
            (if verdict.is_ok() { AuditOutcome::Done } else { AuditOutcome::Denied }, format!("{} with {whom}", what(*app)));
        if verdict.is_ok() || caller.access(&found.owner) != Access::Own {
            let target = app.session.to_string();
            let deed = Deed { session: Some(app.session), at: Some(found.at), ..Deed::on(SHARE, outcome, &target) };
            self.record_deed(&mut *tx, caller, &Deed { reason: Some(&reason), ..deed.of(Some(&found.owner)) }).await?;
        }
        let at = match verdict {
            Ok(at) => at,
            Err(fault) => {
                tx.commit().await?;
                return Err(fault.into());
            }
        };
        let share = self.insert_share(&mut tx, &new).await?;
        let link = self.ledger.seal_pass(*app, PassKind::Share, &Pass::of_guest(&self.tenant, share.share_id, share.expires_at))?;
        tx.commit().await?;
        Ok((at, link, share))
    }

    async fn insert_share(&self, tx: &mut PgTransaction<'_>, new: &NewShare) -> Result<Share, Error> {
        let names: Option<Vec<String>> = new.with.as_ref().map(|names| names.iter().map(ToString::to_string).collect());
        let row = sqlx::query_as!(
            Row,
            "INSERT INTO session_shares (tenant_id, session_id, share_id, port, principal_ids, created_by, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
             RETURNING share_id, session_id, port, principal_ids, created_by, created_at, expires_at",
            self.tenant.as_str(),
            new.app.session.uuid(),
            ShareId::generate().uuid(),
            port(new.app),
            names.as_deref(),
            new.caller.id.as_str(),
            f64::from(new.expires_in)
        )
        .fetch_one(&mut **tx)
        .await?;
        row.try_into()
    }

    /// Whether it has a host, and one share more is allowed: counted under the session's lock.
    async fn room(&self, tx: &mut PgTransaction<'_>, app: App) -> Result<Result<(), Fault>, Error> {
        let found = sqlx::query!(
            r#"SELECT opencode_url, (SELECT count(*) FROM session_shares WHERE tenant_id = $1 AND session_id = $2 AND expires_at > now()) AS "live!"
               FROM sessions WHERE tenant_id = $1 AND session_id = $2"#,
            self.tenant.as_str(),
            app.session.uuid()
        )
        .fetch_one(&mut **tx)
        .await?;
        if found.opencode_url.as_deref().and_then(App::at) != Some(App::of(app.session)) {
            return Ok(Err(Fault::NoApp));
        }
        Ok(if found.live < LIVE_MAX { Ok(()) } else { Err(Fault::TooManyShares { used: found.live, limit: LIVE_MAX }) })
    }

    /// The shares of a session that are good now, newest first: none where it is not ready.
    #[tracing::instrument(level = "debug", name = "ledger.list_shares", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "list_shares"))]
    pub async fn list_shares(&self, by: &Caller, id: SessionId) -> Result<ShareList, Error> {
        let owner = in_tenant!(
            query_scalar(r#"SELECT principal_id AS "owner!" FROM sessions WHERE tenant_id = tenant.id AND session_id = $2"#),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Fault::SessionNotFound)?;
        self.judge(by, "session.shares", id, &owner).await?;
        let rows = in_tenant!(
            query_as(
                Row,
                r#"SELECT share_id AS "share_id!", session_id AS "session_id!", port, principal_ids, created_by AS "created_by!",
                       created_at AS "created_at!", expires_at AS "expires_at!"
                   FROM session_shares WHERE tenant_id = tenant.id AND session_id = $2 AND expires_at > now()
                       AND EXISTS (SELECT FROM sessions WHERE tenant_id = tenant.id AND session_id = $2 AND state = 'ready')
                   ORDER BY share_id DESC"#
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_all(self.statements())
        .await?;
        Ok(ShareList { shares: rows.into_iter().map(Share::try_from).collect::<Result<_, _>>()? })
    }

    /// From now on it lets nobody in. One that is over is one that is not there.
    #[tracing::instrument(level = "debug", name = "ledger.remove_share", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "remove_share"))]
    pub async fn remove_share(&self, by: &Caller, session: SessionId, id: ShareId) -> Result<(), Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = self.lock_session(&mut tx, session).await?;
        let denied = by.access(&found.owner) == Access::Denied;
        let gone = match denied {
            true => 0,
            false => sqlx::query!(
                "DELETE FROM session_shares WHERE tenant_id = $1 AND session_id = $2 AND share_id = $3 AND expires_at > now()",
                self.tenant.as_str(),
                session.uuid(),
                id.uuid()
            )
            .execute(&mut *tx)
            .await?
            .rows_affected(),
        };
        if denied || gone > 0 {
            let outcome = if denied { AuditOutcome::Denied } else { AuditOutcome::Done };
            let target = id.to_string();
            let deed = Deed { session: Some(session), at: Some(found.at), ..Deed::on(UNSHARE, outcome, &target) };
            self.record_deed(&mut *tx, by, &deed.of(Some(&found.owner))).await?;
        }
        tx.commit().await?;
        match (denied, gone) {
            (true, _) => Err(Fault::NotOwner.into()),
            (false, 0) => Err(Fault::NotFound("share").into()),
            _ => Ok(()),
        }
    }

    /// May whoever has this share's link use the host now?
    #[tracing::instrument(level = "debug", name = "ledger.enter_as_guest", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "enter_as_guest"))]
    pub async fn enter_as_guest(&self, app: App, share: ShareId) -> Result<(), Error> {
        let found = in_tenant!(
            query(
                r#"SELECT sessions.state AS "state!", principal_ids IS NOT NULL AS "named!"
                   FROM session_shares JOIN sessions USING (tenant_id, session_id)
                   WHERE tenant_id = tenant.id AND session_id = $2 AND share_id = $3 AND port IS NOT DISTINCT FROM $4
                       AND session_shares.expires_at > now()"#
            ),
            self.tenant.as_str(),
            app.session.uuid(),
            share.uuid(),
            port(app)
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Fault::ShareOver)?;
        if found.named {
            return Err(Fault::ShareNamed.into());
        }
        Ok(ready(&found.state)?)
    }
}

impl TryFrom<Row> for Share {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let port = row.port.map(u16::try_from).transpose().map_err(|error| Error::Corrupt(error.to_string()))?;
        let Row { share_id, session_id, principal_ids, created_by, created_at, expires_at, .. } = row;
        let (share_id, session_id) = (ShareId::from_uuid(share_id), SessionId::from_uuid(session_id));
        let public = principal_ids.is_none();
        Ok(Self { share_id, session_id, port, public, with: principal_ids.unwrap_or_default(), created_by, created_at, expires_at })
    }
}
