use std::fs;

use super::*;
use crate::token::Identity;

fn dir(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.toml"), text).unwrap();
    dir
}

fn load(dir: &tempfile::TempDir, globals: &Globals, more: &[(&'static str, &str)]) -> Result<Settings, ConfigError> {
    let path = dir.path().to_str().unwrap();
    Settings::load(globals, &Environment::of(&[&[("ALPINE_CONFIG_DIR", path)], more].concat()))
}

const FILE: &str = r#"
default_profile = "team"
[profiles.dev]
server = "https://127.0.0.1:9443"
ca_file = "/dev-ca.pem"
dev_signing_key_file = "/dev.key"
[profiles.team]
server = "https://alpine.example.com/base"
token = "stored"
dev_signing_key_file = "/not-honoured"
[profiles.loose]
token = "anywhere"
"#;

#[test]
fn flag_over_environment_over_file_over_default() {
    let dir = dir(FILE);
    let server = |globals: &Globals, env: &[(&'static str, &str)]| load(&dir, globals, env).unwrap().server.to_string();
    let flag = Globals { server: Some("https://flag".to_owned()), ..Globals::default() };
    assert_eq!(server(&flag, &[("ALPINE_SERVER", "https://env")]), "https://flag/");
    assert_eq!(server(&Globals::default(), &[("ALPINE_SERVER", "https://env")]), "https://env/");
    assert_eq!(server(&Globals::default(), &[("ALPINE_SERVER", " ")]), "https://alpine.example.com/base/");
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(load(&nothing, &Globals::default(), &[]).unwrap().server.as_str(), "https://127.0.0.1:8443/");

    let profile = |globals: &Globals, env: &[(&'static str, &str)]| load(&dir, globals, env).unwrap().profile;
    let flag = Globals { profile: Some("loose".to_owned()), ..Globals::default() };
    assert_eq!(profile(&flag, &[("ALPINE_PROFILE", "dev")]), "loose");
    assert_eq!(profile(&Globals::default(), &[("ALPINE_PROFILE", "dev")]), "dev");
    assert_eq!(profile(&Globals::default(), &[]), "team");
}

#[test]
fn only_the_dev_profile_signs() {
    let dir = dir(FILE);
    assert_eq!(load(&dir, &Globals::default(), &[]).unwrap().credential.key_file, None);
    let dev = load(&dir, &Globals::default(), &[("ALPINE_PROFILE", "dev")]).unwrap();
    assert_eq!(dev.credential.key_file, Some("/dev.key".into()));
    assert_eq!(dev.ca_file, Some("/dev-ca.pem".into()));
    let other_ca = load(&dir, &Globals::default(), &[("ALPINE_PROFILE", "dev"), ("ALPINE_CA_FILE", "/ca")]).unwrap();
    assert_eq!(other_ca.ca_file, Some("/ca".into()));
}

#[test]
fn a_stored_token_goes_to_its_own_server_only() {
    let dir = dir(FILE);
    let token = |env: &[(&'static str, &str)]| load(&dir, &Globals::default(), env).unwrap().credential.token;
    assert_eq!(token(&[]).as_deref(), Some("stored"));
    assert_eq!(token(&[("ALPINE_SERVER", "https://alpine.example.com")]).as_deref(), Some("stored"));
    assert_eq!(token(&[("ALPINE_SERVER", "https://elsewhere.example.com")]), None);
    assert_eq!(token(&[("ALPINE_SERVER", "https://elsewhere.example.com"), ("ALPINE_TOKEN", "mine")]).as_deref(), Some("mine"));
    assert_eq!(token(&[("ALPINE_PROFILE", "loose"), ("ALPINE_SERVER", "https://elsewhere.example.com")]).as_deref(), Some("anywhere"));
}

#[test]
fn a_blank_principal_is_nobody() {
    let who = |env: &[(&'static str, &str)]| principal(&Environment::of(env));
    assert_eq!(who(&[("USER", "u"), ("LOGNAME", "l")]).as_deref(), Some("u"));
    assert_eq!(who(&[("USER", ""), ("LOGNAME", "l")]).as_deref(), Some("l"));
    assert_eq!(who(&[("ALPINE_PRINCIPAL_ID", "tester"), ("USER", "u")]).as_deref(), Some("tester"));
    for blank in ["", "  ", "\t"] {
        assert_eq!(who(&[("ALPINE_PRINCIPAL_ID", blank), ("USER", "u")]), None);
    }
    assert_eq!(who(&[]), None);
}

#[test]
fn roles_come_from_two_variables() {
    let of = |env: &[(&'static str, &str)]| roles(&Environment::of(env));
    assert_eq!(of(&[]), [""; 0]);
    assert_eq!(of(&[("ALPINE_ADMIN", "1"), ("ALPINE_ROLES", " b, a,,alpine.admin")]), ["a", "alpine.admin", "b"]);
    assert_eq!(of(&[("ALPINE_ROLES", "alpine.operator alpine.admin")]), ["alpine.admin", "alpine.operator"]);
    assert_eq!(of(&[("ALPINE_ADMIN", "0")]), [""; 0]);
}

#[test]
fn the_repository_token_is_the_first_that_is_not_blank() {
    let token = |env: &[(&'static str, &str)]| Environment::of(env).repo_token();
    assert_eq!(token(&[("GITHUB_TOKEN", "a"), ("GH_TOKEN", "b")]).as_deref(), Some("a"));
    assert_eq!(token(&[("GITHUB_TOKEN", " "), ("GH_TOKEN", "b")]).as_deref(), Some("b"));
    assert_eq!(token(&[("GITHUB_TOKEN", "")]), None);
}

#[test]
fn plain_http_is_for_this_machine_only() {
    for good in ["https://h", "https://h:8443/base", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
        assert!(server_url(good).is_ok(), "{good}");
    }
    for bad in [
        "http://example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "ftp://h",
        "h:8443",
        "",
        "https://u:p@h",
        "https://h?q",
        "https://h#f",
    ] {
        assert!(server_url(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_broken_file_is_told_by_its_line_and_never_quoted() {
    let dir = dir("[profiles.dev]\ntoken = \"s3cr3t\nserver = 1\n");
    let report = load(&dir, &Globals::default(), &[]).unwrap_err().report();
    assert!(report.cause.contains("config.toml is not valid (line 2)"), "{report:?}");
    assert!(!format!("{report:?}").contains("s3cr3t"));
}

#[test]
fn an_unknown_profile_names_the_known_ones() {
    let dir = dir(FILE);
    let report = load(&dir, &Globals::default(), &[("ALPINE_PROFILE", "nope")]).unwrap_err().report();
    assert_eq!(report.next_step, "use one of: dev, loose, team");
}

#[cfg(unix)]
#[test]
fn a_token_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = dir(FILE);
    let file = dir.path().join("config.toml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(load(&dir, &Globals::default(), &[]).unwrap().warnings.len(), 1);
    let env = [("ALPINE_CONFIG_DIR", dir.path().to_str().unwrap()), ("ALPINE_SERVER", "http://127.0.0.1:1"), ("ALPINE_TOKEN", "t")];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let err = |args: &[&str]| runtime.block_on(crate::testing::alpine(args, &Environment::of(&env))).err;
    assert!(err(&["down", "x"]).contains("warning: "));
    assert!(!err(&["down", "x", "--quiet"]).contains("warning"), "nothing but the result and errors");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(load(&dir, &Globals::default(), &[]).unwrap().warnings.is_empty());
}

#[test]
fn a_login_is_at_hand_only_where_nothing_must_be_asked_for_it() {
    let now: Now = || crate::testing::at("2026-11-22T12:00:00Z");
    let at_hand = |entry: &str, about: &str, tokens: &str| {
        let dir = dir("[profiles.dev]\nserver = 'https://h:1'\n");
        let text = format!(
            "[logins.dev]\n{entry}\n[logins.dev.about]\nserver = '{about}'\nissuer = 'https://i'\nclient_id = 'c'\n\
             token_endpoint = 'https://i/t'\n[logins.dev.tokens]\naccess_token = 'a'\nrefresh_token = 'r'\n{tokens}\n"
        );
        fs::write(dir.path().join("credentials.toml"), text).unwrap();
        load(&dir, &Globals::default(), &[]).unwrap().token_at_hand(now)
    };
    assert_eq!(at_hand("", "https://h:1/", "expires_at = '2026-11-22T12:00:01Z'").as_deref(), Some("a"));
    assert_eq!(at_hand("", "https://h:1/", "").as_deref(), Some("a"), "who gave it did not say how long it is good");
    assert_eq!(at_hand("", "https://h:1/", "expires_at = '2026-11-22T12:00:00Z'"), None, "it would have to be renewed");
    assert_eq!(at_hand("keyring = 'k'", "https://h:1/", ""), None, "the keyring would have to be asked");
    assert_eq!(at_hand("", "https://h:2/", ""), None, "it is another server's");
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let env = Environment::of(&[("ALPINE_TOKEN", "s3cr3t"), ("GITHUB_TOKEN", "s3cr3t"), ("ALPINE_CONFIG_DIR", "/nonexistent")]);
    let settings = Settings::load(&Globals::default(), &env).unwrap();
    let shown = format!("{env:?} {settings:?}");
    let identity = Identity::new(settings.credential, crate::clock::now).unwrap();
    assert!(!format!("{shown} {identity:?}").contains("s3cr3t"));
}
