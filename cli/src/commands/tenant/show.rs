//! `alpine tenant show`.

use clap::Args;

use super::{Shown, tenant_id};
use crate::{Context, error::CliError};

/// Show a tenant's limits and what it uses
#[derive(Debug, Args)]
pub struct Show {
    /// The tenant
    #[arg(value_name = "tenant", value_parser = tenant_id)]
    tenant: String,
}

impl Show {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let tenant = context.client()?.tenant(&context.ui, &self.tenant).await?;
        context.ui.answer(&Shown(tenant));
        Ok(())
    }
}
