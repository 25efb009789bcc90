//! PostgreSQL's own load generator: the server's very statements with nothing around them.

use std::{fmt::Write as _, path::Path, process::Stdio};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::{bins, postgres};

/// Transactions a second of `script`, as `role`.
pub async fn per_second(url: &str, role: &str, script: &Path, connections: usize, seconds: u64) -> anyhow::Result<f64> {
    let output = Command::new(postgres::binary("pgbench"))
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string(), "-T", &seconds.to_string(), "-D", "n=0", "-f"])
        .arg(script)
        .arg(url)
        .env("PGOPTIONS", format!("-c role={role}"))
        .stdin(Stdio::null())
        .output()
        .await
        .context("pgbench runs")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    tps.with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The one checked statement of the server that has all of these words, with its parameters replaced, in order.
pub fn statement(words: &[&str], parameters: &[&str]) -> anyhow::Result<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(bins::root().join(".sqlx"))? {
        let query: serde_json::Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        let text = query["query"].as_str().unwrap_or_default().to_owned();
        let count = query["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        if words.iter().all(|word| text.contains(word)) {
            found.push((text, count));
        }
    }
    ensure!(found.len() == 1, "{} statements have {words:?}", found.len());
    let (text, count) = found.remove(0);
    ensure!(count == parameters.len(), "it takes {count} parameters, not {}", parameters.len());
    // pgbench ends a statement at the line's end unless told otherwise, and would take a comment's words for variables.
    let lines = text.lines().map(|line| line.split("--").next().unwrap_or_default());
    let mut sql = lines.collect::<Vec<_>>().join("\n");
    for (number, parameter) in parameters.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", number + 1), parameter);
    }
    let mut script = sql;
    writeln!(script, ";")?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::super::{accept, reads};

    #[test]
    fn the_servers_statements_are_found_and_filled() {
        let accept = accept::statement("a", "'key'", "'operation'", "'session'").unwrap();
        let reads = reads::statements("ses_019a0000000070008000000000000001").unwrap();
        for (what, sql) in reads.into_iter().chain([("accept", accept)]) {
            assert!(!sql.contains('$'), "{what} has a parameter left: {sql}");
        }
    }
}
