//! What opens a repository: found and opened again whenever git is about to run, and kept nowhere.

use alpine_api::{CredentialId, CredentialKind, OperationId};

use super::{Error, Lease, Ledger, accept_up::missing, seal::Place};
use crate::domain::{
    credential::GitCredential,
    repo::{RepoUrl, Scheme},
    stored_credential::{CredentialHost, kind_for},
};

impl Ledger {
    /// The request's own token; else what the session's principal has stored for the host; else what the tenant has.
    /// `None` where the repository is read without any. `Fault::RepoAuthMissing` or `DeployKeyMissing`: what there was
    /// when the request was accepted has been removed. The first that is there is used, whether it opens or not.
    #[tracing::instrument(level = "debug", name = "ledger.git_credential", skip_all, fields(otel.kind = "client", db.system.name = "postgresql", db.operation.name = "git_credential"))]
    pub async fn git_credential(&self, lease: &Lease, operation: OperationId, url: &RepoUrl) -> Result<Option<GitCredential>, Error> {
        let (host, kind) = (CredentialHost::of(url), kind_for(url));
        let row = sqlx::query!(
            r#"SELECT s.public, r.key_id AS "request_key_id?", r.sealed AS "request_sealed?", c.credential_id AS "credential_id?",
                   c.principal_id AS "principal_id?", c.key_id AS "key_id?", c.sealed AS "sealed?", c.known_hosts AS "known_hosts?"
               FROM sessions s
               LEFT JOIN credentials r ON r.tenant_id = s.tenant_id AND r.operation_id = $3
               LEFT JOIN LATERAL (
                   SELECT * FROM stored_credentials c
                   WHERE c.tenant_id = s.tenant_id AND coalesce(c.principal_id, '') IN (s.principal_id, '') AND c.host = $4 AND c.kind = $5
                   ORDER BY c.principal_id NULLS LAST LIMIT 1
               ) c ON true
               WHERE s.tenant_id = $1 AND s.session_id = $2"#,
            lease.tenant.as_str(),
            lease.session.uuid(),
            operation.uuid(),
            host.as_str(),
            kind.as_str()
        )
        .fetch_optional(self.statements())
        .await?
        .ok_or(Error::Fenced)?;
        if url.scheme() == Scheme::Https {
            if row.public {
                return Ok(None);
            }
            if let (Some(key_id), Some(sealed)) = (row.request_key_id, row.request_sealed) {
                let place = Place::Request { tenant: &lease.tenant, operation };
                return Ok(Some(GitCredential::Token(self.sealer.open(place, &key_id, &sealed)?)));
            }
        }
        let (Some(id), Some(key_id), Some(sealed)) = (row.credential_id, row.key_id, row.sealed) else {
            return Err(missing(url.scheme()).into());
        };
        let place = Place::Stored {
            tenant: &lease.tenant,
            credential: CredentialId::from_uuid(id),
            principal: row.principal_id.as_deref(),
            host: host.as_str(),
            kind: kind.as_str(),
            known_hosts: row.known_hosts.as_deref(),
        };
        let secret = self.sealer.open(place, &key_id, &sealed)?;
        Ok(Some(match kind {
            CredentialKind::Token => GitCredential::Token(secret),
            CredentialKind::DeployKey => GitCredential::DeployKey { private_key: secret, known_hosts: row.known_hosts.unwrap_or_default() },
        }))
    }
}
