use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;

use super::*;

const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

fn settings(base: &TempDir) -> DevSettings {
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o711)).unwrap();
    DevSettings {
        apps: None,
        data_dir: base.path().join("data"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        postgres_bin: None,
        cli_config_dir: base.path().join("config/alpine"),
        path: SYSTEM_PATH.to_owned(),
        hidden: &[],
        need_opencode: false,
    }
}

#[tokio::test]
async fn a_machine_is_prepared_and_found_again() {
    let base = tempfile::tempdir().unwrap();
    let first = prepare(settings(&base)).await.unwrap();
    assert_ne!(first.listen.port(), 0);
    assert_eq!(first.server_url, format!("https://{}", first.listen));
    let made: Vec<_> =
        [&first.ca_cert, &first.tls_cert, &first.jwt_secret_file, &first.credential_key_file].map(|path| fs::read(path).unwrap()).into();
    let config = fs::read_to_string(base.path().join("config/alpine/config.toml")).unwrap();
    assert!(config.contains(&first.server_url) && config.contains(&first.ca_cert.display().to_string()), "{config}");
    // Held for as long as the environment lives.
    assert!(matches!(prepare(settings(&base)).await, Err(DevError::AlreadyRunning { .. })));
    let DevEnvironment { postgres, data_dir, .. } = first;
    postgres.stop().await.unwrap();
    drop(data_dir);

    let second = prepare(settings(&base)).await.unwrap();
    let found: Vec<_> = [&second.ca_cert, &second.tls_cert, &second.jwt_secret_file, &second.credential_key_file]
        .map(|path| fs::read(path).unwrap())
        .into();
    assert_eq!(found, made);
    second.postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_told_before_anything_is_started() {
    let base = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = prepare(DevSettings { listen, ..settings(&base) }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("the address {listen} is in use by another program"));
    assert!(error.next_step().contains("--listen 127.0.0.1:") && error.next_step().contains("ALPINE_LISTEN"));
    assert!(!base.path().join("data/postgres").exists());
}

#[tokio::test]
async fn a_foreign_address_and_a_missing_git_are_told() {
    let base = tempfile::tempdir().unwrap();
    let listen = SocketAddr::from(([192, 0, 2, 1], 8443));
    let error = prepare(DevSettings { listen, ..settings(&base) }).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:8443"), "{error}");
    let error = prepare(DevSettings { path: "/nowhere".to_owned(), ..settings(&base) }).await.unwrap_err();
    assert!(matches!(error, DevError::ToolMissing { tool: "git", .. }), "{error}");
}

#[tokio::test]
async fn a_broken_profile_stops_the_start_and_leaves_no_postgres() {
    let base = tempfile::tempdir().unwrap();
    let settings = settings(&base);
    fs::create_dir_all(&settings.cli_config_dir).unwrap();
    fs::write(settings.cli_config_dir.join("config.toml"), "profiles = 3\n").unwrap();
    let error = prepare(settings).await.unwrap_err();
    assert!(matches!(error, DevError::Profile { .. }), "{error}");
    assert!(!base.path().join("data/postgres/data/postmaster.pid").exists());
}

#[test]
fn the_url_is_one_that_can_be_reached() {
    for (listen, url) in [
        ("127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("0.0.0.0:8443", "https://127.0.0.1:8443"),
        ("[::]:1", "https://[::1]:1"),
        ("192.0.2.7:8443", "https://192.0.2.7:8443"),
    ] {
        assert_eq!(server_url(listen.parse().unwrap()), url);
    }
}
