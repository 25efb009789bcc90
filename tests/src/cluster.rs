//! A private PostgreSQL: one cluster a test process, one database a test.

use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use sqlx::{Connection, PgConnection, migrate::Migrator};
use tokio::sync::OnceCell;

use crate::{base, bins};

static CLUSTER: OnceCell<PathBuf> = OnceCell::const_new();
const TEMPLATE: &str = "alpine_template";

/// A new, migrated database; its URL.
pub async fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = CLUSTER.get_or_init(|| Box::pin(start())).await;
    let name = format!("alpine_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    execute(dir, "postgres", &format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
    url(dir, &name)
}

/// A new database without a single table; its URL.
pub async fn empty_database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = CLUSTER.get_or_init(|| Box::pin(start())).await;
    let name = format!("empty_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    execute(dir, "postgres", &format!("CREATE DATABASE {name}")).await;
    url(dir, &name)
}

fn url(dir: &Path, database: &str) -> String {
    format!("postgres://postgres@localhost/{database}?host={}", dir.display())
}

async fn execute(dir: &Path, database: &str, sql: &str) {
    let mut connection = connect(dir, database).await.expect("the cluster answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    connection.close().await.unwrap();
}

async fn connect(dir: &Path, database: &str) -> sqlx::Result<PgConnection> {
    PgConnection::connect(&url(dir, database)).await
}

async fn start() -> PathBuf {
    let dir = base::fresh("pg");
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let user = unprivileged();
    if let Some((uid, gid)) = user {
        for path in [&dir, &data] {
            std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
        }
    }
    std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
    let initdb = command("initdb", user, &dir)
        .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .expect("initdb runs");
    assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
    let log = std::fs::File::create(dir.join("log")).unwrap();
    command("postgres", user, &dir)
        .arg("-D")
        .arg(&data)
        .arg(format!("-cunix_socket_directories={}", dir.display()))
        .args(["-clisten_addresses=", "-cfsync=off", "-csynchronous_commit=off", "-cfull_page_writes=off"])
        .args(["-cmax_connections=400", "-cshared_buffers=64MB", "-clog_min_messages=error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("postgres runs");
    crate::until("PostgreSQL answers", Duration::from_secs(60), || async { connect(&dir, "postgres").await.ok() }).await;
    execute(&dir, "postgres", &format!("CREATE DATABASE {TEMPLATE}")).await;
    migrate(&dir).await;
    dir
}

async fn migrate(dir: &Path) {
    // Read at run time: a new migration needs no new build of the tests.
    let migrator = Migrator::new(bins::root().join("migrations")).await.expect("the migrations can be read");
    let mut connection = connect(dir, TEMPLATE).await.unwrap();
    migrator.run(&mut connection).await.expect("the migrations run");
    connection.close().await.unwrap();
}

fn command(name: &str, user: Option<(u32, u32)>, cwd: &Path) -> Command {
    let mut command = Command::new(binary(name));
    command.current_dir(cwd);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

/// The newest `/usr/lib/postgresql/*/bin`, else the one on the path.
fn binary(name: &str) -> PathBuf {
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
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let find = |name: &str| {
        let fields: Vec<&str> = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
        Some((fields[2].parse().ok()?, fields[3].parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user postgres or nobody"))
}
