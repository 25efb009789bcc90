//! Stored credentials on the wire: what opens repositories of a host. The secret goes in and never comes out.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::CredentialId;

/// How a credential opens a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A password for https.
    Token,
    /// A private key for ssh, with the host keys that are expected.
    DeployKey,
}

impl CredentialKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::DeployKey => "deploy_key",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// For whom a credential is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CredentialOwner {
    /// For the caller alone.
    #[default]
    Me,
    /// For everybody in the tenant who has none for that host; set and removed by admins.
    Tenant,
}

impl CredentialOwner {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Me => "me",
            Self::Tenant => "tenant",
        }
    }
}

impl fmt::Display for CredentialOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A credential to store, in place of the owner's earlier one of that host and kind.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCredential {
    /// The host, with `:port` unless it is 443 (token) or 22 (deploy key).
    #[schema(examples("github.com"), min_length = 1, max_length = 262, pattern = r"^[A-Za-z0-9_.:\[\]-]+$")]
    pub host: String,
    pub kind: CredentialKind,
    #[serde(default)]
    pub owner: CredentialOwner,
    /// Of the kind `token`: at most 4096 bytes, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only, format = Password, min_length = 1, max_length = 4096, pattern = "^\\s*[^\\x00-\\x1f\\x7f-\\x9f]*\\s*$")]
    pub token: Option<String>,
    /// Of the kind `deploy_key`: an OpenSSH or PEM private key without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(write_only, format = Password, max_length = 16384)]
    pub private_key: Option<String>,
    /// Of the kind `deploy_key`: the host keys that are expected, as in a known_hosts file, a line each:
    /// `host[,host] keytype base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 8192)]
    pub known_hosts: Option<String>,
}

impl fmt::Debug for SetCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetCredential").field("kind", &self.kind).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A stored credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credential {
    pub credential_id: CredentialId,
    pub host: String,
    pub kind: CredentialKind,
    pub owner: CredentialOwner,
    /// Of a deploy key in OpenSSH's form: its public key's fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("SHA256:uNiVztksCsDhcc0u9e8BrvzkOdBPqlNvFnEATkJKPZs"))]
    pub fingerprint: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// The caller's own credentials and the tenant's, in order of host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CredentialList {
    pub credentials: Vec<Credential>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_value_is_the_serde_value() {
        for kind in [CredentialKind::Token, CredentialKind::DeployKey] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        for owner in [CredentialOwner::Me, CredentialOwner::Tenant] {
            assert_eq!(serde_json::to_value(owner).unwrap(), owner.as_str());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let set = SetCredential {
            host: "h".into(),
            kind: CredentialKind::Token,
            owner: CredentialOwner::Me,
            token: Some("s3cret".into()),
            private_key: Some("s3cret".into()),
            known_hosts: None,
        };
        assert!(!format!("{set:?}").contains("s3cret"));
    }
}
