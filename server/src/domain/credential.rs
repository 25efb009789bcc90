//! What opens a repository. Its secrets are shown to nobody, `Debug` included.

use secrecy::SecretString;

/// The credential of one git process.
#[derive(Debug, Clone)]
pub enum GitCredential {
    /// A password for https.
    Token(SecretString),
    /// For ssh: an unencrypted OpenSSH or PEM private key, and the pinned host keys as in `known_hosts`.
    DeployKey { private_key: SecretString, known_hosts: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let token = GitCredential::Token("s3cret".into());
        let key = GitCredential::DeployKey { private_key: "s3cret".into(), known_hosts: "h ssh-ed25519 AAAA".into() };
        assert!(!format!("{token:?} {key:?}").contains("s3cret"));
    }
}
