//! `alpine tenant create`.

use alpine_api::{CreateTenant, CreateTenantQuotas};
use clap::Args;

use super::{Bound, Limit, Limits, Shown, tenant_id};
use crate::{Context, error::CliError};

/// Make a tenant (operators)
///
/// A limit that is not given is none.
#[derive(Debug, Args)]
pub struct Create {
    /// Its id, as the identity provider names it
    #[arg(value_name = "tenant", value_parser = tenant_id)]
    tenant: String,
    #[command(flatten)]
    limits: Limits,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Create {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let given = |limit: Option<Limit>| limit.and_then(|Limit(most)| most);
        let bound = |bound: Option<Bound>| bound.and_then(|Bound(most)| most);
        let quotas = CreateTenantQuotas {
            max_active_sessions: given(self.limits.max_sessions),
            max_active_sessions_per_principal: given(self.limits.max_sessions_per_principal),
            max_operations: given(self.limits.max_operations),
            max_operations_per_principal: given(self.limits.max_operations_per_principal),
            max_memory_mb: given(self.limits.max_memory_mb),
            max_cpu_millis: given(self.limits.max_cpu_millis),
            max_disk_mb: given(self.limits.max_disk_mb),
            max_lifetime_seconds: bound(self.limits.max_lifetime),
            max_idle_seconds: bound(self.limits.max_idle_timeout),
        };
        let body = CreateTenant { tenant_id: self.tenant.clone(), quotas, reason: self.reason.clone() };
        context.ui.answer(&Shown(client.create_tenant(&context.ui, &body).await?));
        Ok(())
    }
}
