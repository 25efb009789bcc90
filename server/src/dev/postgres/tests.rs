use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::dev::account;

/// Under /tmp and open to PostgreSQL's user, as a data directory is.
pub fn base() -> TempDir {
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o711)).unwrap();
    base
}

async fn run(postgres: &EmbeddedPostgres, database: &str, statement: &str) -> Result<u64, sqlx::Error> {
    let options = PgConnectOptions::from_str(postgres.url(database).expose_secret()).unwrap();
    let mut connection = PgConnection::connect_with(&options).await?;
    Ok(sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await?.rows_affected())
}

#[tokio::test]
async fn a_second_start_finds_the_data() {
    let base = base();
    let options = PostgresOptions { fsync: true, ..PostgresOptions::throwaway(base.path().join("pg")) };
    let first = EmbeddedPostgres::start(&options).await.unwrap();
    assert!(!first.adopted());
    first.ensure_database("alpine").await.unwrap();
    first.ensure_database("alpine").await.unwrap();
    run(&first, "alpine", "CREATE TABLE kept AS SELECT 1 AS one").await.unwrap();
    let pid = first.pid();
    first.stop().await.unwrap();
    assert!(!cluster::is_postgres(pid));

    let second = EmbeddedPostgres::start(&options).await.unwrap();
    assert_eq!(run(&second, "alpine", "SELECT * FROM kept").await.unwrap(), 1);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn one_left_running_by_a_killed_server_is_adopted() {
    let base = base();
    let options = PostgresOptions { fsync: false, ..PostgresOptions::new(base.path().join("pg")) };
    let left = EmbeddedPostgres::start(&options).await.unwrap();
    let pid = left.pid();
    drop(left);
    assert!(cluster::is_postgres(pid), "a dropped handle must not end it");
    let adopted = EmbeddedPostgres::start(&options).await.unwrap();
    assert!(adopted.adopted());
    assert_eq!(adopted.pid(), pid);
    adopted.create_database("from_adopted", None).await.unwrap();
    adopted.stop().await.unwrap();
    assert!(!cluster::is_postgres(pid));
}

#[tokio::test]
async fn a_killed_one_and_a_pid_file_of_a_stranger_are_overcome() {
    let base = base();
    let options = PostgresOptions::throwaway(base.path().join("pg"));
    let killed = EmbeddedPostgres::start(&options).await.unwrap();
    signal(killed.pid(), Signal::KILL);
    drop(killed);
    let pid_file = base.path().join("pg/data/postmaster.pid");
    // A process that lives and is no PostgreSQL: this one.
    let content = fs::read_to_string(&pid_file).unwrap();
    let (_, rest) = content.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", std::process::id())).unwrap();
    let again = EmbeddedPostgres::start(&options).await.unwrap();
    assert!(!again.adopted());
    again.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_throwaway_is_gone() {
    let base = base();
    let postgres = EmbeddedPostgres::start(&PostgresOptions::throwaway(base.path().join("pg"))).await.unwrap();
    let pid = postgres.pid();
    drop(postgres);
    assert!(!cluster::is_postgres(pid));
}

#[tokio::test]
async fn its_guard_ends_it_when_the_starting_process_is_gone() {
    let base = base();
    let mut postgres = EmbeddedPostgres::start(&PostgresOptions::throwaway(base.path().join("pg"))).await.unwrap();
    // What the kernel does at the end of a process: close the guard's standard input.
    drop(postgres.guard.as_mut().and_then(|guard| guard.stdin.take()));
    assert!(postgres.ended_within(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_database_comes_from_its_template() {
    let base = base();
    let postgres = EmbeddedPostgres::start(&PostgresOptions::throwaway(base.path().join("pg"))).await.unwrap();
    postgres.create_database("mould", None).await.unwrap();
    run(&postgres, "mould", "CREATE TABLE shape AS SELECT generate_series(1, 3)").await.unwrap();
    postgres.create_database("cast_1", Some("mould")).await.unwrap();
    assert_eq!(run(&postgres, "cast_1", "SELECT * FROM shape").await.unwrap(), 3);
    let error = postgres.create_database("cast_1", None).await.unwrap_err();
    assert!(matches!(&error, DevError::Database(source) if source.to_string().contains("already exists")), "{error:?}");
    postgres.drop_database("cast_1").await.unwrap();
    assert!(run(&postgres, "cast_1", "SELECT 1").await.is_err());
    for name in ["", "a\"b", "A", &"x".repeat(64)] {
        assert!(matches!(postgres.create_database(name, None).await, Err(DevError::DatabaseName { .. })));
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_path_works_through_a_short_socket_directory() {
    let base = base();
    let deep = base.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o711)).unwrap();
    let postgres = EmbeddedPostgres::start(&PostgresOptions::throwaway(deep.join("pg"))).await.unwrap();
    let socket_dir = postgres.socket_dir.clone();
    assert!(socket_dir.starts_with("/tmp/"));
    assert_eq!(fs::metadata(&socket_dir).unwrap().permissions().mode() & 0o777, 0o700);
    postgres.create_database("reached", None).await.unwrap();
    postgres.stop().await.unwrap();
    fs::remove_dir_all(socket_dir).unwrap();
}

#[tokio::test]
async fn an_interrupted_first_start_is_begun_again() {
    let base = base();
    let partial = base.path().join("pg/data.partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join("PG_VERSION"), "15\n").unwrap();
    let postgres = EmbeddedPostgres::start(&PostgresOptions::throwaway(base.path().join("pg"))).await.unwrap();
    assert!(!partial.exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_broken_cluster_is_named_with_its_log_and_left_alone() {
    let base = base();
    let data = base.path().join("pg/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("keep"), "x").unwrap();
    let options = PostgresOptions::throwaway(base.path().join("pg"));
    let error = EmbeddedPostgres::start(&options).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the database in {} is broken: it has no PG_VERSION", data.display()));
    let next = error.next_step();
    assert!(next.contains("postgres.log") && next.contains(&format!("move {} away", data.display())), "{next}");
    assert!(data.join("keep").exists());
}

#[tokio::test]
async fn a_cluster_that_will_not_start_says_why() {
    let base = base();
    let options = PostgresOptions::throwaway(base.path().join("pg"));
    EmbeddedPostgres::start(&options).await.unwrap().stop().await.unwrap();
    fs::write(base.path().join("pg/data/global/pg_control"), "torn").unwrap();
    let error = EmbeddedPostgres::start(&options).await.unwrap_err();
    assert!(matches!(&error, DevError::PostgresStart { detail, .. } if detail.contains("pg_control")), "{error}");
    assert!(error.next_step().contains("postgres.log"), "{}", error.next_step());
}

#[tokio::test]
async fn a_directory_that_postgres_cannot_reach_is_named_when_root() {
    if !account::is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = EmbeddedPostgres::start(&PostgresOptions::throwaway(closed.path().join("pg"))).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{} is closed to it", closed.path().display())), "{error}");
    assert!(error.next_step().contains(&format!("chmod o+x {}", closed.path().display())), "{}", error.next_step());
}
