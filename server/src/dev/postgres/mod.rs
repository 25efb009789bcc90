//! A private PostgreSQL: no TCP, one directory, found again by the next start.

mod binaries;
mod cluster;
#[cfg(test)]
mod tests;

use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use self::{
    binaries::Binaries,
    cluster::{Layout, Postmaster},
};
use super::error::DevError;

/// Crash recovery of a busy database takes a while; nothing is wrong meanwhile.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const MAINTENANCE_DATABASE: &str = "postgres";

#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Holds the cluster, its socket and its log.
    pub dir: PathBuf,
    /// Where initdb and postgres are; `None`: find them.
    pub bin: Option<PathBuf>,
    /// PATH to search.
    pub path: String,
    /// Debian's folder of versions.
    pub installed: PathBuf,
    /// Where npm puts PostgreSQL if the machine has none; `None`: never fetch.
    pub tools: Option<PathBuf>,
    /// Off only where the data may be lost.
    pub fsync: bool,
    pub max_connections: u16,
    /// End it when the handle is dropped, and when this process ends in whatever way.
    pub stop_on_drop: bool,
}

impl PostgresOptions {
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            bin: None,
            path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
            installed: PathBuf::from("/usr/lib/postgresql"),
            tools: None,
            fsync: true,
            max_connections: 200,
            stop_on_drop: false,
        }
    }

    /// For tests: quick, and gone with the process that started it.
    #[must_use]
    pub fn throwaway(dir: impl Into<PathBuf>) -> Self {
        Self { fsync: false, stop_on_drop: true, ..Self::new(dir) }
    }
}

#[derive(Debug)]
pub struct EmbeddedPostgres {
    pid: i32,
    socket_dir: PathBuf,
    log: PathBuf,
    /// `None`: adopted from an earlier process.
    child: Option<Child>,
    guard: Option<Child>,
    running: bool,
}

