//! Repositories over ssh, with the deploy key and the host keys that are stored for the host: a real `sshd`, from end to end.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use alpine_tests::{
    Answer, World,
    cli::text,
    git_repo::git,
    ground::write_secret,
    sshd::{self, Sshd},
};
use serde_json::Value;

const MISSING: &str = "ERR_REPO_AUTH_MISSING";
/// Loopback that nobody else listens on, so that port 22 is free there.
const OF_ITS_OWN: &str = "127.83.83.22";

/// A server that may reach the `sshd`, which has one repository.
struct Remote {
    world: World,
    sshd: Sshd,
    user: String,
    path: String,
    commit: String,
}

impl Remote {
    async fn of(sshd: Sshd) -> Self {
        let world = World::without_repositories(&[("ALPINE_GIT_ALLOW_HOSTS", &format!("127.0.0.1,{OF_ITS_OWN}"))]).await;
        let (path, commit) = sshd.repository(&["main"]);
        Self { world, sshd, user: sshd::run("id", &["-un"]), path, commit }
    }

    /// As the credential is kept for.
    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.sshd.port)
    }

    fn url(&self) -> String {
        format!("ssh://{}@{}{}", self.user, self.host(), self.path)
    }

    /// `alpine credential set` with these files; its id.
    async fn store(&self, host: &str, key: &str, known_hosts: &str) -> String {
        let (key_file, hosts_file) = (self.world.dir.join("key"), self.world.dir.join("hosts"));
        write_secret(&key_file, key.as_bytes());
        fs::write(&hosts_file, known_hosts).unwrap();
        let (key_file, hosts_file) = (key_file.display().to_string(), hosts_file.display().to_string());
        let words = ["credential", "set", host, "--deploy-key", &key_file, "--known-hosts", &hosts_file, "--json"];
        let stored = self.world.alpine("ann").args(&words).run().await;
        assert!(!stored.to_string().contains(body(key)), "the key was echoed");
        fs::remove_file(&key_file).unwrap();
        text(&stored.ok(), "credential_id")
    }

    async fn up(&self, url: &str) -> Answer {
        self.world.up("ann", url, "main", &[]).without("GITHUB_TOKEN").run().await
    }

    /// It is ready, and what was cloned is the very commit.
    fn cloned(&self, up: &Value) -> PathBuf {
        assert_eq!(up["state"], "ready", "{up}");
        let workspace = self.world.workspace(&text(up, "session_id"));
        assert_eq!(git(&workspace, &["rev-parse", "HEAD"]), self.commit);
        workspace
    }
}

/// A line in the middle of a private key.
fn body(key: &str) -> &str {
    key.lines().nth(2).unwrap()
}

/// The files below that hold the text.
fn holding(dir: &Path, secret: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(holding(&entry.path(), secret)),
            Ok(kind) if kind.is_file() && contains(&entry.path(), secret) => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

fn contains(path: &Path, secret: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
}

/// Processes of this machine whose command line or environment holds the text, as often as it can be looked until told to stop.
fn watch(secret: String, stop: &'static AtomicBool) -> std::thread::JoinHandle<(Vec<String>, bool)> {
    std::thread::spawn(move || {
        let (mut shown, mut seen_ssh) = (Vec::new(), false);
        while !stop.load(Ordering::Relaxed) {
            for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
                let line = fs::read(process.join("cmdline")).unwrap_or_default();
                seen_ssh |= String::from_utf8_lossy(&line).contains("HostKeyAlias=[127.0.0.1]");
                for file in ["cmdline", "environ"] {
                    if contains(&process.join(file), &secret) {
                        shown.push(format!("{file} of {}", String::from_utf8_lossy(&line)));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        (shown, seen_ssh)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_cloned_over_ssh_with_the_stored_deploy_key_which_shows_nowhere() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let remote = Remote::of(Sshd::start()).await;
    let (world, key) = (&remote.world, remote.sshd.key("deploy"));
    let host = remote.host();
    remote.up(&remote.url()).await.refused_because(1, MISSING, "no deploy key is stored for this host");
    let id = remote.store(&host, &key, &remote.sshd.known_as(&format!("[127.0.0.1]:{}", remote.sshd.port))).await;

    let watching = watch(body(&key).to_owned(), &STOP);
    let up = remote.up(&remote.url()).await;
    STOP.store(true, Ordering::Relaxed);
    let (shown, seen_ssh) = watching.join().unwrap();
    let workspace = remote.cloned(&up.ok());
    assert!(remote.sshd.log().contains("Accepted publickey"), "{}", remote.sshd.log());
    assert!(seen_ssh, "the watch has seen no ssh, so it proves nothing");
    assert_eq!(shown, Vec::<String>::new());
    // The workspace is among them, and the server's log; a control finds what is no secret.
    assert!(holding(&world.dir, &remote.commit).iter().any(|path| path.starts_with(&workspace)));
    assert_eq!(holding(&world.dir, body(&key)), Vec::<PathBuf>::new());
    assert_eq!(holding(remote.sshd.dir.path(), body(&key)), [remote.sshd.dir.path().join("deploy")], "a control");
    let scratch = fs::read_dir("/tmp").unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("alpine-git-"));
    assert_eq!(scratch.flat_map(|entry| holding(&entry.path(), body(&key))).collect::<Vec<_>>(), Vec::<PathBuf>::new());

    world.alpine("ann").args(&["credential", "rm", &id, "--json"]).run().await.ok();
    remote.up(&remote.url()).await.refused_because(1, MISSING, "no deploy key is stored for this host");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_than_the_pinned_and_a_key_that_may_not_fail_with_the_cause() {
    let remote = Remote::of(Sshd::start()).await;
    let alias = format!("[127.0.0.1]:{}", remote.sshd.port);
    for (key, known_hosts, cause) in [
        ("deploy", remote.sshd.mistaken_as(&alias), "the host's key is not the pinned one"),
        ("stranger", remote.sshd.known_as(&alias), "the remote asks for credentials, or refuses those given"),
    ] {
        remote.store(&remote.host(), &remote.sshd.key(key), &known_hosts).await;
        let refused = remote.up(&remote.url()).await.refused(2, "ERR_SANDBOX_PROVISION_FAILED");
        assert!(text(&refused, "cause").contains(cause), "{refused}");
        assert!(!remote.sshd.log().contains("Accepted publickey"), "{}", remote.sshd.log());
    }
    // Stored anew, the right one opens.
    remote.store(&remote.host(), &remote.sshd.key("deploy"), &remote.sshd.known_as(&alias)).await;
    remote.cloned(&remote.up(&remote.url()).await.ok());
}

/// The form that scp takes has no port: only who may listen on 22 can try it.
#[tokio::test(flavor = "multi_thread")]
async fn the_form_that_scp_takes_is_cloned_too() {
    if let Err(error) = TcpListener::bind((OF_ITS_OWN, 22)) {
        eprintln!("not tried: {OF_ITS_OWN}:22: {error}");
        return;
    }
    let remote = Remote::of(Sshd::start_at(OF_ITS_OWN, 22)).await;
    remote.store(OF_ITS_OWN, &remote.sshd.key("deploy"), &remote.sshd.known_as(OF_ITS_OWN)).await;
    let url = format!("{}@{OF_ITS_OWN}:{}", remote.user, remote.path);
    remote.cloned(&remote.up(&url).await.ok());
}
