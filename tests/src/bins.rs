//! The built programs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// `alpine-server` in the build that injects faults.
pub const FAULTY: &str = "alpine-server-faulty";

/// The built `alpine-server`, `alpine` or `alpine-server-faulty`, up to date.
pub fn path(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    static FAULTY_DIR: OnceLock<PathBuf> = OnceLock::new();
    let path = if name == FAULTY {
        // Few tests need it: built when the first asks.
        FAULTY_DIR.get_or_init(|| directory(&["--features", "alpine-server/faults", "--bin", FAULTY])).join(name)
    } else {
        DIR.get_or_init(|| directory(&["--bins"])).join(name)
    };
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the harness's own switch")]
fn directory(what: &[&str]) -> PathBuf {
    std::env::var_os("ALPINE_TEST_BIN_DIR").map_or_else(|| build(what), PathBuf::from)
}

/// `cargo test` does not build other packages' programs, so that a stale one could be tested. Cargo
/// locks the target directory itself: test processes that run at once wait for each other here.
fn build(what: &[&str]) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>, or target/<profile>/<program>
    let dir = exe.parent().unwrap();
    let profile_dir = if dir.ends_with("deps") { dir.parent().unwrap() } else { dir };
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet", "-p", "alpine-server", "-p", "alpine-cli"]).args(what);
    cargo.arg("--target-dir").arg(profile_dir.parent().unwrap()).current_dir(root());
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo could not build alpine-server and alpine: {what:?}");
    profile_dir.to_path_buf()
}
