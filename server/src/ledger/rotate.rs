//! Rotation: what is sealed with another key is sealed anew with the current one. Batches of one tenant, each a short
//! transaction with its entry in the audit log; it can be ended at any moment and begun again.

use alpine_api::{AuditOutcome, CredentialId, OperationId, SessionId};
use sqlx::PgTransaction;
use uuid::Uuid;

use super::{Error, Ledger, SealError, audit::Deed, seal::Place};
use crate::domain::principal::{Caller, Principal, PrincipalId, Roles, SYSTEM_ACTOR, TenantId};

const BATCH: i64 = 100;
const REQUEST_ID: &str = "rotate";

/// What a rotation has done.
#[derive(Debug, Default)]
pub struct Rotation {
    pub resealed: u64,
    /// What no key here opens. It is left as it is.
    pub unopened: Vec<Unopened>,
}

/// A secret that cannot be opened.
#[derive(Debug)]
pub struct Unopened {
    pub tenant: String,
    /// A stored credential's id, or that of the operation whose token it is, or of the session whose password.
    pub id: String,
    pub key_id: String,
    pub why: SealError,
}

/// The tables of secrets.
#[derive(Debug, Clone, Copy)]
enum Table {
    Stored,
    Requests,
    Sessions,
}

/// A row of any of them. `credential_id` is its key in all.
struct Row {
    credential_id: Uuid,
    operation_id: Option<Uuid>,
    principal_id: Option<String>,
    host: Option<String>,
    kind: Option<String>,
    known_hosts: Option<String>,
    key_id: String,
    sealed: Vec<u8>,
}

impl Row {
    fn place<'a>(&'a self, table: Table, tenant: &'a TenantId) -> Place<'a> {
        match self.operation_id {
            None if matches!(table, Table::Sessions) => Place::Session { tenant, session: SessionId::from_uuid(self.credential_id) },
            Some(operation) => Place::Request { tenant, operation: OperationId::from_uuid(operation) },
            None => Place::Stored {
                tenant,
                credential: CredentialId::from_uuid(self.credential_id),
                principal: self.principal_id.as_deref(),
                host: self.host.as_deref().unwrap_or_default(),
                kind: self.kind.as_deref().unwrap_or_default(),
                known_hosts: self.known_hosts.as_deref(),
            },
        }
    }

    fn id(&self, table: Table) -> String {
        let credential = || match table {
            Table::Sessions => SessionId::from_uuid(self.credential_id).to_string(),
            Table::Stored | Table::Requests => CredentialId::from_uuid(self.credential_id).to_string(),
        };
        self.operation_id.map_or_else(credential, |operation| OperationId::from_uuid(operation).to_string())
    }
}

impl Ledger {
    /// Seal everything with the current key. Servers may go on meanwhile; what those that still seal with an old key
    /// have sealed behind this one's back is found by a further pass.
    #[tracing::instrument(level = "debug", name = "ledger.rotate_credentials", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "rotate_credentials"))]
    pub async fn rotate_credentials(&self) -> Result<Rotation, Error> {
        let mut rotation = Rotation::default();
        loop {
            let before = rotation.resealed;
            rotation.unopened.clear();
            let mut tenant = None;
            while let Some(next) = self.tenant_to_rotate(tenant.as_ref()).await? {
                for table in [Table::Stored, Table::Requests, Table::Sessions] {
                    self.rotate_table(&next, table, &mut rotation).await?;
                }
                tenant = Some(next);
            }
            if rotation.resealed == before {
                return Ok(rotation);
            }
        }
    }

    async fn rotate_table(&self, tenant: &TenantId, table: Table, rotation: &mut Rotation) -> Result<(), Error> {
        let mut after = Uuid::nil();
        loop {
            let mut tx = self.transactions().begin().await?;
            let rows = self.rows_to_rotate(&mut tx, tenant, table, after).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.credential_id;
            let mut resealed = 0;
            for row in &rows {
                let place = row.place(table, tenant);
                match self.sealer.open(place, &row.key_id, &row.sealed) {
                    Ok(secret) => {
                        let sealed = self.sealer.seal(place, &secret)?;
                        self.reseal(&mut tx, tenant, table, row.credential_id, &sealed).await?;
                        resealed += 1;
                    }
                    Err(why) => {
                        let (tenant, id, key_id) = (tenant.to_string(), row.id(table), row.key_id.clone());
                        rotation.unopened.push(Unopened { tenant, id, key_id, why });
                    }
                }
            }
            if resealed > 0 {
                self.record_rotation(&mut tx, tenant, resealed).await?;
                tx.commit().await?;
                rotation.resealed += resealed;
            }
        }
    }

