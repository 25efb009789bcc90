//! `alpine credential list`: what is stored, without secrets.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::Row;
use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, ago, table},
};

/// List your stored credentials and the tenant's
#[derive(Debug, Args)]
pub struct List {}

impl List {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let list = context.client()?.credentials(&context.ui).await?;
        context.ui.answer(&Rows(list.credentials.into_iter().map(Row::from).collect()));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Rows(Vec<Row>);

impl Answer for Rows {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No stored credentials.".to_owned();
        }
        let cells = |row: &Row| {
            let Row { credential_id, host, kind, owner, fingerprint, updated_at, .. } = row;
            let [id, kind, owner, updated] = [credential_id.to_string(), kind.to_string(), owner.to_string(), ago(*updated_at, now)];
            [id, host.clone(), kind, owner, updated, fingerprint.clone().unwrap_or_default()]
        };
        let rows: Vec<[String; 6]> = self.0.iter().map(cells).collect();
        table(["CREDENTIAL", "HOST", "KIND", "OWNER", "UPDATED", "FINGERPRINT"], &rows, style)
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::{CredentialKind, CredentialOwner};

    use super::{super::row, *};
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let rows =
            Rows(vec![row(1, CredentialKind::DeployKey, CredentialOwner::Me), row(2, CredentialKind::Token, CredentialOwner::Tenant)]);
        insta::assert_snapshot!("credential_list_json", json_of(&rows));
        insta::assert_snapshot!("credential_list_people", people_of(&rows));
        assert_eq!((json_of(&Rows(vec![])).as_str(), people_of(&Rows(vec![])).as_str()), ("[]", "No stored credentials."));
    }
}
