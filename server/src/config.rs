//! Configuration: the only reader of the environment, by way of clap. One struct a concern; every setting
//! has a flag, a variable, a default and a line of help, and `check-config` prints them all.

mod apps;
#[cfg(feature = "faults")]
mod faults;
mod limits;
mod metrics;
mod migrate;
mod misspelt;
mod sandbox;
mod shown;
mod surroundings;
mod telemetry;
mod verify;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

pub use apps::AppsArgs;
#[cfg(feature = "faults")]
pub use faults::FaultArgs;
pub use limits::LimitArgs;
pub use metrics::MetricsArgs;
pub use migrate::MigrateArgs;
pub use sandbox::{DockerArgs, ProviderArg, SandboxArgs};
pub use shown::describe;
pub use surroundings::Surroundings;
pub use telemetry::{LogFormat, OtlpProtocol, TelemetryArgs, TracesSampler, without_empty_otel};
pub use verify::VerifyArgs;

/// Alpine's control plane.
#[derive(Debug, Parser)]
#[command(name = "alpine-server", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane. Stateless: any number of replicas on one PostgreSQL.
    Serve(Box<ServeArgs>),
    /// Run everything on one machine, nothing configured.
    Dev(Box<DevArgs>),
    /// Bring the database's schema up to date.
    Migrate(MigrateArgs),
    /// Seal all stored secrets anew with the current credential key, so that old ones can go.
    RotateCredentials(RotateArgs),
    /// Make a ledger that was brought back from a backup fit for work: before any server works on it.
    AfterRestore(DatabaseArgs),
    /// Read the whole ledger and say whether it is whole: records, audit logs, sessions. Changes nothing.
    VerifyLedger(DatabaseArgs),
    /// Print the OpenAPI document.
    Openapi,
    /// Print docs/metrics.md.
    #[command(hide = true)]
    MetricsPage,
    /// Print the settings of `serve` as they would apply, secrets redacted.
    CheckConfig(Box<ServeArgs>),
    /// Look at a live deployment after a release; exit code 0: healthy, 1: not, 2: it cannot be told.
    VerifyRelease(Box<VerifyArgs>),
}

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// What this process does.
    #[arg(long, env = "ALPINE_ROLE", value_enum, default_value_t = RoleArg::All)]
    pub role: RoleArg,
    /// The address to listen on.
    #[arg(long, env = "ALPINE_LISTEN", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Where sandboxes and generated files live.
    #[arg(long, env = "ALPINE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The certificate chain (PEM). Without one, plain HTTP is served: for a proxy on the same host.
    #[arg(long, env = "ALPINE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM).
    #[arg(long, env = "ALPINE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// A proxy terminates TLS, so that tokens and keys are taken over plain HTTP from other hosts.
    #[arg(long, env = "ALPINE_BEHIND_TLS_PROXY", default_value_t = false, action = clap::ArgAction::Set)]
    pub behind_tls_proxy: bool,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub auth: AuthArgs,
    #[command(flatten)]
    pub credentials: CredentialArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// The address to listen on.
    #[arg(long, env = "ALPINE_LISTEN", default_value = "127.0.0.1:8443")]
    pub listen: SocketAddr,
    /// Where everything is kept. Default: /var/lib/alpine for root, else the user's data directory.
    #[arg(long, env = "ALPINE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The directory of PostgreSQL's programs. Default: found on the machine, else fetched.
    #[arg(long, env = "ALPINE_POSTGRES_BIN")]
    pub postgres_bin: Option<PathBuf>,
    /// Where the CLI's config.toml is; the profile `dev` is written there.
    #[arg(long, env = "ALPINE_CONFIG_DIR")]
    pub cli_config_dir: Option<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Settings of `serve` and `dev` alike.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub docker: DockerArgs,
    #[command(flatten)]
    pub apps: AppsArgs,
    #[command(flatten)]
    pub git: GitArgs,
    #[command(flatten)]
    pub tenants: TenantArgs,
    #[command(flatten)]
    pub worker: WorkerArgs,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[cfg(feature = "faults")]
    #[command(flatten)]
    pub faults: FaultArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleArg {
    All,
    Api,
    Worker,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// PostgreSQL, 15 or newer.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// Connections for single statements: so many for requests, and as many for the worker.
    #[arg(long, env = "ALPINE_DB_CONNECTIONS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=500))]
    pub db_connections: u32,
    /// The same for transactions of several statements.
    #[arg(long, env = "ALPINE_DB_TRANSACTION_CONNECTIONS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub db_transaction_connections: u32,
    /// How long a request waits for a connection before it is answered 503.
    #[arg(long, env = "ALPINE_DB_ACQUIRE_SECONDS", default_value_t = 5)]
    pub db_acquire_seconds: u64,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub struct AuthArgs {
    /// A TOML file with an `[[issuer]]` for each issuer; beside the one that the ALPINE_JWT_* settings name, or in its place.
    #[arg(long, env = "ALPINE_ISSUERS_FILE")]
    pub issuers_file: Option<PathBuf>,
    /// The `iss` that tokens must carry; required without ALPINE_ISSUERS_FILE.
    #[arg(long, env = "ALPINE_JWT_ISSUER", required_unless_present = "issuers_file", requires = "jwt_algorithm")]
    pub jwt_issuer: Option<String>,
    /// The `aud` that tokens must carry.
    #[arg(long, env = "ALPINE_JWT_AUDIENCE", default_value = "alpine")]
    pub jwt_audience: String,
    /// The one algorithm that is accepted: RS256, ES256, EdDSA or HS256. Goes with ALPINE_JWT_ISSUER.
    #[arg(long, env = "ALPINE_JWT_ALGORITHM", required_unless_present = "issuers_file", requires = "jwt_key_file")]
    pub jwt_algorithm: Option<String>,
    /// The key: a PEM public key or a JWKS; for HS256 the secret's bytes. Goes with ALPINE_JWT_ISSUER.
    #[arg(long, env = "ALPINE_JWT_KEY_FILE", required_unless_present = "issuers_file", requires = "jwt_issuer")]
    pub jwt_key_file: Option<PathBuf>,
    /// The claim that names the tenant.
    #[arg(long, env = "ALPINE_JWT_TENANT_CLAIM", default_value = "tenant")]
    pub jwt_tenant_claim: String,
    /// The claim that lists the roles; `alpine.admin` is an admin of the tenant.
    #[arg(long, env = "ALPINE_JWT_ROLES_CLAIM", default_value = "roles")]
    pub jwt_roles_claim: String,
    /// The tenant of tokens that name none; unset: such tokens are refused.
    #[arg(long, env = "ALPINE_JWT_DEFAULT_TENANT")]
    pub jwt_default_tenant: Option<String>,
    /// Accept this issuer's tokens in Cf-Access-Jwt-Assertion too.
    #[arg(long, env = "ALPINE_JWT_CLOUDFLARE", default_value_t = false, action = clap::ArgAction::Set)]
    pub jwt_cloudflare: bool,
    /// The public client that `alpine login` is at this issuer (RFC 8628); unset: it offers none.
    #[arg(long, env = "ALPINE_LOGIN_CLIENT_ID")]
    pub login_client_id: Option<String>,
    /// The scopes that `alpine login` asks for; `offline_access` is what most issuers want for a login that lasts.
    #[arg(long, env = "ALPINE_LOGIN_SCOPE", default_value = "openid offline_access")]
    pub login_scope: String,
    /// The resource indicator (RFC 8707) that `alpine login` asks for.
    #[arg(long, env = "ALPINE_LOGIN_RESOURCE")]
    pub login_resource: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Credentials")]
pub struct CredentialArgs {
    /// 32 bytes that seal credentials; the same for all replicas.
    #[arg(long, env = "ALPINE_CREDENTIAL_KEY_FILE")]
    pub credential_key_file: PathBuf,
    /// Earlier such keys, comma-separated: they open what they have sealed and seal nothing more.
    #[arg(long, env = "ALPINE_CREDENTIAL_OLD_KEY_FILES", value_delimiter = ',')]
    pub credential_old_key_files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub credentials: CredentialArgs,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantArgs {
    /// When a tenant comes to be: when a token first names it, or only when an operator makes it.
    #[arg(long, env = "ALPINE_TENANTS", value_enum, default_value_t = TenantsArg::FirstSight)]
    pub tenants: TenantsArg,
    /// Sessions that are not final, a tenant made on first sight; unset: no limit.
    #[arg(long, env = "ALPINE_QUOTA_SESSIONS", value_parser = clap::value_parser!(i32).range(0..))]
    pub quota_sessions: Option<i32>,
    /// The same for each of its principals.
    #[arg(long, env = "ALPINE_QUOTA_SESSIONS_PER_PRINCIPAL", value_parser = clap::value_parser!(i32).range(0..))]
    pub quota_sessions_per_principal: Option<i32>,
    /// Operations in flight, a tenant made on first sight; unset: no limit.
    #[arg(long, env = "ALPINE_QUOTA_OPERATIONS", value_parser = clap::value_parser!(i32).range(0..))]
    pub quota_operations: Option<i32>,
    #[arg(long, env = "ALPINE_QUOTA_OPERATIONS_PER_PRINCIPAL", help = "The same for each of its principals.", value_parser = clap::value_parser!(i32).range(0..))]
    pub quota_operations_per_principal: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TenantsArg {
    FirstSight,
    Operator,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Git")]
pub struct GitArgs {
    /// `from=to` pairs, comma-separated: URLs that begin with `from` are read from `to`.
    #[arg(long, env = "ALPINE_GIT_REWRITE", value_delimiter = ',')]
    pub git_rewrite: Vec<String>,
    /// A CA that git trusts besides the system's (PEM).
    #[arg(long, env = "ALPINE_GIT_CA_FILE")]
    pub git_ca_file: Option<PathBuf>,
    /// Hosts that may be at private addresses, comma-separated. With ALPINE_PROVIDER=docker their addresses have to be in ALPINE_DOCKER_ALLOW too.
    #[arg(long, env = "ALPINE_GIT_ALLOW_HOSTS", value_delimiter = ',')]
    pub git_allow_hosts: Vec<String>,
    /// If set, no repositories but of these hosts are taken, comma-separated; `*.example.com` is all below it.
    #[arg(long, env = "ALPINE_GIT_ONLY_HOSTS", value_delimiter = ',')]
    pub git_only_hosts: Vec<String>,
    /// Hosts and addresses whose repositories are never taken, comma-separated; counts before the other lists.
    #[arg(long, env = "ALPINE_GIT_DENY_HOSTS", value_delimiter = ',')]
    pub git_deny_hosts: Vec<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// Operations at once.
    #[arg(long, env = "ALPINE_WORKER_CONCURRENCY", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub worker_concurrency: u16,
    /// How long a dead worker's operations stay with it.
    #[arg(long, env = "ALPINE_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub lease_seconds: u64,
    /// How often failed clean-ups, lifetimes that are over and sessions that nobody uses are looked for. No worker that sweeps for 5 minutes is an alert.
    #[arg(long, env = "ALPINE_SWEEP_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=90))]
    pub sweep_seconds: u64,
    /// How often the sandboxes are compared with the ledger. A worker that does not for 15 minutes is an alert.
    #[arg(long, env = "ALPINE_RECONCILE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub reconcile_seconds: u64,
    /// How long a sandbox that no session knows is left alone before it is destroyed.
    #[arg(long, env = "ALPINE_ORPHAN_GRACE_SECONDS", default_value_t = 300)]
    pub orphan_grace_seconds: u64,
    /// How long failed sessions, and the history of stopped ones, are kept (their records always are).
    #[arg(long, env = "ALPINE_RETENTION_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(3..=3650))]
    pub retention_days: u32,
    /// How long running phases may go on after SIGTERM before they are handed over.
    #[arg(long, env = "ALPINE_HAND_OVER_SECONDS", default_value_t = 3)]
    pub hand_over_seconds: u64,
    /// Resolve and provision; and start.
    #[arg(long, env = "ALPINE_PROVISION_DEADLINE_SECONDS", default_value_t = 90)]
    pub provision_deadline_seconds: u64,
    #[arg(long, env = "ALPINE_SYNC_DEADLINE_SECONDS", default_value_t = 300, help = "Clone")]
    pub sync_deadline_seconds: u64,
    #[arg(long, env = "ALPINE_INSTALL_DEADLINE_SECONDS", default_value_t = 600, help = "Install dependencies")]
    pub install_deadline_seconds: u64,
    #[arg(long, env = "ALPINE_PERSIST_DEADLINE_SECONDS", default_value_t = 60, help = "Store and verify the record")]
    pub persist_deadline_seconds: u64,
    #[arg(long, env = "ALPINE_UP_DEADLINE_SECONDS", default_value_t = 720, help = "A whole `up`")]
    pub up_deadline_seconds: u64,
    #[arg(long, env = "ALPINE_DOWN_DEADLINE_SECONDS", default_value_t = 180, help = "A whole `down`")]
    pub down_deadline_seconds: u64,
    /// Between SIGTERM and SIGKILL when a session is stopped.
    #[arg(long, env = "ALPINE_STOP_GRACE_SECONDS", default_value_t = 30)]
    pub stop_grace_seconds: u64,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpArgs {
    /// The largest request body, in bytes.
    #[arg(long, env = "ALPINE_MAX_BODY_BYTES", default_value_t = 65_536)]
    pub max_body_bytes: usize,
    /// How long the whole of a request's body may take to come.
    #[arg(long, env = "ALPINE_BODY_TIMEOUT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub body_timeout_seconds: u64,
    /// How long a request may take beyond what it asked to wait.
    #[arg(long, env = "ALPINE_REQUEST_TIMEOUT_SECONDS", default_value_t = 30)]
    pub request_timeout_seconds: u64,
    /// How often a stream in which nothing happens sends a comment, so that nobody on the way closes it.
    #[arg(long, env = "ALPINE_STREAM_HEARTBEAT_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub stream_heartbeat_seconds: u64,
    /// How long a stream goes on before it ends and its client comes again, with a credential that is still good.
    #[arg(long, env = "ALPINE_STREAM_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub stream_seconds: u64,
    /// How long the server goes on serving after SIGTERM while it says that it is not ready: as long as a load balancer needs to notice.
    #[arg(long, env = "ALPINE_SHUTDOWN_DELAY_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=600))]
    pub shutdown_delay_seconds: u64,
    /// How long open requests may go on after that.
    #[arg(long, env = "ALPINE_DRAIN_SECONDS", default_value_t = 10)]
    pub drain_seconds: u64,
}

impl WorkerArgs {
    #[must_use]
    pub const fn deadlines(&self, tries: i32) -> crate::domain::operation::Deadlines {
        crate::domain::operation::Deadlines {
            provision: Duration::from_secs(self.provision_deadline_seconds),
            sync: Duration::from_secs(self.sync_deadline_seconds),
            install: Duration::from_secs(self.install_deadline_seconds),
            persist: Duration::from_secs(self.persist_deadline_seconds),
            up: Duration::from_secs(self.up_deadline_seconds),
            down: Duration::from_secs(self.down_deadline_seconds),
            stop_grace: Duration::from_secs(self.stop_grace_seconds),
            tries,
        }
    }
}
