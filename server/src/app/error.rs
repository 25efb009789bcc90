//! Why the program does not start, or did not end well.

use std::path::PathBuf;

use crate::{auth, dev::DevError, http, ledger, release::ReleaseError, sandbox::ProviderError, telemetry::TelemetryError};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Dev(#[from] DevError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    #[error("the schema is not brought up to date")]
    Migrate(#[from] ledger::MigrateError),
    #[error("identity cannot be set up")]
    Auth(#[from] auth::SetupError),
    #[error("sandboxes cannot be set up")]
    Provider(#[from] ProviderError),
    #[error("logs and traces cannot be set up")]
    Telemetry(#[from] TelemetryError),
    #[error("the release cannot be verified")]
    Release(#[from] ReleaseError),
    #[error("the HTTP server failed")]
    Serve(#[from] http::ServeError),
    #[error("the probe's client cannot be made")]
    Probe(#[from] reqwest::Error),
    #[error("the program's threads cannot be started")]
    Runtime(#[source] std::io::Error),
    #[error("a task failed")]
    Task(#[from] tokio::task::JoinError),
    #[error("the credential key {} is not usable", path.display())]
    CredentialKey { path: PathBuf, source: ledger::SealError },
    #[error("{} secrets cannot be opened and are left as they are:{}", unopened.len(), listed(unopened))]
    Unopened { unopened: Vec<ledger::Unopened> },
    #[error("the ledger is not whole:{}", faults.iter().map(|fault| format!("\n  {fault}")).collect::<String>())]
    NotWhole { faults: Vec<String> },
    #[error("{what}")]
    Setting { what: String, next_step: String },
    #[error("{} cannot be used", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on {address}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("opencode is not on the PATH")]
    NoOpencode,
}

impl AppError {
    /// What a person can do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::Dev(error) => error.next_step(),
            Self::Setting { next_step, .. } => next_step.clone(),
            Self::NotWhole { .. } => "do not work on it: restore another backup, or an earlier moment (docs/operations.md)".to_owned(),
            Self::Ledger(ledger::Error::NotTheOwner) => "use the login that migrates: the schema's owner".to_owned(),
            Self::Ledger(_) => "check DATABASE_URL".to_owned(),
            Self::Migrate(error) => migrate(error).to_owned(),
            Self::Auth(_) => "check ALPINE_ISSUERS_FILE, ALPINE_JWT_ALGORITHM and ALPINE_JWT_KEY_FILE".to_owned(),
            Self::Provider(_) => {
                "check ALPINE_DATA_DIR, the ALPINE_SANDBOX_* and ALPINE_DOCKER_* settings, and the images of ALPINE_CLASSES_FILE".to_owned()
            }
            Self::Telemetry(_) => "check ALPINE_LOG, ALPINE_LOG_FILTER_FILE and the OTEL_EXPORTER_OTLP_* settings".to_owned(),
            Self::Release(_) => "check --ca-file, --token-file and --url".to_owned(),
            Self::Serve(_) => "check ALPINE_TLS_CERT and ALPINE_TLS_KEY".to_owned(),
            Self::CredentialKey { path, .. } => format!("put 32 random bytes into {}", path.display()),
            Self::Unopened { .. } => {
                "name the files of the missing keys in ALPINE_CREDENTIAL_OLD_KEY_FILES, or have the owners store their credentials again"
                    .to_owned()
            }
            Self::File { path, .. } => format!("check that {} exists and that this user may use it", path.display()),
            Self::Listen { .. } => "choose another address with --listen or ALPINE_LISTEN, or end the program that uses it".to_owned(),
            Self::NoOpencode => {
                "install it (npm install --global opencode-ai), or set ALPINE_SANDBOX_SERVE to another command that serves a workspace"
                    .to_owned()
            }
            Self::Runtime(_) => "look at the limits of this user's processes and memory".to_owned(),
            Self::Probe(_) | Self::Task(_) => "look at the log".to_owned(),
        }
    }
}

const fn migrate(error: &ledger::MigrateError) -> &'static str {
    use ledger::MigrateError as E;
    match error {
        E::Edited(_) => {
            "use the program that this ledger was migrated with, or a later one: a migration is never edited once it is shipped"
        }
        E::Invalid(_) => "drop it (DROP INDEX CONCURRENTLY), and run this again when no transaction is open for long",
        E::Failed(_) => "check DATABASE_URL, and that its login may create tables and, the first time, roles (CREATEROLE; docs/install.md)",
        E::Locked { .. } => {
            "run it again; in pg_stat_activity is who is in a transaction for long (a dump, a report, an idle session): let it end, or end it"
        }
        E::TooLong { .. } => "run it again with a higher ALPINE_MIGRATE_STATEMENT_SECONDS, at a quiet time",
        E::Foreign(_) => "use a program that has this migration: this one comes of another line of versions",
    }
}

/// A line each: whose, which, and the key that it was sealed with. None of it is secret.
fn listed(unopened: &[ledger::Unopened]) -> String {
    let line = |secret: &ledger::Unopened| {
        let ledger::Unopened { tenant, id, key_id, why } = secret;
        format!("\n  {id} of tenant {tenant}, sealed with key {key_id}: {why}")
    };
    unopened.iter().map(line).collect()
}
