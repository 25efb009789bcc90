use super::*;

/// The same tests once more, by a server that is not root.
#[test]
fn all_of_this_holds_for_an_ordinary_user() {
    if !is_root() {
        return;
    }
    let program = std::env::current_exe().unwrap();
    // The build's own folder may be closed to others.
    let copies = tempfile::tempdir().unwrap();
    fs::set_permissions(copies.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = copies.path().join("tests");
    fs::copy(program, &copy).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(copy)
        .arg("sandbox::host::")
        .env("TMPDIR", copies.path())
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test sandbox::host::tests::exec::"), "they ran: {text}");
}
