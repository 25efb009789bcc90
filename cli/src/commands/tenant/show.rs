//! `alpine tenant show`.

use clap::Args;

use super::{Shown, tenant_id};
use crate::{Context, error::CliError};

/// Show a tenant's limits and what it uses
///
/// Your own, unless you name another (operators).
#[derive(Debug, Args)]
pub struct Show {
    /// The tenant [default: your own]
    #[arg(value_name = "tenant", value_parser = tenant_id)]
    tenant: Option<String>,
}

impl Show {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let id = match &self.tenant {
            Some(id) => id.clone(),
            None => client.whoami(&context.ui).await?.tenant,
        };
        let tenant = client.tenant(&context.ui, &id).await?;
        context.ui.answer(&Shown(tenant));
        Ok(())
    }
}
