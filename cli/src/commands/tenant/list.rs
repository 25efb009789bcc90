//! `alpine tenant list`.

use alpine_api::Tenant;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::of;
use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, table},
};

const PAGE: u32 = 200;

/// List all tenants with their limits and what they use (operators)
#[derive(Debug, Args)]
pub struct List {}

impl List {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = client.tenants(&context.ui, after.as_deref(), PAGE).await?;
            let nothing_new = page.tenants.is_empty();
            all.extend(page.tenants);
            after = page.next_after;
            if after.is_none() || nothing_new {
                break;
            }
        }
        context.ui.answer(&Tenants(all));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Tenants(Vec<Tenant>);

impl Answer for Tenants {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No tenants.".to_owned();
        }
        let most = |limit: Option<i32>| limit.map_or_else(|| "-".to_owned(), |most| most.to_string());
        let row = |Tenant { tenant_id, quotas, usage, .. }: &Tenant| {
            [
                tenant_id.clone(),
                of(usage.active_sessions, quotas.max_active_sessions),
                most(quotas.max_active_sessions_per_principal),
                of(usage.operations, quotas.max_operations),
                most(quotas.max_operations_per_principal),
            ]
        };
        let rows: Vec<[String; 5]> = self.0.iter().map(row).collect();
        table(["TENANT", "SESSIONS", "A PRINCIPAL", "OPERATIONS", "A PRINCIPAL"], &rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        commands::tenant::tests::acme,
        testing::{json_of, people_of},
    };

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let tenants = Tenants(vec![acme(), Tenant { tenant_id: "a team\nof two".to_owned(), quotas: Default::default(), ..acme() }]);
        insta::assert_snapshot!("tenant_list_json", json_of(&tenants));
        insta::assert_snapshot!("tenant_list_people", people_of(&tenants));
        assert_eq!(people_of(&Tenants(Vec::new())), "No tenants.");
    }
}
