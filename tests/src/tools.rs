//! Programs that tests use and nobody ships: fetched once, as pinned.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::bins;

/// The folder of what `tests/<name>/fetch.sh` fetches: `ALPINE_TEST_<NAME>`, which tests/run.sh sets, or `target/tools/<name>`.
pub fn fetched(name: &str) -> PathBuf {
    let variable = format!("ALPINE_TEST_{}", name.to_uppercase());
    let dir = switch(&variable).map_or_else(|| bins::root().join("target/tools").join(name), PathBuf::from);
    let fetch = bins::root().join("tests").join(name).join("fetch.sh");
    let status = Command::new(fetch).arg(&dir).stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{name} could not be fetched");
    dir
}

/// Whether there is a Docker of the tests' own; CI has promised one.
pub fn has_docker() -> bool {
    let has = switch("ALPINE_TEST_DOCKER").is_some();
    assert!(has || switch("CI").is_none(), "CI has Docker");
    has
}

/// A setting of the harness's own, if it is not empty.
#[expect(clippy::disallowed_methods, reason = "the harness's own switches")]
pub fn switch(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
