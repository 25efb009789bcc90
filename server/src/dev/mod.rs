//! What `alpine-server dev` prepares on one machine before it serves: a private PostgreSQL, a development
//! CA, secrets, the session program and the CLI's profile, all under one data directory.

pub mod account;
pub mod ca;
pub mod data_dir;
pub mod error;
mod files;
pub mod postgres;
pub mod profile;
pub mod secrets;
pub mod tools;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use secrecy::SecretString;

pub use self::error::DevError;
use self::{
    data_dir::DataDir,
    postgres::{EmbeddedPostgres, PostgresOptions},
    profile::DevProfile,
};
use crate::clock::{Clock, SystemClock};

const DATABASE: &str = "alpine";

#[derive(Debug, Clone)]
pub struct DevSettings {
    pub data_dir: PathBuf,
    /// Folders below which nothing can be seen in a sandbox.
    pub hidden: &'static [&'static str],
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    pub postgres_bin: Option<PathBuf>,
    /// What the certificate is for besides this machine's names; a wildcard.
    pub apps: Option<String>,
    /// Where the CLI's config.toml lives.
    pub cli_config_dir: PathBuf,
    /// PATH to find programs in.
    pub path: String,
    /// False where the user has configured another program to serve workspaces.
    pub need_opencode: bool,
}

/// What is prepared. Dropping it lets go of the data directory's lock; PostgreSQL is stopped with
/// [`EmbeddedPostgres::stop`], else it is left running for the next start to adopt.
#[derive(Debug)]
pub struct DevEnvironment {
    pub data_dir: DataDir,
    /// The address to serve on, never with port 0.
    pub listen: SocketAddr,
    pub server_url: String,
    pub database_url: SecretString,
    pub tls_cert: PathBuf,
    pub tls_key: PathBuf,
    pub ca_cert: PathBuf,
    pub jwt_secret_file: PathBuf,
    pub credential_key_file: PathBuf,
    /// `None` where it is not needed.
    pub opencode: Option<PathBuf>,
    pub postgres: EmbeddedPostgres,
}

/// Everything that needs no PostgreSQL comes first, so that most errors leave none running.
pub async fn prepare(settings: DevSettings) -> Result<DevEnvironment, DevError> {
    let data_dir = DataDir::open(&settings.data_dir, settings.hidden)?;
    let dir = data_dir.path();
    if let Some(account) = account::stand_in(&dir.join("postgres/data"))? {
        account::check_reach(dir, &account)?;
    }
    let listen = free_address(settings.listen)?;
    let server_url = server_url(listen);
    tools::require_git(&settings.path)?;
    let tools_dir = dir.join("tools");
    let opencode = match settings.need_opencode {
        true => Some(tools::opencode(&tools_dir, &settings.path).await?),
        false => None,
    };
    let certificate = ca::ensure(&dir.join("tls"), listen.ip(), settings.apps.as_deref(), SystemClock.now())?;
    let secrets = secrets::ensure(&dir.join("secrets"))?;

    let options = PostgresOptions {
        bin: settings.postgres_bin,
        path: settings.path,
        tools: Some(tools_dir),
        ..PostgresOptions::new(dir.join("postgres"))
    };
    let postgres = EmbeddedPostgres::start(&options).await?;
    let rest = async {
        postgres.ensure_database(DATABASE).await?;
        let profile = DevProfile { server: &server_url, ca_file: &certificate.ca_cert, signing_key_file: &secrets.jwt };
        profile::ensure(&settings.cli_config_dir, &profile)
    };
    if let Err(error) = rest.await {
        if let Err(stop) = postgres.stop().await {
            tracing::warn!(error = %stop, "PostgreSQL is left running");
        }
        return Err(error);
    }
    Ok(DevEnvironment {
        database_url: postgres.url(DATABASE),
        data_dir,
        listen,
        server_url,
        tls_cert: certificate.cert,
        tls_key: certificate.key,
        ca_cert: certificate.ca_cert,
        jwt_secret_file: secrets.jwt,
        credential_key_file: secrets.credential_key,
        opencode,
        postgres,
    })
}

/// Bind and let go: better to know before anything is fetched or started.
fn free_address(listen: SocketAddr) -> Result<SocketAddr, DevError> {
    TcpListener::bind(listen).and_then(|listener| listener.local_addr()).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => DevError::PortInUse { listen },
        _ => DevError::Listen { listen, source },
    })
}

fn server_url(listen: SocketAddr) -> String {
    let reachable = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(reachable, listen.port()))
}

#[cfg(test)]
mod tests;
