//! `alpine tenant set`.

use alpine_api::UpdateTenant;
use clap::Args;

use super::{Bound, Limit, Limits, Shown, tenant_id};
use crate::{Context, error::CliError};

/// Change a tenant's limits
///
/// Operators change all of them; administrators those for each principal, of their own tenant.
#[derive(Debug, Args)]
pub struct Set {
    /// The tenant
    #[arg(value_name = "tenant", value_parser = tenant_id)]
    tenant: String,
    #[command(flatten)]
    limits: Limits,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Set {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let limits = self.limits;
        let sessions = [limits.max_sessions, limits.max_sessions_per_principal];
        let operations = [limits.max_operations, limits.max_operations_per_principal];
        let bounds = [limits.max_lifetime, limits.max_idle_timeout];
        let sizes = [limits.max_memory_mb, limits.max_cpu_millis, limits.max_disk_mb];
        let none = [sessions, operations].as_flattened().iter().chain(&sizes).all(Option::is_none);
        if none && bounds.iter().all(Option::is_none) {
            return Err(CliError::Usage {
                cause: "a limit is required".to_owned(),
                next_step: "give at least one, for example --max-sessions 10; run alpine tenant set --help".to_owned(),
            });
        }
        let stated = |limit: Option<Limit>| limit.map(|Limit(most)| most);
        let bound = |bound: Option<Bound>| bound.map(|Bound(most)| most);
        let body = UpdateTenant {
            max_active_sessions: stated(limits.max_sessions),
            max_active_sessions_per_principal: stated(limits.max_sessions_per_principal),
            max_operations: stated(limits.max_operations),
            max_operations_per_principal: stated(limits.max_operations_per_principal),
            max_memory_mb: stated(limits.max_memory_mb),
            max_cpu_millis: stated(limits.max_cpu_millis),
            max_disk_mb: stated(limits.max_disk_mb),
            max_lifetime_seconds: bound(limits.max_lifetime),
            max_idle_seconds: bound(limits.max_idle_timeout),
            reason: self.reason.clone(),
        };
        context.ui.answer(&Shown(client.update_tenant(&context.ui, &self.tenant, &body).await?));
        Ok(())
    }
}
