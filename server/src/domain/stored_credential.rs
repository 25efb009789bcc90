//! Credentials that outlive an operation: their form, checked once. A cause never repeats what was sent.

use alpine_api::{CredentialKind, CredentialOwner, RepoUrl, Scheme, SetCredential};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use ssh_key::{
    HashAlg, PrivateKey,
    known_hosts::{HostPatterns, KnownHosts},
};

use super::credential::GitCredential;

pub const TOKEN_MAX_BYTES: usize = 4096;
const PRIVATE_KEY_MAX_BYTES: usize = 16 * 1024;
const KNOWN_HOSTS_MAX_BYTES: usize = 8 * 1024;

/// Why a credential is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCredential {
    #[error("host must be a host name or address, with :port where it is not the usual one, and nothing else")]
    Host,
    #[error("a token needs `token`, and neither `private_key` nor `known_hosts`")]
    NotAToken,
    #[error("a deploy key needs `private_key` and `known_hosts`, and no `token`")]
    NotADeployKey,
    #[error("token must be 1 to 4096 bytes, without control characters")]
    Token,
    #[error("private_key must be an OpenSSH or PEM private key of at most 16 KiB")]
    PrivateKey,
    #[error("private_key is encrypted; give one without a passphrase")]
    Encrypted,
    #[error("known_hosts must be lines of `host[,host] keytype base64`, at most 8 KiB and at least one")]
    KnownHosts,
    #[error("known_hosts must not have @cert-authority or @revoked lines")]
    Marker,
    #[error("known_hosts must name its hosts in clear: neither hashed nor as patterns")]
    Hidden,
    #[error("known_hosts must be of the host itself, on every line; with a port other than 22 it is [host]:port there")]
    OtherHost,
}

/// A host as credentials are kept for it: lower case, `:port` where it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHost {
    text: String,
    /// As `known_hosts` names it.
    pinned: String,
}

impl CredentialHost {
    /// The one that a repository is on.
    #[must_use]
    pub fn of(url: &RepoUrl) -> Self {
        let (host, port) = (url.host(), url.port());
        let usual = if url.scheme() == Scheme::Https { 443 } else { 22 };
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let text = if port == usual { bracketed } else { format!("{bracketed}:{port}") };
        let pinned = if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") };
        Self { text, pinned }
    }

