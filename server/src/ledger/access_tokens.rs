//! Personal access tokens: made and revoked together with their entries in the audit log, and asked for by their hash.

use alpine_api::{AuditOutcome, Scope, Token, TokenId, TokenPage};
use aws_lc_rs::rand::SystemRandom;
use chrono::{DateTime, Utc};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Error, Ledger, TenantLedger, audit::Deed, scope::in_tenant, views};
use crate::domain::{
    Fault,
    access_token::{self, AccessToken, LIVE_MAX, Void},
    principal::{Access, Caller, Principal, PrincipalId, Roles, Scopes, TenantId, Via},
};

#[derive(Debug)]
pub struct NewToken {
    pub caller: Caller,
    pub name: String,
    /// Each once.
    pub scopes: Vec<Scope>,
    /// From now.
    pub days: i32,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct TokenQuery {
    pub all_owners: bool,
    pub after: Option<TokenId>,
    pub limit: i64,
}

struct Row {
    token_id: Uuid,
    principal_id: String,
    name: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

/// `$owner` decides which index serves.
macro_rules! page {
    ($owner:literal, $($arguments:expr),*) => {
        in_tenant!(
            query_as(
                Row,
                r#"SELECT token_id AS "token_id!", principal_id AS "principal_id!", name AS "name!", scopes AS "scopes!",
                       created_at AS "created_at!", expires_at AS "expires_at!", last_used_at, revoked_at
                   FROM access_tokens WHERE tenant_id = tenant.id AND "#
                + $owner
                + " AND token_id < coalesce($3, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) ORDER BY token_id DESC LIMIT $4"
            ),
            $($arguments),*
        )
    };
}

impl Ledger {
    /// Who a token is, if it is good now. That it was used is noted, once a minute at most.
    #[tracing::instrument(level = "debug", name = "ledger.use_access_token", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "use_access_token"))]
    pub async fn use_access_token(&self, token: &AccessToken) -> Result<Result<Principal, Void>, Error> {
        let hash = token.sha256();
        let row = sqlx::query!(
            r#"SELECT tenant_id AS "tenant_id!", principal_id AS "principal_id!", scopes AS "scopes!", expires_at AS "expires_at!",
                   expired AS "expired!", revoked AS "revoked!"
               FROM use_access_token($1)"#,
            hash.as_slice()
        )
        .fetch_optional(&self.pools.api.statements)
        .await?;
        let Some(row) = row else { return Ok(Err(Void::Unknown)) };
        if row.revoked {
            return Ok(Err(Void::Revoked));
        }
        if row.expired {
            return Ok(Err(Void::Expired));
        }
        let scopes: Scopes = read_scopes(&row.scopes)?.into_iter().collect();
        Ok(Ok(Principal {
            tenant: TenantId::parse(&row.tenant_id).map_err(|bad| Error::Corrupt(bad.to_string()))?,
            id: PrincipalId::parse(&row.principal_id).map_err(|bad| Error::Corrupt(bad.to_string()))?,
            // An admin made it, or it would not have the scope. Operators sign in.
            roles: Roles { admin: scopes.admin, operator: false },
            scopes,
            via: Via::AccessToken,
            expires_at: Some(row.expires_at),
        }))
    }
}

impl TenantLedger {
    /// A new token, and what is shown of it ever after.
    #[tracing::instrument(level = "debug", name = "ledger.create_token", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "create_token"))]
    pub async fn create_token(&self, new: NewToken) -> Result<(AccessToken, Token), Error> {
        let token = AccessToken::generate(&SystemRandom::new())?;
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        self.check_room(&mut tx, &new.caller).await?;
        let about = self.insert_token(&mut tx, &new, &token).await?;
        let target = about.token_id.to_string();
        let scopes = format!("scopes: {}", new.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let deed =
            Deed { reason: Some(&scopes), ..Deed::on("token.create", AuditOutcome::Done, &target).of(Some(&about.owner_principal_id)) };
        self.record_deed(&mut *tx, &new.caller, &deed).await?;
        tx.commit().await?;
        Ok((token, about))
    }

    /// Counted while nobody else makes a token for this principal, so that the limit cannot be raced.
    async fn check_room(&self, tx: &mut PgTransaction<'_>, by: &Caller) -> Result<(), Error> {
        // The transaction's first statement says for whom it is. The next one sees what was committed meanwhile.
        sqlx::query!(
            r#"SELECT pg_advisory_xact_lock(hashtextextended($2, hashtextextended(tenant.id, 0)))::text AS locked
               FROM set_config('alpine.tenant', $1, true) AS tenant (id)"#,
            self.tenant.as_str(),
            by.id.as_str()
        )
        .fetch_one(&mut **tx)
        .await?;
        let found = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM tenants WHERE tenant_id = $1) AS "known!", (
                   SELECT count(*) FROM access_tokens
                   WHERE tenant_id = $1 AND principal_id = $2 AND revoked_at IS NULL AND expires_at > now()) AS "live!""#,
            self.tenant.as_str(),
            by.id.as_str()
        )
        .fetch_one(&mut **tx)
        .await?;
        if !found.known && !self.ledger.tenants.on_first_sight {
            return Err(Fault::TenantUnknown.into());
        }
        if found.live >= LIVE_MAX {
            return Err(Fault::TooManyTokens { used: found.live, limit: LIVE_MAX }.into());
        }
        Ok(())
    }

