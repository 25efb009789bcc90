//! From arguments to each module's own settings.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::SecretSlice;
use uuid::Uuid;

use super::{AppError, open_files};
use crate::{
    auth::{Algorithm, Issuer, KeySource, LoginHints, SetupError},
    config::{
        AppsArgs, AuthArgs, CommonArgs, CredentialArgs, GitArgs, LimitArgs, ServeArgs, Surroundings, TenantArgs, TenantsArg, WorkerArgs,
    },
    dev::tools::in_path,
    domain::{
        hosts::HostPolicy,
        operation::{Deadlines, PhaseSchema},
        tenant::{Quotas, TenantPolicy},
    },
    faults::Faults,
    gateway, http,
    ledger::{PoolSettings, Sealer},
    lifecycle,
    lifecycle::{GitSettings, Rewrite},
    metrics::Metrics,
    worker,
};

const TRIES: i32 = 3;
const BACKLOG: i32 = 4096;

pub fn read(path: &Path) -> Result<Vec<u8>, AppError> {
    fs::read(path).map_err(|source| AppError::File { path: path.to_owned(), source })
}

pub fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    let refused = |source| AppError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(refused)?;
    // The standard library lets 128 wait to be accepted: a flood of them would keep others out.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| refused(error.into()))?;
    listener.set_nonblocking(true).map_err(refused)?;
    Ok(listener)
}

/// What serves a workspace unless it is configured.
#[must_use]
pub fn opencode_command(program: &Path) -> String {
    format!("'{}' serve --hostname \"$HOST\" --port \"$PORT\"", program.display())
}

#[must_use]
pub fn default_data_dir(surroundings: &Surroundings) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/alpine");
    }
    surroundings.data_home().unwrap_or_else(|| PathBuf::from("/var/lib")).join("alpine")
}

pub fn cli_config_dir(surroundings: &Surroundings) -> Result<PathBuf, AppError> {
    surroundings.config_home().map(|home| home.join("alpine")).ok_or_else(|| AppError::Setting {
        what: "there is no home directory for the CLI's configuration".to_owned(),
        next_step: "set ALPINE_CONFIG_DIR or HOME".to_owned(),
    })
}

pub fn make_data_dir(path: &Path) -> Result<(), AppError> {
    fs::create_dir_all(path).map_err(|source| AppError::File { path: path.to_owned(), source })
}

/// The issuers that are configured, by the settings of one and by the file of several.
pub fn issuers(args: &AuthArgs) -> Result<Vec<Issuer>, AppError> {
    let mut issuers = Vec::new();
    if let (Some(issuer), Some(algorithm), Some(key_file)) = (&args.jwt_issuer, &args.jwt_algorithm, &args.jwt_key_file) {
        issuers.push(issuer_of(args, issuer, algorithm, key_file)?);
    }
    if let Some(path) = &args.issuers_file {
        issuers.extend(Issuer::read_file(path).map_err(SetupError::from)?);
    }
    Ok(issuers)
}

fn issuer_of(args: &AuthArgs, issuer: &str, algorithm: &str, key_file: &Path) -> Result<Issuer, AppError> {
    let algorithm = algorithm.parse().map_err(|error| AppError::Setting {
        what: format!("ALPINE_JWT_ALGORITHM: {error}"),
        next_step: "name the algorithm that the issuer signs with".to_owned(),
    })?;
    let unread = |source| AppError::File { path: key_file.to_owned(), source };
    let keys = KeySource::of_file(key_file, &[algorithm]).map_err(unread)?;
    let login = LoginHints {
        issuer: issuer.to_owned(),
        device_client_id: args.login_client_id.clone(),
        device_scope: Some(args.login_scope.clone()),
        resource: args.login_resource.clone(),
    };
    Ok(Issuer {
        login,
        operators: true,
        tenant_claim: args.jwt_tenant_claim.clone(),
        roles_claim: args.jwt_roles_claim.clone(),
        default_tenant: args.jwt_default_tenant.clone(),
        cloudflare: args.jwt_cloudflare,
        ..Issuer::new(issuer, &args.jwt_audience, algorithm, keys)
    })
}

