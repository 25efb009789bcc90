//! Tenants: what they may use, and who changed that.

use alpine_api::{AuditOutcome, CreateTenant, Tenant, TenantPage, TenantQuotas, TenantUsage, UpdateTenant};
use chrono::{DateTime, Utc};
use sqlx::PgTransaction;

use super::{Error, Ledger, TenantLedger, audit::Deed, scope::in_tenant};
use crate::domain::{
    Fault,
    principal::Caller,
    tenant::{changed, may_change, may_see, needs_operator},
};

struct Row {
    tenant_id: String,
    created_at: DateTime<Utc>,
    max_active_sessions: Option<i32>,
    max_active_sessions_per_principal: Option<i32>,
    max_operations: Option<i32>,
    max_operations_per_principal: Option<i32>,
    max_memory_mb: Option<i32>,
    max_cpu_millis: Option<i32>,
    max_disk_mb: Option<i32>,
    max_lifetime_seconds: Option<i32>,
    max_idle_seconds: Option<i32>,
    active_sessions: i64,
    operations: i64,
    memory_mb: i64,
    cpu_millis: i64,
    disk_mb: i64,
}

impl From<Row> for Tenant {
    fn from(row: Row) -> Self {
        Self {
            tenant_id: row.tenant_id,
            created_at: row.created_at,
            quotas: TenantQuotas {
                max_active_sessions: row.max_active_sessions,
                max_active_sessions_per_principal: row.max_active_sessions_per_principal,
                max_operations: row.max_operations,
                max_operations_per_principal: row.max_operations_per_principal,
                max_memory_mb: row.max_memory_mb,
                max_cpu_millis: row.max_cpu_millis,
                max_disk_mb: row.max_disk_mb,
                max_lifetime_seconds: row.max_lifetime_seconds,
                max_idle_seconds: row.max_idle_seconds,
            },
            usage: TenantUsage {
                active_sessions: row.active_sessions,
                operations: row.operations,
                memory_mb: row.memory_mb,
                cpu_millis: row.cpu_millis,
                disk_mb: row.disk_mb,
            },
        }
    }
}

/// What came of the wish for a tenant.
#[derive(Debug, Clone)]
pub enum Made {
    New(Tenant),
    /// It is there already, with these very limits.
    Same(Tenant),
}

impl Ledger {
    /// Up to `limit` tenants whose ids come after `after`, for operators.
    #[tracing::instrument(level = "debug", name = "ledger.tenants", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "tenants"))]
    pub async fn tenants(&self, by: &Caller, after: &str, limit: i64) -> Result<TenantPage, Error> {
        let own = by.tenant.as_str();
        self.permit(by, "tenant.list", own, needs_operator(by)).await?;
        let api = self.tenant(&by.tenant);
        api.record_deed(api.statements(), by, &Deed::on("tenant.list", AuditOutcome::Done, own)).await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT tenant_id AS "tenant_id!", created_at AS "created_at!", max_active_sessions, max_active_sessions_per_principal,
                   max_operations, max_operations_per_principal, max_memory_mb, max_cpu_millis, max_disk_mb, max_lifetime_seconds,
                   max_idle_seconds, active_sessions AS "active_sessions!", operations AS "operations!", memory_mb AS "memory_mb!",
                   cpu_millis AS "cpu_millis!", disk_mb AS "disk_mb!"
               FROM list_tenants_and_use($1, $2)"#,
            after,
            limit + 1
        )
        .fetch_all(api.statements())
        .await?;
        let mut tenants: Vec<Tenant> = rows.into_iter().map(Tenant::from).collect();
        let more = tenants.len() as i64 > limit;
        tenants.truncate(usize::try_from(limit).unwrap_or(0));
        let next_after = tenants.last().filter(|_| more).map(|tenant| tenant.tenant_id.clone());
        Ok(TenantPage { tenants, next_after })
    }
}

impl TenantLedger {
    /// This tenant. That an operator of another has looked is on record.
    #[tracing::instrument(level = "debug", name = "ledger.describe", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "describe"))]
    pub async fn describe(&self, by: &Caller) -> Result<Tenant, Error> {
        self.ledger.permit(by, "tenant.read", self.tenant.as_str(), may_see(by, &self.tenant)).await?;
        let tenant = self.row().await?.ok_or(Fault::NotFound("tenant"))?;
        self.read_by(by, "tenant.read").await?;
        Ok(tenant)
    }

