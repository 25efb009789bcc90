//! `alpine credential set`: store a credential.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use alpine_api::{CredentialKind, CredentialOwner, SetCredential};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use super::Row;
use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, fields},
};

/// More than any secret that the server takes.
const MOST_BYTES: u64 = 64 * 1024;

/// Store a token or an SSH deploy key for a host
///
/// In place of the one that was stored for that host and kind before.
#[derive(Debug, Args)]
#[command(override_usage = "\
alpine credential set <host> --token-stdin [--tenant]
       alpine credential set <host> --deploy-key <FILE> --known-hosts <FILE> [--tenant]")]
#[command(after_help = "\
Examples:
  gh auth token | alpine credential set github.com --token-stdin
  ssh-keyscan github.com > hosts   # and compare with what the host publishes
  alpine credential set github.com --deploy-key ./key --known-hosts ./hosts")]
pub struct Set {
    /// The host, with :port where it is not 443 (a token) or 22 (a deploy key)
    #[arg(value_name = "host")]
    host: String,
    /// For everybody in the tenant who has none (administrators)
    #[arg(long)]
    tenant: bool,
    /// Read a token for https from standard input
    #[arg(long, conflicts_with_all = ["deploy_key", "known_hosts"], required_unless_present = "deploy_key")]
    token_stdin: bool,
    /// A private key for ssh, without a passphrase
    #[arg(long, value_name = "FILE", requires = "known_hosts")]
    deploy_key: Option<PathBuf>,
    /// The host keys to expect, as in known_hosts
    #[arg(long, value_name = "FILE", requires = "deploy_key")]
    known_hosts: Option<PathBuf>,
}

impl Set {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let owner = if self.tenant { CredentialOwner::Tenant } else { CredentialOwner::Me };
        let mut body = SetCredential {
            host: self.host.clone(),
            kind: CredentialKind::Token,
            owner,
            token: None,
            private_key: None,
            known_hosts: None,
        };
        match (&self.deploy_key, &self.known_hosts) {
            (Some(key), Some(known_hosts)) => {
                body.kind = CredentialKind::DeployKey;
                body.private_key = Some(file(key)?);
                body.known_hosts = Some(file(known_hosts)?);
            }
            _ => body.token = Some(text_of(&mut io::stdin().lock(), "standard input")?.trim().to_owned()),
        }
        let stored = client.set_credential(&context.ui, &body).await?;
        context.ui.answer(&Stored(Row::from(stored)));
        Ok(())
    }
}

fn file(path: &Path) -> Result<String, CliError> {
    let name = path.display().to_string();
    let mut file = fs::File::open(path).map_err(|source| unreadable(&name, &source.to_string()))?;
    text_of(&mut file, &name)
}

/// The text, which is never repeated, whatever is wrong with it.
fn text_of(from: &mut impl Read, name: &str) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    from.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|source| unreadable(name, &source.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unreadable(name, "it is too large for a credential"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable(name, "it is not text"))?;
    if text.trim().is_empty() { Err(unreadable(name, "it is empty")) } else { Ok(text) }
}

fn unreadable(name: &str, why: &str) -> CliError {
    CliError::Usage {
        cause: format!("cannot read a credential from {name}: {why}"),
        next_step: "run alpine credential set --help".to_owned(),
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Stored(Row);

impl Answer for Stored {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let Row { credential_id, host, kind, owner, fingerprint, .. } = &self.0;
        let rows = [
            ("credential", Some(credential_id.to_string())),
            ("host", Some(host.clone())),
            ("kind", Some(kind.to_string())),
            ("owner", Some(owner.to_string())),
            ("fingerprint", fingerprint.clone()),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::row, *};
    use crate::{
        config::Environment,
        testing::{alpine, json_of, people_of},
    };

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let key = Stored(row(1, CredentialKind::DeployKey, CredentialOwner::Tenant));
        insta::assert_snapshot!("credential_set_json", json_of(&key));
        insta::assert_snapshot!("credential_set_people", people_of(&key));
        insta::assert_snapshot!("credential_set_token_people", people_of(&Stored(row(1, CredentialKind::Token, CredentialOwner::Me))));
    }

    #[test]
    fn what_is_read_is_bounded_and_never_repeated() {
        let read = |bytes: &[u8]| text_of(&mut io::Cursor::new(bytes.to_vec()), "standard input");
        assert_eq!(read(b" tok\n").unwrap(), " tok\n");
        for bad in [b"".to_vec(), b" \n".to_vec(), b"s3cr3t\xff".to_vec(), b"s3cr3t ".repeat(20_000)] {
            let report = read(&bad).unwrap_err().report();
            assert!(report.cause.starts_with("cannot read a credential from standard input: ") && !report.cause.contains("s3cr3t"));
        }
    }

    #[tokio::test]
    async fn a_secret_on_the_command_line_is_no_option_and_is_never_repeated() {
        for args in [
            &["credential", "set", "github.com", "--token", "s3cr3t", "--json"][..],
            &["credential", "set", "github.com", "--token=s3cr3t", "--json"],
            &["credential", "set", "github.com", "--token-stdin=s3cr3t", "--json"],
            &["credential", "set", "github.com", "--token-stdin", "s3cr3t", "--json"],
            &["credential", "set", "github.com", "--json"],
            &["credential", "set", "github.com", "--deploy-key", "s3cr3t", "--json"],
            &["credential", "set", "github.com", "--known-hosts", "s3cr3t", "--json"],
            &["credential", "set", "github.com", "--token-stdin", "--deploy-key", "s3cr3t", "--known-hosts", "s3cr3t", "--json"],
        ] {
            let run = alpine(args, &Environment::default()).await;
            let (code, cause, exit) = run.json_error();
            assert_eq!((code.as_str(), exit), ("ERR_INVALID_REQUEST", 1), "{args:?} {cause}");
            assert!(!format!("{run:?}").contains("s3cr3t"), "{run:?}");
        }
    }
}
