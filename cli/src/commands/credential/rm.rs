//! `alpine credential rm`: remove a stored credential.

use alpine_api::CredentialId;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style},
};

/// Remove a stored credential
///
/// Yours, or the tenant's (administrators). An up under way that needs it fails.
#[derive(Debug, Args)]
pub struct Rm {
    /// The credential
    #[arg(value_name = "credential-id")]
    credential: String,
}

impl Rm {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        // What is not of an id's form is no credential's id: the server need not be asked.
        let id: CredentialId = self.credential.parse().map_err(|_| CliError::NoSuchCredential)?;
        client.remove_credential(&context.ui, id).await?;
        context.ui.answer(&Removed { credential_id: id, removed: true });
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Removed {
    credential_id: CredentialId,
    removed: bool,
}

impl Answer for Removed {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        format!("{} is removed.", self.credential_id)
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::{CredentialKind, CredentialOwner};

    use super::{super::row, *};
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let removed = Removed { credential_id: row(1, CredentialKind::Token, CredentialOwner::Me).credential_id, removed: true };
        insta::assert_snapshot!("credential_rm_json", json_of(&removed));
        assert_eq!(people_of(&removed), "cred_019ab1c24d3e7f508192a3b4c5d62001 is removed.");
    }
}