/// The issuer that the CLI itself is, in the profile `dev`.
#[must_use]
pub fn dev_issuer(secret: &[u8]) -> Issuer {
    let keys = KeySource::Secret(SecretSlice::from(secret.to_vec()));
    Issuer { operators: true, ..Issuer::new("alpine-dev", "alpine", Algorithm::Hs256, keys) }
}

pub fn tls(args: &ServeArgs) -> Option<http::TlsFiles> {
    args.tls_cert.clone().zip(args.tls_key.clone()).map(|(cert, key)| http::TlsFiles { cert, key })
}

/// The key that seals, and those that only open.
pub fn sealer(args: &CredentialArgs) -> Result<Sealer, AppError> {
    let usable = |path: &Path| {
        let path = path.to_owned();
        move |source| AppError::CredentialKey { path, source }
    };
    let current = &args.credential_key_file;
    let sealer = Sealer::new(&read(current)?).map_err(usable(current))?;
    let old = args.credential_old_key_files.iter().filter(|path| !path.as_os_str().is_empty());
    old.into_iter().try_fold(sealer, |sealer, path| sealer.and_old(&read(path)?).map_err(usable(path)))
}

pub fn tenants(args: &TenantArgs) -> TenantPolicy {
    TenantPolicy {
        on_first_sight: args.tenants == TenantsArg::FirstSight,
        quotas: Quotas {
            max_active_sessions: args.quota_sessions,
            max_active_sessions_per_principal: args.quota_sessions_per_principal,
            max_operations: args.quota_operations,
            max_operations_per_principal: args.quota_operations_per_principal,
            // By whoever knows what there is of it.
            ..Quotas::default()
        },
    }
}

pub fn engine(
    common: &CommonArgs,
    data_dir: &Path,
    surroundings: &Surroundings,
    serve: String,
    allow_file: bool,
) -> Result<lifecycle::Settings, AppError> {
    let program = in_path(&surroundings.path, "git").ok_or_else(|| AppError::Setting {
        what: "git is not on the PATH".to_owned(),
        next_step: "install git (apt-get install git)".to_owned(),
    })?;
    check_git(&program)?;
    let git = GitSettings {
        program,
        path: surroundings.path.clone(),
        rewrites: rewrites(&common.git)?,
        ca_bundle: ca_bundle(&common.git, data_dir, surroundings)?,
        proxies: surroundings.proxies(),
        hosts: hosts(&common.git)?,
        allow_file,
    };
    let apps = common.apps.apps_domain.clone();
    Ok(lifecycle::Settings { git, serve, apps, deadlines: deadlines(&common.worker) })
}

/// An older git takes no notice of the addresses that it is told to use.
fn check_git(program: &Path) -> Result<(), AppError> {
    const LEAST: (u32, u32) = (2, 37);
    // What is in the server's environment is none of its business.
    let output = std::process::Command::new(program).arg("--version").env_clear().output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut numbers = said.split([' ', '.']).filter_map(|word| word.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= LEAST => Ok(()),
        _ => Err(AppError::Setting {
            what: format!("{} is not git {}.{} or newer", program.display(), LEAST.0, LEAST.1),
            next_step: "install a newer git; older ones connect to addresses that were not checked".to_owned(),
        }),
    }
}

/// Which hosts repositories may be on.
pub fn hosts(args: &GitArgs) -> Result<Arc<HostPolicy>, AppError> {
    let rewritten = rewrites(args)?.into_iter().map(|rewrite| rewrite.from).collect();
    let policy = HostPolicy::new(&args.git_allow_hosts, &args.git_only_hosts, &args.git_deny_hosts, rewritten);
    policy.map(Arc::new).map_err(|error| AppError::Setting {
        what: format!("ALPINE_GIT_ALLOW_HOSTS, ALPINE_GIT_ONLY_HOSTS or ALPINE_GIT_DENY_HOSTS: {error}"),
        next_step: "give hosts such as github.com, *.example.com or 192.0.2.1, comma-separated".to_owned(),
    })
}

