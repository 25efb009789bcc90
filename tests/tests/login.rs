//! `alpine login` and after: the real CLI, the real server, a real OpenID provider.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use alpine_tests::{REPO, cli::Alpine, team::Team, until};
use serde_json::json;

/// The stored value of that name.
fn secret(stored: &str, name: &str) -> String {
    let line = stored.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
    line.split('"').nth(1).unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_headless_and_every_command_is_theirs_until_they_log_out() {
    let team = Team::start().await;
    let refused = team.list().await.refused_because(1, "ERR_CALLER_IDENTITY_REQUIRED", "caller identity is required");
    assert!(refused["next_step"].as_str().unwrap().contains("alpine login"), "{refused}");
    let (login, code) = team.begin(&[]).await;
    team.oidc.approve(&code, "ann", "acme", &["alpine.admin"]).await;
    let answer = login.await.unwrap();
    let said = answer.ok();
    assert_eq!((&said["principal_id"], &said["tenant"], &said["credential_store"]), (&json!("ann"), &json!("acme"), &json!("file")));
    assert!(answer.stderr.contains(&code) && answer.stderr.contains(&team.oidc.issuer), "{answer}");

    let who = team.alpine(&["whoami"]).run().await.ok();
    assert_eq!(
        (&who["principal_id"], &who["tenant"], &who["roles"], &who["method"]),
        (&json!("ann"), &json!("acme"), &json!(["alpine.admin"]), &json!("jwt"))
    );
    assert_eq!(team.list().await.ok(), json!([]));
    let up = team.alpine(&["up", REPO, "--branch", "main", "--no-browser", "--public"]).run().await.ok();
    assert_eq!(up["state"], "ready");
    assert_eq!(team.list().await.ok()[0]["owner_principal_id"], "ann");

    let out = team.alpine(&["logout"]).run().await.ok();
    assert_eq!((&out["was_logged_in"], &out["revoked"]), (&json!(true), &json!(true)));
    assert!(!team.stored().contains("token ="), "{}", team.stored());
    team.list().await.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    let again = team.alpine(&["logout"]).run().await.ok();
    assert_eq!(again["was_logged_in"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_kept_in_a_file_of_the_owner_alone_and_nothing_secret_is_said() {
    let team = Team::with(json!({ "accessTokenTtl": 30 })).await;
    let (login, code) = team.begin(&["-v"]).await;
    team.oidc.approve(&code, "ann", "acme", &[]).await;
    let login = login.await.unwrap();
    login.ok();
    assert_eq!(mode(&team.file()), 0o600);
    let mut secrets = vec![secret(&team.stored(), "access_token"), secret(&team.stored(), "refresh_token")];
    // Each of these refreshes: 30 seconds is less than what a token must be good for.
    let list = team.alpine(&["list", "-v"]).run().await;
    list.ok();
    assert_eq!(mode(&team.file()), 0o600, "after a refresh too");
    secrets.extend([secret(&team.stored(), "access_token"), secret(&team.stored(), "refresh_token")]);
    let plain = Alpine::new(&team.config_dir, &team.world.dir.join("home")).args(&["whoami", "-v"]).run().await;
    secrets.extend([secret(&team.stored(), "access_token"), secret(&team.stored(), "refresh_token")]);
    let out = team.alpine(&["logout", "-v"]).run().await;
    out.ok();
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 6, "each refresh gave new ones");
    for secret in &secrets {
        for answer in [&login, &list, &plain, &out] {
            assert!(!format!("{answer}").contains(secret), "{:?} says a token", answer.args);
        }
        assert!(!team.world.server.log_text().contains(secret), "the server's log has a token");
    }
    let left: Vec<_> = std::fs::read_dir(&team.config_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_or_too_late_is_none() {
    let team = Team::start().await;
    let (login, code) = team.begin(&[]).await;
    team.oidc.deny(&code).await;
    login.await.unwrap().refused_because(1, "ERR_CALLER_IDENTITY_REQUIRED", "the login was refused");
    team.oidc.set(json!({ "deviceCodeTtl": 2 })).await;
    let (login, _) = team.begin(&[]).await;
    login.await.unwrap().refused_because(1, "ERR_CALLER_IDENTITY_REQUIRED", "the code expired before anybody entered it");
    assert_eq!(team.stored(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_says_slow_down_is_asked_five_seconds_less_often() {
    let team = Team::with(json!({ "slowDowns": 1 })).await;
    let (login, code) = team.begin(&[]).await;
    team.oidc.approve(&code, "ann", "acme", &[]).await;
    login.await.unwrap().ok();
    let asked = team.oidc.requests("/token").await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1] - asked[0] >= 5900, "interval 1 s and 5 s more: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_asked_again_and_again_is_asked_at_its_interval() {
    let team = Team::with(json!({ "interval": 2 })).await;
    let (login, code) = team.begin(&[]).await;
    until("it was asked twice", Duration::from_secs(20), || async { (team.oidc.requests("/token").await.len() >= 2).then_some(()) }).await;
    // Out of order for a moment: no answer, and no end.
    team.oidc.set(json!({ "tokenStatus": 503 })).await;
    until("it was asked meanwhile", Duration::from_secs(20), || async { (team.oidc.requests("/token").await.len() >= 3).then_some(()) })
        .await;
    team.oidc.set(json!({ "tokenStatus": 0 })).await;
    team.oidc.approve(&code, "ann", "acme", &[]).await;
    login.await.unwrap().ok();
    let asked = team.oidc.requests("/token").await;
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1950), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_access_token_is_refreshed_and_the_rotated_refresh_token_kept() {
    let team = Team::with(json!({ "accessTokenTtl": 30 })).await;
    team.logged_in().await;
    let mut seen = vec![secret(&team.stored(), "refresh_token")];
    let asked = team.oidc.requests("/token").await.len();
    for _ in 0..3 {
        assert_eq!(team.list().await.ok(), json!([]));
        seen.push(secret(&team.stored(), "refresh_token"));
    }
    seen.dedup();
    assert_eq!(seen.len(), 4, "a refresh token is used once");
    // Good for longer than a minute: used as it is.
    team.oidc.set(json!({ "accessTokenTtl": 300 })).await;
    for _ in 0..3 {
        team.list().await.ok();
    }
    assert_eq!(team.oidc.requests("/token").await.len(), asked + 3 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_refuses_is_renewed_once_within_the_command() {
    let team = Team::start().await;
    team.logged_in().await;
    let good = secret(&team.stored(), "access_token");
    // In time by the file, and not by the server.
    let stale = team.oidc.mint("ann", "acme", &[], json!({ "ttl": -120 })).await;
    std::fs::write(team.file(), team.stored().replace(&good, &stale)).unwrap();
    assert_eq!(team.list().await.ok(), json!([]));
    assert_ne!(secret(&team.stored(), "access_token"), stale);
    // What nobody accepts is not asked for again and again.
    let asked = team.oidc.requests("/token").await.len();
    team.oidc.rotate(false).await;
    let foreign = team.oidc.mint("ann", "acme", &[], json!({})).await;
    std::fs::write(team.file(), team.stored().replace(&secret(&team.stored(), "access_token"), &foreign)).unwrap();
    team.list().await.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    assert_eq!(team.oidc.requests("/token").await.len(), asked + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_login_says_to_log_in_again() {
    let team = Team::with(json!({ "accessTokenTtl": 30 })).await;
    team.logged_in().await;
    assert_eq!(team.oidc.revoke(Some("ann")).await, 1);
    let error = team.list().await.refused_because(1, "ERR_CALLER_IDENTITY_REQUIRED", "the login is over");
    assert_eq!(error["next_step"], "run alpine login");
    team.logged_in().await;
    team.list().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_ends_no_login() {
    let team = Team::with(json!({ "accessTokenTtl": 30 })).await;
    team.logged_in().await;
    let before = team.stored();
    team.oidc.set(json!({ "tokenStatus": 503 })).await;
    team.list().await.ok();
    assert_eq!(team.stored(), before, "the token was good for half a minute yet");
    let ended = before.lines().map(|line| if line.starts_with("expires_at") { "expires_at = \"2026-01-01T00:00:00Z\"" } else { line });
    std::fs::write(team.file(), ended.collect::<Vec<_>>().join("\n")).unwrap();
    let error = team.list().await.refused(2, "ERR_UNAVAILABLE");
    assert_eq!(error["retryable"], true);
    team.oidc.set(json!({ "tokenStatus": 0 })).await;
    team.list().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_refresh_at_once_do_not_end_each_others_login() {
    let team = Team::with(json!({ "accessTokenTtl": 61 })).await;
    team.logged_in().await;
    for round in 0..3 {
        let asked = team.oidc.requests("/token").await.len();
        // Within a minute of its end.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        team.oidc.set(json!({ "accessTokenTtl": if round == 2 { 300 } else { 61 } })).await;
        let lists: Vec<_> = (0..6).map(|_| team.alpine(&["list"]).spawn()).collect();
        for list in lists {
            list.await.unwrap().ok();
        }
        assert!(team.oidc.requests("/token").await.len() > asked, "one of them refreshed");
    }
    team.list().await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_outlives_its_access_token_goes_on() {
    // Each token is to be renewed two seconds after it was had.
    let mut team = Team::with(json!({ "accessTokenTtl": 62 })).await;
    team.world.git.with_files("org/slow", &[("README.md", "hello\n")]);
    team.world.git.delay("org/slow", Duration::from_secs(5));
    team.logged_in().await;
    let up = team.alpine(&["up", "https://github.com/org/slow.git", "--branch", "main", "--no-browser", "--public"]).spawn();
    until("the repository is asked for", Duration::from_secs(30), || async { (team.world.git.requests("org/slow") > 0).then_some(()) })
        .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let asked = team.oidc.requests("/token").await.len();
    team.world.git.delay("org/slow", Duration::ZERO);
    // The wait is cut short, and begun again with a token that is asked for anew.
    team.world.server.terminate().await;
    team.world.server.start_again().await;
    assert_eq!(up.await.unwrap().ok()["state"], "ready");
    assert!(team.oidc.requests("/token").await.len() > asked, "it was refreshed on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_goes_to_its_own_server_only_and_a_given_token_before_it() {
    let team = Team::start().await;
    team.logged_in().await;
    let elsewhere = team.alpine(&["list", "--server", "https://127.0.0.1:1"]).run().await;
    elsewhere.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    let bob = team.oidc.mint("bob", "acme", &[], json!({})).await;
    assert_eq!(team.alpine(&["whoami"]).env("ALPINE_TOKEN", &bob).run().await.ok()["principal_id"], "bob");
    assert_eq!(team.alpine(&["whoami"]).run().await.ok()["principal_id"], "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_logged_in_at_is_told_before_a_code_is_shown() {
    let team = Team::start().await;
    let login = async |more: &[&str]| team.alpine(&[&["login"], more].concat()).run().await;
    let other =
        login(&["--issuer", "https://other.test"]).await.refused_because(1, "ERR_INVALID_REQUEST", "the server names no such issuer");
    assert!(other["next_step"].as_str().unwrap().contains(&team.oidc.issuer), "{other}");
    let slash = format!("{}/", team.oidc.issuer);
    let said = login(&["--issuer", &slash, "--client-id", "x"]).await.refused(1, "ERR_INVALID_REQUEST");
    assert!(said["cause"].as_str().unwrap().contains("does not describe itself"), "{said}");
    login(&["--issuer", "http://issuer.test", "--client-id", "x"]).await.refused_because(
        1,
        "ERR_INVALID_REQUEST",
        "invalid issuer address",
    );
    login(&["--issuer", &team.oidc.issuer, "--client-id", "stranger"]).await.refused_because(
        1,
        "ERR_CALLER_IDENTITY_REQUIRED",
        "the issuer refused: invalid_client",
    );
    login(&["--issuer", "https://127.0.0.1:1", "--client-id", "x"]).await.refused(2, "ERR_UNAVAILABLE");
    let own_ca = team.alpine(&["login"]).env("ALPINE_CA_FILE", team.world.pki.ca.to_str().unwrap()).run().await;
    assert_eq!(own_ca.refused(2, "ERR_UNAVAILABLE")["retryable"], false, "a certificate that is not trusted");
    team.alpine(&["login"]).env("ALPINE_CREDENTIAL_STORE", "drawer").run().await.refused(1, "ERR_INVALID_REQUEST");
    assert_eq!(team.oidc.codes().await.len(), 0);
    assert_eq!(team.stored(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_server_does_not_accept_is_not_kept() {
    let team = Team::start().await;
    // Signed with a key that the server does not know.
    team.oidc.rotate(false).await;
    let (login, code) = team.begin(&[]).await;
    team.oidc.approve(&code, "ann", "acme", &[]).await;
    login.await.unwrap().refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
    assert_eq!(team.stored(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_keyring_auto_does_not_wait_and_keyring_says_so() {
    let team = Team::start().await;
    // A bus that takes connections and never says a word.
    let silent = team.world.dir.join("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
    let bus = format!("unix:path={}", silent.display());
    let login = async |keep: &str| {
        let before = team.oidc.codes().await.len();
        let login = team.alpine(&["login"]).env("DBUS_SESSION_BUS_ADDRESS", &bus).env("ALPINE_CREDENTIAL_STORE", keep).spawn();
        let code = until("a code", Duration::from_secs(20), || async { team.oidc.codes().await.get(before).cloned() }).await;
        team.oidc.approve(&code, "ann", "acme", &[]).await;
        login.await.unwrap()
    };
    let auto = login("auto").await;
    assert_eq!(auto.ok()["credential_store"], "file");
    assert!(auto.took < Duration::from_secs(8), "{auto}");
    login("keyring").await.refused(1, "ERR_INVALID_REQUEST");
    team.list().await.ok();
}

/// A session bus with an unlocked secret service: what a desktop has.
struct Desktop {
    bus: String,
    _processes: [Owned; 2],
}

struct Owned(std::process::Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Desktop {
    async fn start(dir: &Path) -> Self {
        let socket = dir.join("session-bus");
        let bus = format!("unix:path={}", socket.display());
        let command = |program: &str| {
            let mut command = Command::new(program);
            command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", dir).env("XDG_RUNTIME_DIR", dir);
            command.env("DBUS_SESSION_BUS_ADDRESS", &bus).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let daemon = command("dbus-daemon").args(["--session", "--nofork", "--address", &bus]).spawn().expect("dbus-daemon runs");
        until("the bus is there", Duration::from_secs(20), || async { socket.exists().then_some(()) }).await;
        let mut keyring = command("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("gnome-keyring-daemon runs");
        keyring.stdin.take().unwrap().write_all(b"the person's password").unwrap();
        let owned = |name: &str| {
            let mut ask = command("dbus-send");
            ask.args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"]);
            ask.arg(format!("string:{name}"))
                .stdout(Stdio::piped())
                .output()
                .is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains("boolean true"))
        };
        until("the keyring is there", Duration::from_secs(20), || async { owned("org.freedesktop.secrets").then_some(()) }).await;
        Self { bus, _processes: [Owned(daemon), Owned(keyring)] }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_a_keyring_the_file_has_no_token() {
    let team = Team::with(json!({ "accessTokenTtl": 30 })).await;
    let desktop = Desktop::start(&team.world.dir).await;
    let alpine = |args: &[&str]| team.alpine(args).env("DBUS_SESSION_BUS_ADDRESS", &desktop.bus);
    let login = alpine(&["login"]).spawn();
    let code = until("a code", Duration::from_secs(20), || async { team.oidc.codes().await.first().cloned() }).await;
    team.oidc.approve(&code, "ann", "acme", &[]).await;
    assert_eq!(login.await.unwrap().ok()["credential_store"], "keyring");
    let asked = team.oidc.requests("/token").await.len();
    for _ in 0..2 {
        assert_eq!(alpine(&["whoami"]).run().await.ok()["principal_id"], "ann");
    }
    assert_eq!(team.oidc.requests("/token").await.len(), asked + 2, "refreshed, and the new ones kept");
    assert_eq!(mode(&team.file()), 0o600);
    let stored = team.stored();
    assert!(stored.contains("keyring = ") && !stored.contains("access_token") && !stored.contains("refresh_token"), "{stored}");
    // Without the keyring there is no login, and the command says where it is.
    team.alpine(&["whoami"]).run().await.refused(1, "ERR_INVALID_REQUEST");
    assert_eq!(alpine(&["logout"]).run().await.ok()["revoked"], true);
    alpine(&["whoami"]).run().await.refused(1, "ERR_CALLER_IDENTITY_REQUIRED");
}
