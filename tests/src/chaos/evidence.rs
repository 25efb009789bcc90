//! What a violation is understood from afterwards.

use std::{io::Write, path::PathBuf, process::Command};

use super::stage::Stage;
use crate::postgres;

/// Logs, journal and ledger in a directory that outlives the run.
pub async fn keep(stage: &Stage, seed: u64) -> anyhow::Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix(&format!("alpine-chaos-{seed}-")).tempdir()?.keep();
    for log in &stage.logs {
        let name = if log.ends_with("log") { "postgres.log".into() } else { log.file_name().unwrap_or_default().to_owned() };
        std::fs::copy(log, dir.join(name))?;
    }
    let mut journal = std::fs::File::create(dir.join("answers.jsonl"))?;
    for answer in stage.targets.client.journal.answers() {
        writeln!(journal, "{}", serde_json::to_string(&answer)?)?;
    }
    let dump = Command::new(postgres::binary("pg_dump")).arg(&stage.url).arg("--data-only").arg("--inserts").output()?;
    std::fs::write(dir.join("ledger.sql"), dump.stdout)?;
    Ok(dir)
}