pub(super) fn rewrites(args: &GitArgs) -> Result<Vec<Rewrite>, AppError> {
    let pairs = args.git_rewrite.iter().filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| match pair.trim().split_once('=') {
            Some((from, to)) if names_host(from) && names_host(to) => Ok(Rewrite { from: from.to_owned(), to: to.to_owned() }),
            _ => Err(AppError::Setting {
                what: format!("ALPINE_GIT_REWRITE: `{pair}` is not from=to with a whole host on each side"),
                next_step: "give pairs such as https://github.com/org/=https://mirror.example/org/, comma-separated".to_owned(),
            }),
        })
        .collect()
}

/// It holds the whole host: what follows in a URL must not be able to make another host of it, as
/// `.evil.example` would of `https://github.com`.
fn names_host(prefix: &str) -> bool {
    match prefix.split_once("://") {
        Some((_, rest)) => rest.contains('/'),
        None => prefix.split_once('@').is_some_and(|(_, rest)| rest.contains(':')),
    }
}

/// The system's CAs and the configured one in one file: git trusts exactly one bundle.
pub(super) fn ca_bundle(args: &GitArgs, data_dir: &Path, surroundings: &Surroundings) -> Result<Option<PathBuf>, AppError> {
    let Some(extra) = &args.git_ca_file else { return Ok(None) };
    let mut bundle = surroundings.system_ca_bundle().map(|path| read(&path)).transpose()?.unwrap_or_default();
    bundle.push(b'\n');
    bundle.extend(read(extra)?);
    let (path, new) = (data_dir.join("git-ca-bundle.pem"), data_dir.join(format!("git-ca-bundle.{}.new", std::process::id())));
    let failed = |source| AppError::File { path: path.clone(), source };
    fs::write(&new, bundle).map_err(failed)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o644)).map_err(failed)?;
    fs::rename(&new, &path).map_err(failed)?;
    Ok(Some(path))
}

/// Whether nobody else reads what is sent here.
#[must_use]
pub fn takes_secrets(args: &ServeArgs) -> bool {
    args.tls_cert.is_some() || args.behind_tls_proxy || args.listen.ip().to_canonical().is_loopback()
}

/// Browsers keep no cookie that others could read.
pub fn check_apps(args: &ServeArgs) -> Result<(), AppError> {
    if args.common.apps.apps_paths && args.common.apps.apps_domain.is_none() {
        return Err(AppError::Setting {
            what: "ALPINE_APPS_PATHS is set, and sessions have no hosts of their own".to_owned(),
            next_step: "set ALPINE_APPS_DOMAIN, or take away ALPINE_APPS_PATHS".to_owned(),
        });
    }
    if args.common.apps.apps_domain.is_none() || takes_secrets(args) {
        return Ok(());
    }
    Err(AppError::Setting {
        what: "ALPINE_APPS_DOMAIN is set, and plain HTTP is served to other hosts".to_owned(),
        next_step: "set ALPINE_TLS_CERT and ALPINE_TLS_KEY, or ALPINE_BEHIND_TLS_PROXY=true behind a proxy that terminates TLS".to_owned(),
    })
}

/// `None`: sessions have no hosts of their own.
#[must_use]
pub fn gateway(args: &AppsArgs) -> Option<gateway::Settings> {
    let cookie = Duration::from_secs(u64::from(args.apps_cookie_seconds));
    args.apps_domain.clone().map(|apps| gateway::Settings { apps, cookie, paths: args.apps_paths })
}

#[must_use]
pub const fn http(common: &CommonArgs, takes_secrets: bool) -> http::Settings {
    let args = &common.http;
    http::Settings {
        body_limit: args.max_body_bytes,
        body_timeout: Duration::from_secs(args.body_timeout_seconds),
        request_timeout: Duration::from_secs(args.request_timeout_seconds),
        max_wait: Duration::from_secs(alpine_api::MAX_WAIT_SECONDS),
        heartbeat: Duration::from_secs(args.stream_heartbeat_seconds),
        stream: Duration::from_secs(args.stream_seconds),
        takes_secrets,
        metrics_elsewhere: common.metrics.metrics_listen.is_some(),
    }
}

