//! The built programs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The built `alpine-server` or `alpine`, up to date.
pub fn path(name: &str) -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let path = DIR.get_or_init(directory).join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    path
}

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the harness's own switch")]
fn directory() -> PathBuf {
    std::env::var_os("ALPINE_TEST_BIN_DIR").map_or_else(build, PathBuf::from)
}

/// `cargo test` does not build other packages' programs, so that a stale one could be tested. Cargo
/// locks the target directory itself: test processes that run at once wait for each other here.
fn build() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test>
    let profile_dir = exe.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--quiet", "-p", "alpine-server", "-p", "alpine-cli", "--bins", "--target-dir"]);
    cargo.arg(profile_dir.parent().unwrap()).current_dir(root());
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "cargo could not build alpine-server and alpine");
    profile_dir.to_path_buf()
}