    /// Make this tenant with these limits. One that is there with the same is the answer too; with others it is a conflict.
    #[tracing::instrument(level = "debug", name = "ledger.create", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "create"))]
    pub async fn create(&self, by: &Caller, new: &CreateTenant) -> Result<Made, Error> {
        let target = self.tenant.as_str();
        self.ledger.permit(by, "tenant.create", target, needs_operator(by)).await?;
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let quotas = TenantQuotas::from(new.quotas);
        let made = sqlx::query!(
            "INSERT INTO tenants (tenant_id, max_active_sessions, max_active_sessions_per_principal, max_operations,
                 max_operations_per_principal, max_memory_mb, max_cpu_millis, max_disk_mb, max_lifetime_seconds, max_idle_seconds)
             SELECT tenant.id, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM set_config('alpine.tenant', $1, true) AS tenant (id) ON CONFLICT DO NOTHING",
            target,
            quotas.max_active_sessions,
            quotas.max_active_sessions_per_principal,
            quotas.max_operations,
            quotas.max_operations_per_principal,
            quotas.max_memory_mb,
            quotas.max_cpu_millis,
            quotas.max_disk_mb,
            quotas.max_lifetime_seconds,
            quotas.max_idle_seconds
        )
        .execute(&mut *tx)
        .await?;
        if made.rows_affected() == 1 {
            let deed = Deed { reason: new.reason.as_deref(), ..Deed::on("tenant.create", AuditOutcome::Done, target) };
            self.record_deed(&mut *tx, by, &deed).await?;
            tx.commit().await?;
            return Ok(Made::New(self.row().await?.ok_or(Fault::NotFound("tenant"))?));
        }
        tx.rollback().await?;
        let there = self.describe(by).await?;
        if there.quotas == quotas { Ok(Made::Same(there)) } else { Err(Fault::TenantExists.into()) }
    }

    /// Change its limits, as far as the caller may.
    #[tracing::instrument(level = "debug", name = "ledger.update", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "update"))]
    pub async fn update(&self, by: &Caller, change: &UpdateTenant) -> Result<Tenant, Error> {
        let target = self.tenant.as_str();
        self.ledger.permit(by, "tenant.update", target, may_change(by, &self.tenant, change)).await?;
        let mut tx = self.ledger.pools.api.transactions.begin().await?;
        let (quotas, said) = changed(self.lock(&mut tx).await?, change);
        sqlx::query!(
            "UPDATE tenants SET max_active_sessions = $2, max_active_sessions_per_principal = $3, max_operations = $4,
                 max_operations_per_principal = $5, max_memory_mb = $6, max_cpu_millis = $7, max_disk_mb = $8,
                 max_lifetime_seconds = $9, max_idle_seconds = $10 WHERE tenant_id = $1",
            target,
            quotas.max_active_sessions,
            quotas.max_active_sessions_per_principal,
            quotas.max_operations,
            quotas.max_operations_per_principal,
            quotas.max_memory_mb,
            quotas.max_cpu_millis,
            quotas.max_disk_mb,
            quotas.max_lifetime_seconds,
            quotas.max_idle_seconds
        )
        .execute(&mut *tx)
        .await?;
        let reason = change.reason.as_ref().map_or_else(|| said.clone(), |reason| format!("{said}; {reason}"));
        let deed = Deed { reason: Some(&reason), ..Deed::on("tenant.update", AuditOutcome::Done, target) };
        self.record_deed(&mut *tx, by, &deed).await?;
        tx.commit().await?;
        Ok(self.row().await?.ok_or(Fault::NotFound("tenant"))?)
    }

    /// Its limits, which nobody else changes before this transaction has ended.
    async fn lock(&self, tx: &mut PgTransaction<'_>) -> Result<TenantQuotas, Error> {
        // The transaction's first statement says for whom it is.
        let quotas = in_tenant!(
            query_as(
                TenantQuotas,
                "SELECT max_active_sessions, max_active_sessions_per_principal, max_operations, max_operations_per_principal,
                     max_memory_mb, max_cpu_millis, max_disk_mb, max_lifetime_seconds, max_idle_seconds
                 FROM tenants WHERE tenant_id = tenant.id FOR NO KEY UPDATE"
            ),
            self.tenant.as_str()
        )
        .fetch_optional(&mut **tx)
        .await?;
        Ok(quotas.ok_or(Fault::NotFound("tenant"))?)
    }

    async fn row(&self) -> Result<Option<Tenant>, Error> {
        let row = in_tenant!(
            query_as(
                Row,
                r#"SELECT t.tenant_id, t.created_at, t.max_active_sessions, t.max_active_sessions_per_principal, t.max_operations,
                       t.max_operations_per_principal, t.max_memory_mb, t.max_cpu_millis, t.max_disk_mb, t.max_lifetime_seconds, t.max_idle_seconds,
                       u.active_sessions AS "active_sessions!", u.operations AS "operations!", z.memory_mb AS "memory_mb!",
                       z.cpu_millis AS "cpu_millis!", z.disk_mb AS "disk_mb!"
                   FROM tenants t, tenant_usage(t.tenant_id) AS u, tenant_sizes_in_use(t.tenant_id) AS z WHERE t.tenant_id = tenant.id"#
            ),
            self.tenant.as_str()
        )
        .fetch_optional(self.statements())
        .await?;
        Ok(row.map(Tenant::from))
    }
}
