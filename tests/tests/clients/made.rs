//! The programs: made by tests/clients/build.sh, and run.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use alpine_tests::{REPO, bins, tools};
use serde_json::Value;

/// The folder in which the language's program is built; what went wrong where it could not be.
pub fn build(language: &str, tools: &Path) -> Result<PathBuf, String> {
    let root = bins::root();
    let dir = root.join("target/clients").join(language);
    let mut command = Command::new(root.join("tests/clients/build.sh"));
    command.arg(language).arg(root.join("openapi/alpine.v1.json")).arg(tools).arg(&dir);
    let output = command.stdin(Stdio::null()).output().unwrap();
    if output.status.success() { Ok(dir) } else { Err(format!("{language} could not be built: {}", said(&output))) }
}

/// The program's summary: the last line that it printed.
pub fn run(dir: &Path, program: &[&str], tools: &Path, settings: &[(&str, &str)], ca: &Path) -> Result<Value, String> {
    let path = std::env::join_paths([tools.join("python/bin")].into_iter().chain(paths())).unwrap();
    let mut command = Command::new(program[0]);
    if program[0].contains('/') {
        command = Command::new(dir.join(program[0]));
    }
    command.args(&program[1..]).current_dir(dir).stdin(Stdio::null()).env("PATH", path).envs(settings.iter().copied());
    command.env("ALPINE_REPO", REPO).env("ALPINE_CA_FILE", ca).env("NODE_EXTRA_CA_CERTS", ca);
    command.env("NO_PROXY", "127.0.0.1").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let summary = stdout.lines().next_back().and_then(|line| serde_json::from_str(line).ok());
    summary.filter(|_| output.status.success()).ok_or_else(|| said(&output))
}

fn said(output: &Output) -> String {
    format!("{}\n{}{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn paths() -> Vec<PathBuf> {
    tools::switch("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}
