//! `alpine-server migrate` while others work: once, in nobody's way for long, and with a clear word where it cannot be done.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use alpine_tests::{World, bins, postgres::Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::{process::Command, task::JoinSet};

const LAST: &str = "20261126150000";

fn migrate(url: &str, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(bins::path("alpine-server"));
    command.arg("migrate").env("DATABASE_URL", url).envs(settings.iter().copied()).kill_on_drop(true);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn six_that_migrate_an_empty_database_at_once_do_it_once() {
    let mut postgres = Postgres::start(&["max_connections=50"]).await;
    postgres.execute("postgres", "CREATE DATABASE fresh").await;
    let url = postgres.url("fresh");
    let mut all = JoinSet::new();
    (0..6).for_each(|_| {
        let mut command = migrate(&url, &[]);
        all.spawn(async move { command.output().await.unwrap() });
    });
    let outputs = all.join_all().await;
    for output in &outputs {
        assert!(output.status.success(), "{}", stderr(output));
    }
    let applied = std::fs::read_dir(bins::root().join("migrations")).unwrap().count();
    let did = outputs.iter().filter(|output| stderr(output).contains(&format!("count={applied}"))).count();
    let found = outputs.iter().filter(|output| stderr(output).contains("count=0")).count();
    assert_eq!((did, found), (1, 5), "{:#?}", outputs.iter().map(stderr).collect::<Vec<_>>());
    postgres.stop_immediately();
}

/// A database before its last migration but with a server on it, and somebody who reads `operations` in a long transaction.
async fn long_read(world: &World) -> PgConnection {
    world.db.execute("ALTER TABLE operations DROP COLUMN phase_schema").await;
    assert_eq!(world.db.execute(&format!("DELETE FROM _sqlx_migrations WHERE version = {LAST}")).await, 1);
    let mut reader = PgConnection::connect(&world.db.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE operations IN ACCESS SHARE MODE").execute(&mut reader).await.unwrap();
    reader
}

/// How long others wait for `operations`, at most, until `migrating` is done.
async fn longest_wait(world: &World, migrating: &tokio::task::JoinHandle<Output>, limit: Duration) -> Duration {
    let mut connection = PgConnection::connect(&world.db.url).await.unwrap();
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while !migrating.is_finished() && begun.elapsed() < limit {
        let asked = Instant::now();
        sqlx::raw_sql(AssertSqlSafe("SELECT count(*) FROM operations")).execute(&mut connection).await.unwrap();
        longest = longest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_behind_a_long_read_lets_others_pass_and_is_done_when_the_read_is_over() {
    let world = World::start().await;
    let reader = long_read(&world).await;
    let mut command = migrate(&world.db.url, &[("ALPINE_MIGRATE_LOCK_SECONDS", "1")]);
    let migrating = tokio::spawn(async move { command.output().await.unwrap() });
    let longest = longest_wait(&world, &migrating, Duration::from_secs(5)).await;
    eprintln!("others waited {longest:?} at most");
    assert!(!migrating.is_finished(), "it waits for the reader");
    assert!(longest > Duration::from_millis(300), "nobody was in anybody's way: this shows nothing");
    assert!(longest < Duration::from_secs(3), "others wait as long as the lock timeout, not as the read: {longest:?}");
    drop(reader);
    let output = migrating.await.unwrap();
    assert!(output.status.success() && stderr(&output).contains("locked by others; tried again"), "{}", stderr(&output));
    assert_eq!(world.db.count(&format!("_sqlx_migrations WHERE version = {LAST} AND success")).await, 1);
    world.ready("ann").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_cannot_have_its_lock_or_its_time_says_so_and_has_done_nothing() {
    let world = World::start().await;
    let reader = long_read(&world).await;
    let output = migrate(&world.db.url, &[("ALPINE_MIGRATE_LOCK_SECONDS", "1"), ("ALPINE_MIGRATE_SECONDS", "2")]).output().await.unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the locks that migration {LAST} needs were held by others")), "{said}");
    assert!(said.contains("next: run it again; in pg_stat_activity"), "{said}");
    let settings = [("ALPINE_MIGRATE_LOCK_SECONDS", "30"), ("ALPINE_MIGRATE_STATEMENT_SECONDS", "1")];
    let output = migrate(&world.db.url, &settings).output().await.unwrap();
    assert!(stderr(&output).contains(&format!("migration {LAST} took longer than 1 s and was undone")), "{}", stderr(&output));
    assert_eq!(world.db.count(&format!("_sqlx_migrations WHERE version = {LAST}")).await, 0);
    drop(reader);
    // Who holds the lock of all who migrate is told from who holds a table.
    let mut other = PgConnection::connect(&world.db.url).await.unwrap();
    sqlx::migrate::Migrate::lock(&mut other).await.unwrap();
    let output = migrate(&world.db.url, &[("ALPINE_MIGRATE_LOCK_SECONDS", "1"), ("ALPINE_MIGRATE_SECONDS", "1")]).output().await.unwrap();
    assert!(stderr(&output).contains("another program was migrating"), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_serves_a_newer_schema_and_leaves_it_and_refuses_one_of_another_line() {
    let mut world = World::start().await;
    let insert = |version: &str| {
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES ({version}, 'other', true, ''::bytea, 0)"
        )
    };
    world.db.execute(&insert("29991231000000")).await;
    let output = migrate(&world.db.url, &[]).output().await.unwrap();
    assert!(output.status.success() && stderr(&output).contains("a newer program has migrated further"), "{}", stderr(&output));
    world.server.kill();
    world.server.start_again().await;
    world.ready("ann").await;
    world.db.execute(&insert("20261128090101")).await;
    let output = migrate(&world.db.url, &[]).output().await.unwrap();
    assert!(output.status.success(), "newer than all of this program's: {}", stderr(&output));
    world.db.execute(&insert("20261124999999")).await;
    let output = migrate(&world.db.url, &[]).output().await.unwrap();
    assert!(!output.status.success() && stderr(&output).contains("migration 20261124999999 is applied and is not"), "{}", stderr(&output));
    // One whose own migrations are missing is not ready, and says why.
    world.db.execute("DELETE FROM _sqlx_migrations WHERE version > 20261126140000").await;
    world.server.kill();
    world.server.spawn();
    let client = world.pki.client();
    let body = alpine_tests::until("it answers", Duration::from_secs(30), || async {
        let answer = client.get(format!("{}/readyz", world.server.base())).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    })
    .await;
    assert_eq!(body.0, 503, "{}", body.1);
    assert!(body.1.contains("schema is not current"), "{}", body.1);
}