    /// What was given as the host of a credential, read as the same host in a repository's URL is.
    pub fn parse(given: &str, kind: CredentialKind) -> Result<Self, BadCredential> {
        if given.contains(['@', '/', '?', '#', '%']) || given.ends_with(':') {
            return Err(BadCredential::Host);
        }
        let scheme = match kind {
            CredentialKind::Token => "https",
            CredentialKind::DeployKey => "ssh",
        };
        let url: RepoUrl = format!("{scheme}://{given}/r").parse().map_err(|_| BadCredential::Host)?;
        Ok(Self::of(&url))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What kind of credential opens a repository.
#[must_use]
pub fn kind_for(url: &RepoUrl) -> CredentialKind {
    match url.scheme() {
        Scheme::Https => CredentialKind::Token,
        Scheme::Ssh => CredentialKind::DeployKey,
    }
}

/// A credential that can be stored.
#[derive(Debug, Clone)]
pub struct NewCredential {
    pub host: CredentialHost,
    pub owner: CredentialOwner,
    pub secret: GitCredential,
    /// Of the public key, where the key's form shows it.
    pub fingerprint: Option<String>,
}

impl NewCredential {
    pub fn check(given: SetCredential) -> Result<Self, BadCredential> {
        let SetCredential { host, kind, owner, token, private_key, known_hosts } = given;
        let host = CredentialHost::parse(&host, kind)?;
        let (token, private_key) = (token.map(SecretString::from), private_key.map(SecretString::from));
        match (kind, token, private_key, known_hosts) {
            (CredentialKind::Token, Some(token), None, None) => {
                Ok(Self { host, owner, secret: GitCredential::Token(check_token(&token)?), fingerprint: None })
            }
            (CredentialKind::DeployKey, None, Some(key), Some(known_hosts)) => {
                let (private_key, fingerprint) = check_private_key(&key)?;
                let known_hosts = check_known_hosts(&known_hosts, &host)?;
                Ok(Self { host, owner, secret: GitCredential::DeployKey { private_key, known_hosts }, fingerprint })
            }
            (CredentialKind::Token, ..) => Err(BadCredential::NotAToken),
            (CredentialKind::DeployKey, ..) => Err(BadCredential::NotADeployKey),
        }
    }

    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        match &self.secret {
            GitCredential::Token(_) => CredentialKind::Token,
            GitCredential::DeployKey { .. } => CredentialKind::DeployKey,
        }
    }
}

/// A token without the space around it.
pub fn check_token(given: &SecretString) -> Result<SecretString, BadCredential> {
    let token = given.expose_secret().trim();
    // With the space, as the document says.
    let fits = !token.is_empty() && given.expose_secret().len() <= TOKEN_MAX_BYTES && !token.chars().any(char::is_control);
    if fits { Ok(SecretString::from(token)) } else { Err(BadCredential::Token) }
}

/// The key with the line ends that ssh wants, and its fingerprint.
fn check_private_key(given: &SecretString) -> Result<(SecretString, Option<String>), BadCredential> {
    let given = given.expose_secret();
    if given.len() > PRIVATE_KEY_MAX_BYTES {
        return Err(BadCredential::PrivateKey);
    }
    let text = SecretString::from(given.trim().replace("\r\n", "\n") + "\n");
    let pem = text.expose_secret();
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.lines().any(|line| line.starts_with("Proc-Type:")) {
        return Err(BadCredential::Encrypted);
    }
    // One block and nothing around it.
    let begins = pem.starts_with("-----BEGIN ") && pem.matches("-----BEGIN ").count() == 1;
    if !begins || !pem.ends_with("-----\n") || pem.matches("-----END ").count() != 1 {
        return Err(BadCredential::PrivateKey);
    }
    let fingerprint = if pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----") {
        let key = PrivateKey::from_openssh(pem).map_err(|_| BadCredential::PrivateKey)?;
        if key.is_encrypted() {
            return Err(BadCredential::Encrypted);
        }
        Some(key.fingerprint(HashAlg::Sha256).to_string())
    } else {
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadCredential::PrivateKey)?;
        None
    };
    Ok((text, fingerprint))
}

/// A line a host key, of this host alone.
fn check_known_hosts(given: &str, host: &CredentialHost) -> Result<String, BadCredential> {
    if given.len() > KNOWN_HOSTS_MAX_BYTES {
        return Err(BadCredential::KnownHosts);
    }
    let mut lines = String::new();
    for line in given.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('@') {
            return Err(BadCredential::Marker);
        }
        if line.chars().any(|c| c.is_control() && c != '\t') {
            return Err(BadCredential::KnownHosts);
        }
        // The comment says nothing, and the parser knows no tabs.
        let line = line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
        let entry = KnownHosts::new(&line).next().and_then(Result::ok).ok_or(BadCredential::KnownHosts)?;
        let HostPatterns::Patterns(names) = entry.host_patterns() else { return Err(BadCredential::Hidden) };
        if names.iter().any(|name| name.contains(['*', '?', '!'])) {
            return Err(BadCredential::Hidden);
        }
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&host.pinned)) {
            return Err(BadCredential::OtherHost);
        }
        let key = ssh_key::PublicKey::new(entry.public_key().key_data().clone(), "");
        let key = key.to_openssh().map_err(|_| BadCredential::KnownHosts)?;
        lines.push_str(&format!("{} {}\n", host.pinned, key.trim()));
    }
    if lines.is_empty() { Err(BadCredential::KnownHosts) } else { Ok(lines) }
}

#[cfg(test)]
#[path = "stored_credential_tests.rs"]
mod tests;
