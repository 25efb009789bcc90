//! `alpine credential`: what opens repositories of a host, kept by the server. A secret never stands on a command line.

mod list;
mod rm;
mod set;

use alpine_api::{CredentialId, CredentialKind, CredentialOwner};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    wire::{self, Word},
};

/// Keep credentials for repositories on the server
///
/// An up uses the token that comes with it (GITHUB_TOKEN, GH_TOKEN), else yours for the repository's host, else the
/// tenant's. The server seals them and shows them to nobody again.
#[derive(Debug, Args)]
pub struct Credential {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Set(set::Set),
    #[command(visible_alias = "ls")]
    List(list::List),
    Rm(rm::Rm),
}

impl Credential {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            Command::Set(set) => set.run(context).await,
            Command::List(list) => list.run(context).await,
            Command::Rm(rm) => rm.run(context).await,
        }
    }
}

/// A credential as it is printed.
#[derive(Debug, Serialize)]
struct Row {
    credential_id: CredentialId,
    host: String,
    kind: Word<CredentialKind>,
    owner: Word<CredentialOwner>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<wire::Credential> for Row {
    fn from(credential: wire::Credential) -> Self {
        let wire::Credential { credential_id, host, kind, owner, fingerprint, created_at, updated_at } = credential;
        Self { credential_id, host, kind, owner, fingerprint, created_at, updated_at }
    }
}

#[cfg(test)]
fn row(n: u128, kind: CredentialKind, owner: CredentialOwner) -> Row {
    use crate::testing::at;
    Row {
        credential_id: CredentialId::from_uuid(uuid::Uuid::from_u128(0x019a_b1c2_4d3e_7f50_8192_a3b4_c5d6_2000 + n)),
        host: "github.com".to_owned(),
        kind: Word::Known(kind),
        owner: Word::Known(owner),
        fingerprint: (kind == CredentialKind::DeployKey).then(|| "SHA256:uNiVztksCsDhcc0u9e8BrvzkOdBPqlNvFnEATkJKPZs".to_owned()),
        created_at: at("2026-11-20T10:00:00Z"),
        updated_at: at("2026-11-22T10:00:00Z"),
    }
}
