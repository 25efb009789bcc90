//! `alpine credential rm`: remove a stored credential.

use alpine_api::{CredentialId, CredentialOwner};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style},
    wire,
};

/// Remove a stored credential
///
/// By its id: yours, or the tenant's (administrators). By its host: yours, if there is one for that host. An up under way
/// that needs it fails.
#[derive(Debug, Args)]
pub struct Rm {
    /// The credential's id, or its host
    #[arg(value_name = "credential-id|host")]
    credential: String,
}

impl Rm {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let id = match self.credential.parse() {
            Ok(id) => id,
            Err(_) => self.of_host(client.credentials(&context.ui).await?.credentials)?,
        };
        client.remove_credential(&context.ui, id).await?;
        context.ui.answer(&Removed { credential_id: id, removed: true });
        Ok(())
    }
}

impl Rm {
    /// The caller's only one for the host; never the tenant's, which is others' too.
    fn of_host(&self, stored: Vec<wire::Credential>) -> Result<CredentialId, CliError> {
        let fits = |one: &wire::Credential| {
            one.owner.known() == Some(CredentialOwner::Me) && one.host.eq_ignore_ascii_case(self.credential.trim())
        };
        let own: Vec<CredentialId> = stored.iter().filter(|one| fits(one)).map(|one| one.credential_id).collect();
        match own[..] {
            [id] => Ok(id),
            [] => Err(CliError::NoSuchCredential),
            _ => Err(CliError::Usage {
                cause: "you have several credentials for that host".to_owned(),
                next_step: format!("name one by its id: {}", own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            }),
        }
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
    use alpine_api::CredentialKind;

    use super::{super::row, *};
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let removed = Removed { credential_id: row(1, CredentialKind::Token, CredentialOwner::Me).credential_id, removed: true };
        insta::assert_snapshot!("credential_rm_json", json_of(&removed));
        assert_eq!(people_of(&removed), "cred_019ab1c24d3e7f508192a3b4c5d62001 is removed.");
    }

    #[test]
    fn a_host_stands_for_the_callers_own_credential_if_there_is_one() {
        use CredentialOwner::{Me, Tenant};
        let stored = |n, host: &str, owner| wire::Credential {
            credential_id: row(n, CredentialKind::Token, owner).credential_id,
            host: host.to_owned(),
            kind: wire::Word::Known(CredentialKind::Token),
            owner: wire::Word::Known(owner),
            fingerprint: None,
            created_at: crate::testing::at("2026-11-20T10:00:00Z"),
            updated_at: crate::testing::at("2026-11-20T10:00:00Z"),
        };
        let of = |host: &str, stored| Rm { credential: host.to_owned() }.of_host(stored).map_err(|error| error.to_string());
        let two = || vec![stored(1, "github.com", Me), stored(2, "github.com", Tenant), stored(3, "gitlab.com", Tenant)];
        assert_eq!(of("GitHub.com", two()), Ok(two()[0].credential_id));
        assert_eq!(of("gitlab.com", two()), Err("credential not found".to_owned()));
        let several = vec![stored(1, "github.com", Me), stored(2, "github.com", Me)];
        assert_eq!(of("github.com", several), Err("you have several credentials for that host".to_owned()));
    }
}