#[must_use]
pub fn limits(args: &LimitArgs, pools: &PoolSettings) -> http::LimitSettings {
    http::LimitSettings {
        rates: http::Rates {
            principal: args.rate_principal,
            principal_up: args.rate_principal_up,
            tenant: args.rate_tenant,
            tenant_up: args.rate_tenant_up,
        },
        at_once: args.max_requests_per_principal,
        streams_of_one: args.max_streams_per_principal,
        streams: args.max_streams as usize,
        places: http::Places::of(pools.statements, pools.transactions),
        queue: Duration::from_millis(args.queue_milliseconds),
    }
}

/// `files`: how many this process may open. What goes on to sessions takes some of them.
#[must_use]
pub fn connections(args: &LimitArgs, apps: &AppsArgs, files: u64) -> http::ConnectionSettings {
    let visits = if apps.apps_domain.is_some() { (http::MOST_VISITS as u64).min(files / 4) } else { 0 };
    let files = files - visits;
    http::ConnectionSettings {
        max: open_files::connections(args.max_connections, files),
        per_address: args.max_connections_per_address as usize,
        ..http::ConnectionSettings::default()
    }
}

/// Those that serve sessions' hosts, if there are such hosts and TLS says which connection is for one.
pub fn threads(args: &AppsArgs, tls: bool) -> Result<Option<http::Threads>, AppError> {
    args.apps_domain.clone().filter(|_| tls).map(http::Threads::start).transpose().map_err(AppError::Runtime)
}

#[must_use]
pub const fn deadlines(args: &WorkerArgs) -> Deadlines {
    args.deadlines(TRIES)
}

#[must_use]
pub fn worker(args: &WorkerArgs) -> worker::Settings {
    worker::Settings {
        id: format!("worker-{}", Uuid::now_v7().simple()),
        concurrency: usize::from(args.worker_concurrency),
        lease: Duration::from_secs(args.lease_seconds),
        poll: Duration::from_secs(1),
        sweep: Duration::from_secs(args.sweep_seconds),
        reconcile: Duration::from_secs(args.reconcile_seconds),
        orphan_grace: Duration::from_secs(args.orphan_grace_seconds),
        retention: Duration::from_secs(u64::from(args.retention_days) * 24 * 60 * 60),
        hand_over: Duration::from_secs(args.hand_over_seconds),
    }
}

#[cfg(feature = "faults")]
#[must_use]
pub fn faults(common: &CommonArgs, metrics: &Arc<Metrics>) -> Faults {
    let seed = common.faults.faults_seed.unwrap_or_else(|| fastrand::u64(..));
    tracing::warn!(rules = common.faults.faults.len(), seed, "faults are injected");
    Faults::new(common.faults.faults.clone(), seed, Arc::clone(metrics))
}

#[cfg(not(feature = "faults"))]
#[must_use]
pub const fn faults(_: &CommonArgs, _: &Arc<Metrics>) -> Faults {
    Faults
}

/// The phases that this program knows.
#[cfg(feature = "faults")]
#[must_use]
pub const fn phases(common: &CommonArgs) -> PhaseSchema {
    PhaseSchema::later(common.faults.faults_phase_schema)
}

#[cfg(not(feature = "faults"))]
#[must_use]
pub const fn phases(_: &CommonArgs) -> PhaseSchema {
    PhaseSchema::CURRENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_has_a_whole_host_on_each_side() {
        for whole in ["https://github.com/", "https://github.com/org", "file:///srv/git/", "git@github.com:", "ssh://git@h/"] {
            assert!(names_host(whole), "{whole}");
        }
        for part in ["", "https://github.com", "https://mirror.example", "git@github.com", "github.com/", "/srv"] {
            assert!(!names_host(part), "{part}");
        }
    }
}