    async fn insert_token(&self, tx: &mut PgTransaction<'_>, new: &NewToken, token: &AccessToken) -> Result<Token, Error> {
        let (scopes, hash): (Vec<String>, _) = (new.scopes.iter().map(ToString::to_string).collect(), token.sha256());
        let row = sqlx::query_as!(
            Row,
            "INSERT INTO access_tokens (tenant_id, token_id, principal_id, name, token_sha256, scopes, expires_at, created_by_request)
             VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(days => $7), $8)
             RETURNING token_id, principal_id, name, scopes, created_at, expires_at, last_used_at, revoked_at",
            self.tenant.as_str(),
            TokenId::generate().uuid(),
            new.caller.id.as_str(),
            new.name,
            hash.as_slice(),
            &scopes,
            new.days,
            new.caller.request_id
        )
        .fetch_one(&mut **tx)
        .await?;
        row.try_into()
    }

    /// A page, newest first.
    #[tracing::instrument(level = "debug", name = "ledger.list_tokens", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "list_tokens"))]
    pub async fn list_tokens(&self, by: &Caller, query: TokenQuery) -> Result<TokenPage, Error> {
        if query.all_owners {
            self.judge_all_tokens(by).await?;
        }
        let (tenant, owner, after, limit) =
            (self.tenant.as_str(), by.id.as_str(), query.after.map(TokenId::uuid), query.limit.saturating_add(1));
        let mut rows = if query.all_owners {
            // The parameter keeps its place so that both forms take the same arguments.
            page!("($2::text IS NOT NULL)", tenant, owner, after, limit).fetch_all(self.statements()).await?
        } else {
            page!("principal_id = $2", tenant, owner, after, limit).fetch_all(self.statements()).await?
        };
        let more = rows.len() as i64 > query.limit;
        rows.truncate(usize::try_from(query.limit).unwrap_or(0));
        let tokens = rows.into_iter().map(Token::try_from).collect::<Result<Vec<_>, _>>()?;
        let next_cursor = tokens.last().filter(|_| more).map(|last| last.token_id);
        Ok(TokenPage { tokens, next_cursor })
    }

    /// Everybody's tokens are an admin's to see, and that is on record.
    async fn judge_all_tokens(&self, by: &Caller) -> Result<(), Error> {
        let outcome = if by.is_admin() { AuditOutcome::Done } else { AuditOutcome::Denied };
        self.record_deed(self.statements(), by, &Deed::on("token.list_all", outcome, self.tenant.as_str())).await?;
        if by.is_admin() { Ok(()) } else { Err(Fault::RoleMissing("alpine.admin").into()) }
    }

    /// From now on the token is nobody's. Again is no second time.
    #[tracing::instrument(level = "debug", name = "ledger.revoke_token", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "revoke_token"))]
    pub async fn revoke_token(&self, by: &Caller, id: TokenId) -> Result<(), Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = in_tenant!(
            query(
                r#"SELECT principal_id AS "owner!", scopes AS "scopes!", revoked_at IS NOT NULL AS "revoked!"
                   FROM access_tokens WHERE tenant_id = tenant.id AND token_id = $2 FOR UPDATE"#
            ),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(Fault::NotFound("token"))?;
        let judged = access_token::may_revoke(by, &found.owner, &read_scopes(&found.scopes)?);
        let target = id.to_string();
        let entry = |outcome| Deed::on("token.revoke", outcome, &target).of(Some(&found.owner));
        if let Err(fault) = judged {
            self.record_deed(&mut *tx, by, &entry(AuditOutcome::Denied)).await?;
            tx.commit().await?;
            return Err(fault.into());
        }
        // An admin's look at another's is on record even where nothing is left to do.
        if found.revoked && judged == Ok(Access::Own) {
            tx.rollback().await?;
            return Ok(());
        }
        if !found.revoked {
            sqlx::query!(
                "UPDATE access_tokens SET revoked_at = now() WHERE tenant_id = $1 AND token_id = $2",
                self.tenant.as_str(),
                id.uuid()
            )
            .execute(&mut *tx)
            .await?;
        }
        self.record_deed(&mut *tx, by, &entry(AuditOutcome::Done)).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn read_scopes(stored: &[String]) -> Result<Vec<Scope>, Error> {
    stored.iter().map(|scope| views::read(scope)).collect()
}

impl TryFrom<Row> for Token {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            token_id: TokenId::from_uuid(row.token_id),
            name: row.name,
            owner_principal_id: row.principal_id,
            scopes: read_scopes(&row.scopes)?,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        })
    }
}