    /// The first tenant behind this one that has something sealed with another key.
    async fn tenant_to_rotate(&self, after: Option<&TenantId>) -> Result<Option<TenantId>, Error> {
        let next = sqlx::query_scalar!(
            "SELECT min(tenant_id) FROM (
                SELECT tenant_id FROM stored_credentials WHERE key_id <> $1 UNION ALL SELECT tenant_id FROM credentials WHERE key_id <> $1
                UNION ALL SELECT tenant_id FROM session_passwords WHERE key_id <> $1
             ) AS sealed WHERE tenant_id > $2",
            self.sealer.key_id(),
            after.map_or("", TenantId::as_str)
        )
        .fetch_one(self.statements())
        .await?;
        next.map(|name| TenantId::parse(&name).map_err(|bad| Error::Corrupt(format!("tenant: {bad}")))).transpose()
    }

    /// Locked in the order of their ids, so that two rotations do not wait for each other.
    async fn rows_to_rotate(&self, tx: &mut PgTransaction<'_>, tenant: &TenantId, table: Table, after: Uuid) -> Result<Vec<Row>, Error> {
        let (tenant, current) = (tenant.as_str(), self.sealer.key_id());
        let rows = match table {
            Table::Stored => {
                sqlx::query_as!(
                    Row,
                    r#"SELECT credential_id, NULL::uuid AS operation_id, principal_id, host AS "host?", kind AS "kind?", known_hosts, key_id, sealed
                       FROM stored_credentials WHERE tenant_id = $1 AND key_id <> $2 AND credential_id > $3
                       ORDER BY credential_id LIMIT $4 FOR UPDATE"#,
                    tenant,
                    current,
                    after,
                    BATCH
                )
                .fetch_all(&mut **tx)
                .await?
            }
            Table::Requests => {
                sqlx::query_as!(
                    Row,
                    r#"SELECT credential_id, operation_id AS "operation_id?", NULL::text AS principal_id, NULL::text AS host, NULL::text AS kind,
                           NULL::text AS known_hosts, key_id, sealed
                       FROM credentials WHERE tenant_id = $1 AND key_id <> $2 AND credential_id > $3
                       ORDER BY credential_id LIMIT $4 FOR UPDATE"#,
                    tenant,
                    current,
                    after,
                    BATCH
                )
                .fetch_all(&mut **tx)
                .await?
            }
            Table::Sessions => {
                sqlx::query_as!(
                    Row,
                    r#"SELECT session_id AS credential_id, NULL::uuid AS operation_id, NULL::text AS principal_id, NULL::text AS host, NULL::text AS kind,
                           NULL::text AS known_hosts, key_id, sealed
                       FROM session_passwords WHERE tenant_id = $1 AND key_id <> $2 AND session_id > $3
                       ORDER BY session_id LIMIT $4 FOR UPDATE"#,
                    tenant,
                    current,
                    after,
                    BATCH
                )
                .fetch_all(&mut **tx)
                .await?
            }
        };
        Ok(rows)
    }

    async fn reseal(&self, tx: &mut PgTransaction<'_>, tenant: &TenantId, table: Table, id: Uuid, sealed: &[u8]) -> Result<(), Error> {
        let (tenant, key_id) = (tenant.as_str(), self.sealer.key_id());
        match table {
            Table::Stored => {
                sqlx::query!(
                    "UPDATE stored_credentials SET key_id = $3, sealed = $4 WHERE tenant_id = $1 AND credential_id = $2",
                    tenant,
                    id,
                    key_id,
                    sealed
                )
                .execute(&mut **tx)
                .await?
            }
            Table::Requests => {
                sqlx::query!(
                    "UPDATE credentials SET key_id = $3, sealed = $4 WHERE tenant_id = $1 AND credential_id = $2",
                    tenant,
                    id,
                    key_id,
                    sealed
                )
                .execute(&mut **tx)
                .await?
            }
            Table::Sessions => {
                sqlx::query!(
                    "UPDATE session_passwords SET key_id = $3, sealed = $4 WHERE tenant_id = $1 AND session_id = $2",
                    tenant,
                    id,
                    key_id,
                    sealed
                )
                .execute(&mut **tx)
                .await?
            }
        };
        Ok(())
    }

    async fn record_rotation(&self, tx: &mut PgTransaction<'_>, tenant: &TenantId, resealed: u64) -> Result<(), Error> {
        let system = PrincipalId::parse(SYSTEM_ACTOR).map_err(|bad| Error::Corrupt(bad.to_string()))?;
        let by = Caller { principal: Principal::new(tenant.clone(), system, Roles::default()), request_id: REQUEST_ID.to_owned() };
        let reason = format!("{resealed} sealed anew");
        let deed = Deed {
            action: "credential.rotate",
            outcome: AuditOutcome::Done,
            target: self.sealer.key_id(),
            session: None,
            owner: None,
            reason: Some(&reason),
            at: None,
        };
        self.tenant(tenant).record_deed(&mut **tx, &by, &deed).await
    }
}
