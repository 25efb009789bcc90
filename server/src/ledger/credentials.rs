//! Stored credentials, as their owners see them: everything but the secret, which is sealed here and opened in a worker.

use alpine_api::{AuditOutcome, Credential, CredentialId, CredentialOwner};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgTransaction};
use uuid::Uuid;

use super::{Error, TenantLedger, audit::Deed, scope::in_tenant, seal::Place, views};
use crate::domain::{Fault, credential::GitCredential, principal::Caller, stored_credential::NewCredential};

const SET: &str = "credential.set";
const REMOVE: &str = "credential.remove";
const NEEDED_ROLE: &str = "alpine.admin";
/// What one owner may have.
const MOST: i64 = 100;
const NOT_FOUND: Fault = Fault::NotFound("credential");

/// What became of a credential that was set.
#[derive(Debug, Clone)]
pub struct Stored {
    pub credential: Credential,
    /// It is in place of none.
    pub new: bool,
}

struct Row {
    credential_id: Uuid,
    principal_id: Option<String>,
    host: String,
    kind: String,
    fingerprint: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Credential {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            credential_id: CredentialId::from_uuid(row.credential_id),
            host: row.host,
            kind: views::read(&row.kind)?,
            owner: if row.principal_id.is_some() { CredentialOwner::Me } else { CredentialOwner::Tenant },
            fingerprint: row.fingerprint,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The columns of a credential that is being set.
struct Sealed<'a> {
    id: CredentialId,
    principal: Option<&'a str>,
    kind: &'static str,
    known_hosts: Option<&'a str>,
    key_id: &'a str,
    sealed: Vec<u8>,
}

impl TenantLedger {
    /// The caller's own and the tenant's, in order of host.
    #[tracing::instrument(level = "debug", name = "ledger.credentials", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "credentials"))]
    pub async fn credentials(&self, by: &Caller) -> Result<Vec<Credential>, Error> {
        let rows = in_tenant!(
            query_as(
                Row,
                "SELECT credential_id, principal_id, host, kind, fingerprint, created_at, updated_at FROM stored_credentials
                 WHERE tenant_id = tenant.id AND coalesce(principal_id, '') IN ($2, '') ORDER BY host, kind, principal_id NULLS LAST"
            ),
            self.tenant.as_str(),
            by.id.as_str()
        )
        .fetch_all(self.statements())
        .await?;
        rows.into_iter().map(Credential::try_from).collect()
    }

    /// Seal a credential and store it, in place of the owner's earlier one of that host and kind.
    #[tracing::instrument(level = "debug", name = "ledger.set_credential", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "set_credential"))]
    pub async fn set_credential(&self, by: &Caller, new: &NewCredential) -> Result<Stored, Error> {
        let principal = match new.owner {
            CredentialOwner::Me => Some(by.id.as_str()),
            CredentialOwner::Tenant => None,
        };
        let about = format!("{} for {}", new.kind(), new.host.as_str());
        if principal.is_none() && !by.is_admin() {
            let deed = Deed { reason: Some(&about), ..Deed::on(SET, AuditOutcome::Denied, new.host.as_str()) };
            self.record_deed(self.statements(), by, &deed).await?;
            return Err(Fault::RoleMissing(NEEDED_ROLE).into());
        }
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let (stored, new) = loop {
            if let Some(id) = self.lock_credential(&mut tx, principal, new).await? {
                break (self.replace_credential(&mut tx, self.seal(id, principal, new)?, new).await?, false);
            }
            let sealed = self.seal(CredentialId::generate(), principal, new)?;
            // Somebody else may be storing the same at this moment; then there is one to replace.
            if let Some(row) = self.insert_credential(&mut tx, by, sealed, new).await? {
                break (row, true);
            }
        };
        let credential = Credential::try_from(stored)?;
        let target = credential.credential_id.to_string();
        let deed = Deed { reason: Some(&about), ..Deed::on(SET, AuditOutcome::Done, &target).of(principal) };
        self.record_deed(&mut *tx, by, &deed).await?;
        tx.commit().await?;
        Ok(Stored { credential, new })
    }