impl EmbeddedPostgres {
    /// Adopt the one that runs on the directory, else start one, making the cluster the first time.
    pub async fn start(options: &PostgresOptions) -> Result<Self, DevError> {
        let layout = Layout::prepare(options)?;
        let cluster = layout.version()?;
        if let Some(running) = adopt(&layout, options).await? {
            return Ok(running);
        }
        let binaries = binaries::find(options, &layout.data, cluster).await?;
        if cluster.is_none() {
            tracing::info!(data = %layout.data.display(), version = binaries.major, "making the private PostgreSQL's database");
            layout.initdb(&binaries, options.fsync).await?;
        }
        // Backends of a postmaster that was killed hold its memory for a moment longer.
        for _ in 0..5 {
            match launch(&layout, &binaries, options).await {
                Err(DevError::PostgresStart { detail, .. }) if detail.contains("shared memory block") => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                done => return done,
            }
        }
        launch(&layout, &binaries, options).await
    }

    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Was it running before?
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.child.is_none()
    }

    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// For sqlx and psql: the socket's directory is the host. The role is a superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> SecretString {
        url(&self.socket_dir, database)
    }

    /// Fails where the database exists.
    pub async fn create_database(&self, name: &str, template: Option<&str>) -> Result<(), DevError> {
        let name = checked(name)?;
        let template = template.map(checked).transpose()?.map(|t| format!(" TEMPLATE \"{t}\"")).unwrap_or_default();
        self.maintain(format!("CREATE DATABASE \"{name}\"{template}")).await
    }

    pub async fn ensure_database(&self, name: &str) -> Result<(), DevError> {
        match self.create_database(name, None).await {
            Err(DevError::Database(error)) if code(&error).as_deref() == Some("42P04") => Ok(()),
            done => done,
        }
    }

    /// Also where connections to it are open.
    pub async fn drop_database(&self, name: &str) -> Result<(), DevError> {
        self.maintain(format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", checked(name)?)).await
    }

    async fn maintain(&self, statement: String) -> Result<(), DevError> {
        let mut connection = connect(&self.socket_dir, MAINTENANCE_DATABASE).await?;
        // Not a query of the ledger's: no parameter can stand for a name, and the name is checked.
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// End it in order: open transactions are rolled back, everything committed is on disk.
    pub async fn stop(mut self) -> Result<(), DevError> {
        end_guard(self.guard.take());
        self.running = false;
        signal(self.pid, Signal::INT);
        if self.ended_within(STOP_TIMEOUT).await {
            return Ok(());
        }
        signal(self.pid, Signal::QUIT);
        if self.ended_within(Duration::from_secs(5)).await {
            return Ok(());
        }
        Err(DevError::PostgresStop { pid: self.pid, log: self.log.clone() })
    }

    async fn ended_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while !self.ended() {
            if Instant::now() > end {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    fn ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !cluster::is_postgres(self.pid),
        }
    }
}

impl Drop for EmbeddedPostgres {
    fn drop(&mut self) {
        if !self.running || self.guard.is_none() {
            return;
        }
        signal(self.pid, Signal::QUIT);
        end_guard(self.guard.take());
        let end = Instant::now() + Duration::from_secs(15);
        while !self.ended() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }
}

/// The one that an earlier, killed server left running. One that is stopping is waited for.
async fn adopt(layout: &Layout, options: &PostgresOptions) -> Result<Option<EmbeddedPostgres>, DevError> {
    let end = Instant::now() + START_TIMEOUT;
    while let Some(Postmaster { pid, socket_dir }) = layout.postmaster() {
        if connect(&socket_dir, MAINTENANCE_DATABASE).await.is_ok() {
            tracing::info!(pid, "the private PostgreSQL runs already; adopting it");
            let guard = guard(layout, options, pid)?;
            let log = layout.log.clone();
            return Ok(Some(EmbeddedPostgres { pid, socket_dir, log, child: None, guard, running: true }));
        }
        if Instant::now() > end {
            return Err(layout.start_failed(format!("process {pid} runs on its data but does not answer")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}

async fn launch(layout: &Layout, binaries: &Binaries, options: &PostgresOptions) -> Result<EmbeddedPostgres, DevError> {
    let log_path = &layout.log;
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log_path).map_err(DevError::io("cannot open", log_path))?;
    let offset = log.metadata().map_or(0, |m| m.len());
    let log_err = log.try_clone().map_err(DevError::io("cannot open", log_path))?;
    let mut command = layout.command(&binaries.program("postgres"));
    command.arg("-D").arg(&layout.data).arg("-k").arg(&layout.socket_dir).arg("-p").arg(cluster::PORT.to_string());
    command.args(["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]);
    command.arg("-c").arg(format!("max_connections={}", options.max_connections));
    if !options.fsync {
        command.args(["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]);
    }
    // A group of its own: Ctrl-C on the terminal must not reach it before the server has drained.
    let child = command.stdout(Stdio::from(log)).stderr(Stdio::from(log_err)).process_group(0).spawn();
    let child = child.map_err(|error| layout.start_failed(error.to_string()))?;
    let pid = i32::try_from(child.id()).map_err(|error| layout.start_failed(error.to_string()))?;
    let guard = guard(layout, options, pid)?;
    let socket_dir = layout.socket_dir.clone();
    let mut started = EmbeddedPostgres { pid, socket_dir, log: layout.log.clone(), child: Some(child), guard, running: true };

    let end = Instant::now() + START_TIMEOUT;
    loop {
        if started.ended() {
            started.running = false;
            return Err(layout.start_failed(layout.log_since(offset)));
        }
        match connect(&started.socket_dir, MAINTENANCE_DATABASE).await {
            Ok(connection) => {
                connection.close().await?;
                return Ok(started);
            }
            Err(error) if Instant::now() > end => {
                signal(pid, Signal::QUIT);
                return Err(layout.start_failed(format!("no answer within {} s: {error}", START_TIMEOUT.as_secs())));
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// A shell that outlives this process by one signal: its standard input ends when we do, even by SIGKILL.
fn guard(layout: &Layout, options: &PostgresOptions, pid: i32) -> Result<Option<Child>, DevError> {
    if !options.stop_on_drop {
        return Ok(None);
    }
    let mut command = layout.command(Path::new("/bin/sh"));
    command.args(["-c", "read -r _; kill -QUIT \"$0\""]).arg(pid.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().map(Some).map_err(|error| layout.start_failed(error.to_string()))
}

fn end_guard(guard: Option<Child>) {
    if let Some(mut guard) = guard {
        let _ = guard.kill();
        let _ = guard.wait();
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid)
        && let Err(error) = kill_process(pid, signal)
    {
        tracing::debug!(%error, "PostgreSQL was gone already");
    }
}

fn url(socket_dir: &Path, database: &str) -> SecretString {
    let encoded: String = url::form_urlencoded::byte_serialize(socket_dir.as_os_str().as_encoded_bytes()).collect();
    format!("postgres://{}@{encoded}:{}/{database}", cluster::USER, cluster::PORT).into()
}

async fn connect(socket_dir: &Path, database: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url(socket_dir, database).expose_secret())?.disable_statement_logging();
    let connecting = tokio::time::timeout(Duration::from_secs(5), PgConnection::connect_with(&options));
    connecting.await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|e| e.code()).map(std::borrow::Cow::into_owned)
}

fn checked(name: &str) -> Result<&str, DevError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(DevError::DatabaseName { name: name.to_owned() })
}
