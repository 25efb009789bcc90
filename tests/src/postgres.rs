//! A private PostgreSQL cluster, which can be stopped at once and started again.

use std::{
    fs::{File, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection, migrate::Migrator};

use crate::{base, bins};

const OWN: [&str; 4] = ["listen_addresses=", "fsync=off", "full_page_writes=off", "shared_buffers=64MB"];

/// A cluster that listens on a socket in its own directory only. It outlives this value; the guardian ends it.
#[derive(Debug)]
pub struct Postgres {
    pub dir: PathBuf,
    settings: Vec<String>,
    user: Option<(u32, u32)>,
    child: Option<Child>,
}

impl Postgres {
    /// A new cluster with these settings (`name=value`) besides its own, answering. A crash of the machine may
    /// destroy it; one of its own processes may not.
    pub async fn start(settings: &[&str]) -> Self {
        let dir = base::fresh("pg");
        let user = unprivileged();
        let data = dir.join("data");
        std::fs::create_dir(&data).unwrap();
        if let Some((uid, gid)) = user {
            for path in [&dir, &data] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        let settings = OWN.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let mut cluster = Self { dir, settings, user, child: None };
        let initdb = cluster
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        cluster.start_again().await;
        cluster
    }

    /// A cluster that others have put into `data` below this directory, answering.
    pub async fn over(dir: PathBuf) -> Self {
        if let Some((uid, gid)) = unprivileged() {
            std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).unwrap();
        }
        let settings = OWN.map(str::to_owned).to_vec();
        let mut cluster = Self { dir, settings, user: unprivileged(), child: None };
        cluster.start_again().await;
        cluster
    }

    /// After a stop: answering.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "PostgreSQL runs already");
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.dir.join("data")).arg(format!("-cunix_socket_directories={}", self.dir.display()));
        command.args(self.settings.iter().map(|setting| format!("-c{setting}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        self.child = Some(command.spawn().expect("postgres runs"));
        let asked = || async { PgConnection::connect(&self.url("postgres")).await.ok() };
        crate::until("PostgreSQL answers", Duration::from_secs(60), asked).await;
    }

    /// Stop in `immediate` mode: as a crash, with nothing finished and nobody told.
    pub fn stop_immediately(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_process(Pid::from_child(&child), Signal::QUIT).unwrap();
            child.wait().unwrap();
        }
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(".s.PGSQL.5432")
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.dir.display())
    }

    pub async fn execute(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.expect("the cluster answers");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        connection.close().await.unwrap();
    }

    /// A new database with all migrations.
    pub async fn create_migrated(&self, database: &str) {
        self.execute("postgres", &format!("CREATE DATABASE {database}")).await;
        // Read at run time: a new migration needs no new build of the tests.
        let migrator = Migrator::new(bins::root().join("migrations")).await.expect("the migrations can be read");
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        migrator.run(&mut connection).await.expect("the migrations run");
        connection.close().await.unwrap();
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binary(name));
        command.current_dir(&self.dir);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// The newest `/usr/lib/postgresql/*/bin`, else the one on the path.
pub fn binary(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let path = entry.path().join("bin").join(name);
            Some((entry.file_name().to_str()?.parse().ok()?, path)).filter(|(_, path)| path.is_file())
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| PathBuf::from(name), |(_, path)| path)
}

/// PostgreSQL refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap();
    let find = |name: &str| {
        let fields: Vec<&str> = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user postgres or nobody"))
}
