//! Settings of `alpine-server migrate`.

use std::time::Duration;

use clap::Args;

use super::{DatabaseArgs, TelemetryArgs};
use crate::ledger::MigrateSettings;

#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// How long one statement may wait for a lock: as long everybody else waits behind it. Then it lets go and is tried again.
    #[arg(long, env = "ALPINE_MIGRATE_LOCK_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub migrate_lock_seconds: u64,
    /// How long one statement may run.
    #[arg(long, env = "ALPINE_MIGRATE_STATEMENT_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub migrate_statement_seconds: u64,
    /// How long to go on trying while locks are not to be had or another migrates.
    #[arg(long, env = "ALPINE_MIGRATE_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub migrate_seconds: u64,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

impl MigrateArgs {
    #[must_use]
    pub const fn settings(&self) -> MigrateSettings {
        MigrateSettings {
            lock: Duration::from_secs(self.migrate_lock_seconds),
            statement: Duration::from_secs(self.migrate_statement_seconds),
            patience: Duration::from_secs(self.migrate_seconds),
        }
    }
}
