//! Bringing the schema up to date while servers work: one program at a time, and nobody waits long for it.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use sqlx::{
    Connection, PgConnection,
    migrate::{Migrate as _, MigrateError as Failure, Migration, Migrator},
    postgres::PgConnectOptions,
};

use super::connect::read_url;

/// The migrations, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// sqlx's own.
const TABLE: &str = "_sqlx_migrations";
/// Between tries: doubled each time, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct MigrateSettings {
    /// A statement that waits for a lock makes all others wait behind it: for so long at most.
    pub lock: Duration,
    /// For one statement.
    pub statement: Duration,
    /// For all tries.
    pub patience: Duration,
}

impl Default for MigrateSettings {
    fn default() -> Self {
        Self { lock: Duration::from_secs(2), statement: Duration::from_secs(300), patience: Duration::from_secs(300) }
    }
}

/// What was found or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrated {
    /// So many migrations were applied.
    Applied(usize),
    /// A newer program has migrated further: its schema serves this one, too.
    Newer(i64),
}

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("the database could not be migrated")]
    Failed(#[from] Failure),
    /// What was applied before stays, and the next run goes on from there.
    #[error("{} for {} s in a row; nothing is half done", waited_for(*migration), patience.as_secs())]
    Locked { migration: Option<i64>, patience: Duration, source: Failure },
    #[error("migration {migration} took longer than {} s and was undone", statement.as_secs())]
    TooLong { migration: i64, statement: Duration, source: Failure },
    #[error("migration {0} was applied with another text")]
    Edited(i64),
    /// Left by a migration outside of a transaction that was not let finish.
    #[error("the index {0} is not valid: what makes it was ended half way")]
    Invalid(String),
    #[error("migration {0} is applied and is not this program's, though it is older than this program's newest")]
    Foreign(i64),
}

fn waited_for(migration: Option<i64>) -> String {
    match migration {
        Some(migration) => format!("the locks that migration {migration} needs were held by others"),
        None => "another program was migrating".to_owned(),
    }
}

impl From<sqlx::Error> for MigrateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Bring the schema up to date, one program at a time (sqlx takes an advisory lock), in the name of whoever logs in: the schema's
/// owner. A lock that is not to be had soon is let go and asked for again.
pub async fn migrate(database_url: &SecretString, settings: &MigrateSettings) -> Result<Migrated, MigrateError> {
    let options = read_url(database_url)?.application_name("alpine-server migrate").options([
        ("lock_timeout", milliseconds(settings.lock)),
        ("statement_timeout", milliseconds(settings.statement)),
        ("idle_in_transaction_session_timeout", milliseconds(settings.statement)),
        // That sqlx's own table is there already is no news.
        ("client_min_messages", "warning".to_owned()),
    ]);
    let (begun, mut pause) = (Instant::now(), PAUSE);
    loop {
        let error = match attempt(&options).await {
            Err(MigrateError::Failed(error)) => error,
            other => return other,
        };
        let migration = match &error {
            Failure::ExecuteMigration(_, migration) => Some(*migration),
            _ => None,
        };
        match (state(&error).as_deref(), migration) {
            // lock_not_available, deadlock_detected: CREATE INDEX CONCURRENTLY and whoever waits to migrate are in each other's way.
            (Some("55P03" | "40P01"), _) if begun.elapsed() < settings.patience => {
                tracing::warn!(migration, error = &error as &dyn std::error::Error, "locked by others; tried again");
            }
            (Some("55P03" | "40P01"), _) => return Err(MigrateError::Locked { migration, patience: settings.patience, source: error }),
            (_, None) if let Failure::VersionMismatch(version) = &error => return Err(MigrateError::Edited(*version)),
            (Some("57014"), Some(migration)) => {
                return Err(MigrateError::TooLong { migration, statement: settings.statement, source: error });
            }
            _ => return Err(error.into()),
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn attempt(options: &PgConnectOptions) -> Result<Migrated, MigrateError> {
    let mut connection = PgConnection::connect_with(options).await?;
    // As sqlx takes it; here already, so that what is looked at stays as it is.
    connection.lock().await?;
    connection.ensure_migrations_table(TABLE).await?;
    let applied: Vec<i64> = connection.list_applied_migrations(TABLE).await?.iter().map(|migration| migration.version).collect();
    let own: Vec<Migration> = MIGRATOR.iter().cloned().collect();
    let newest = own.iter().map(|migration| migration.version).max().unwrap_or_default();
    let is_own = |version: i64| own.iter().any(|migration| migration.version == version);
    if let Some(foreign) = applied.iter().find(|version| !is_own(**version) && **version < newest) {
        return Err(MigrateError::Foreign(*foreign));
    }
    // A second try would find it there, and take the migration for done.
    let invalid = sqlx::query_scalar!(
        r#"SELECT i.indexrelid::regclass::text AS "index!" FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE NOT i.indisvalid AND c.relnamespace = current_schema()::regnamespace LIMIT 1"#
    );
    if let Some(index) = invalid.fetch_optional(&mut connection).await? {
        return Err(MigrateError::Invalid(index));
    }
    let missing = own.iter().filter(|migration| !applied.contains(&migration.version)).count();
    // What a newer program added is left as it is.
    Migrator::with_migrations(own).set_ignore_missing(true).set_locking(false).run(&mut connection).await?;
    connection.close().await?;
    Ok(match applied.into_iter().max() {
        Some(newer) if newer > newest => Migrated::Newer(newer),
        _ => Migrated::Applied(missing),
    })
}

fn milliseconds(time: Duration) -> String {
    time.as_millis().to_string()
}

/// The database's code for what went wrong.
fn state(error: &Failure) -> Option<String> {
    let (Failure::Execute(error) | Failure::ExecuteMigration(error, _)) = error else { return None };
    Some(error.as_database_error()?.code()?.into_owned())
}