    /// Remove a credential of the caller's, or (an admin) of the tenant's. Another's is as absent.
    #[tracing::instrument(level = "debug", name = "ledger.remove_credential", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "remove_credential"))]
    pub async fn remove_credential(&self, by: &Caller, id: CredentialId) -> Result<(), Error> {
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let found = in_tenant!(
            query("SELECT principal_id, host, kind FROM stored_credentials WHERE tenant_id = tenant.id AND credential_id = $2 FOR UPDATE"),
            self.tenant.as_str(),
            id.uuid()
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(NOT_FOUND)?;
        let refused = match found.principal_id.as_deref() {
            Some(principal) if principal == by.id.as_str() => None,
            Some(_) => Some(NOT_FOUND),
            None if by.is_admin() => None,
            None => Some(Fault::RoleMissing(NEEDED_ROLE)),
        };
        if refused.is_none() {
            sqlx::query!("DELETE FROM stored_credentials WHERE tenant_id = $1 AND credential_id = $2", self.tenant.as_str(), id.uuid())
                .execute(&mut *tx)
                .await?;
        }
        let (target, about) = (id.to_string(), format!("{} for {}", found.kind, found.host));
        let outcome = if refused.is_none() { AuditOutcome::Done } else { AuditOutcome::Denied };
        let deed = Deed { reason: Some(&about), ..Deed::on(REMOVE, outcome, &target).of(found.principal_id.as_deref()) };
        self.record_deed(&mut *tx, by, &deed).await?;
        tx.commit().await?;
        refused.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// The earlier one, which nobody else changes until the transaction ends. The first statement of the transaction.
    async fn lock_credential(
        &self,
        tx: &mut PgTransaction<'_>,
        principal: Option<&str>,
        new: &NewCredential,
    ) -> Result<Option<CredentialId>, Error> {
        let id = in_tenant!(
            query_scalar(
                "SELECT credential_id FROM stored_credentials
                 WHERE tenant_id = tenant.id AND coalesce(principal_id, '') = coalesce($2, '') AND host = $3 AND kind = $4 FOR UPDATE"
            ),
            self.tenant.as_str(),
            principal,
            new.host.as_str(),
            new.kind().as_str()
        )
        .fetch_optional(&mut **tx)
        .await?;
        Ok(id.map(CredentialId::from_uuid))
    }

    fn seal<'a>(&'a self, id: CredentialId, principal: Option<&'a str>, new: &'a NewCredential) -> Result<Sealed<'a>, Error> {
        let (secret, known_hosts) = match &new.secret {
            GitCredential::Token(token) => (token, None),
            GitCredential::DeployKey { private_key, known_hosts } => (private_key, Some(known_hosts.as_str())),
        };
        let kind = new.kind().as_str();
        let place = Place::Stored { tenant: &self.tenant, credential: id, principal, host: new.host.as_str(), kind, known_hosts };
        let sealer = &self.ledger.sealer;
        Ok(Sealed { id, principal, kind, known_hosts, key_id: sealer.key_id(), sealed: sealer.seal(place, secret)? })
    }

    async fn replace_credential(&self, on: &mut PgConnection, sealed: Sealed<'_>, new: &NewCredential) -> Result<Row, Error> {
        let row = sqlx::query_as!(
            Row,
            "UPDATE stored_credentials SET key_id = $3, sealed = $4, known_hosts = $5, fingerprint = $6, updated_at = now()
             WHERE tenant_id = $1 AND credential_id = $2
             RETURNING credential_id, principal_id, host, kind, fingerprint, created_at, updated_at",
            self.tenant.as_str(),
            sealed.id.uuid(),
            sealed.key_id,
            sealed.sealed,
            sealed.known_hosts,
            new.fingerprint
        )
        .fetch_one(on)
        .await?;
        Ok(row)
    }

    /// `None`: there is one by now.
    async fn insert_credential(
        &self,
        tx: &mut PgTransaction<'_>,
        by: &Caller,
        sealed: Sealed<'_>,
        new: &NewCredential,
    ) -> Result<Option<Row>, Error> {
        let there = sqlx::query!(
            r#"SELECT (SELECT count(*) FROM stored_credentials WHERE tenant_id = $1 AND coalesce(principal_id, '') = coalesce($2, '')) AS "count!",
                   EXISTS (SELECT FROM tenants WHERE tenant_id = $1) AS "known!""#,
            self.tenant.as_str(),
            sealed.principal
        )
        .fetch_one(&mut **tx)
        .await?;
        if there.count >= MOST {
            return Err(Fault::TooManyCredentials(MOST).into());
        }
        if !(there.known || self.ledger.tenants.on_first_sight) {
            return Err(Fault::TenantUnknown.into());
        }
        let row = sqlx::query_as!(
            Row,
            "INSERT INTO stored_credentials (tenant_id, credential_id, principal_id, host, kind, key_id, sealed, known_hosts, fingerprint, created_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING
             RETURNING credential_id, principal_id, host, kind, fingerprint, created_at, updated_at",
            self.tenant.as_str(),
            sealed.id.uuid(),
            sealed.principal,
            new.host.as_str(),
            sealed.kind,
            sealed.key_id,
            sealed.sealed,
            sealed.known_hosts,
            new.fingerprint,
            by.id.as_str()
        )
        .fetch_optional(&mut **tx)
        .await?;
        Ok(row)
    }
}
