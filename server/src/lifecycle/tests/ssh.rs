use std::{fs, io::Write as _, ops::Not as _, os::unix::fs::PermissionsExt as _, path::Path};

use alpine_api::SessionId;
use tokio::sync::mpsc;

use super::sshd::{Sshd, run};
use crate::{
    domain::{credential::GitCredential, hosts::HostPolicy, principal::TenantId, repo::RepoUrl},
    lifecycle::{
        git::GitSettings,
        remote::{Ask, Starts, remote_error},
        resolve::commit_of,
        ssh::WITH_AGENT,
    },
    sandbox::{
        Command, Exit, Output, Provider, SandboxSpec, Size,
        host::{HostProvider, Settings},
    },
};

const LS_REMOTE: &[&str] = &["ls-remote", "--quiet"];

/// One `sshd`, and who may connect to it: loopback is allowed by name, so that it is looked up and pinned.
struct World {
    sshd: Sshd,
    settings: GitSettings,
    user: String,
    path: String,
    commit: String,
}

impl World {
    fn start() -> Self {
        let sshd = Sshd::start();
        let (path, commit) = sshd.repository(&["main", "aa/refs/heads/main"]);
        let allow = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let settings = GitSettings::with_hosts(HostPolicy::new(&allow, &[], &[], vec![]).unwrap());
        Self { sshd, settings, user: run("id", &["-un"]), path, commit }
    }

    /// `localhost` would be looked up as `::1` too, where nobody listens.
    fn url(&self) -> RepoUrl {
        format!("ssh://{}@127.0.0.1:{}{}", self.user, self.sshd.port, self.path).parse().unwrap()
    }

    fn alias(&self) -> String {
        format!("[127.0.0.1]:{}", self.sshd.port)
    }

    fn key(&self, key: &str, known_hosts: String) -> GitCredential {
        GitCredential::DeployKey { private_key: self.sshd.key(key).into(), known_hosts }
    }

    async fn list(&self, credential: &GitCredential, pattern: &str) -> Result<String, String> {
        let (url, names) = (self.url(), [pattern]);
        let ask = Ask { step: "resolve", url: &url, words: LS_REMOTE, names: &names, credential: Some(credential) };
        ask.run_here(&self.settings, &Starts::default()).await.map_err(|error| {
            assert!(!error.is_transient(), "another try would end the same: {error}");
            error.to_string()
        })
    }
}

/// A sandbox of the local provider: in bubblewrap where this machine has it.
struct Sandboxes {
    _dir: tempfile::TempDir,
    provider: HostProvider,
    session: SessionId,
}

impl Sandboxes {
    async fn run(&self, command: Command) -> (Exit, String) {
        let spec = SandboxSpec { tenant: TenantId::parse("t").unwrap(), session: self.session, fence: 1, size: Size::default() };
        let provider = &self.provider;
        let handle = provider.ensure(&spec).await.unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let collect = async {
            let mut all = Vec::new();
            while let Some(Output::Stdout(bytes) | Output::Stderr(bytes)) = receiver.recv().await {
                all.extend(bytes);
            }
            String::from_utf8_lossy(&all).into_owned()
        };
        let (exit, said) = tokio::join!(provider.exec(&handle, 1, command, sender), collect);
        (exit.unwrap(), said)
    }

    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let provider = HostProvider::local(Settings { root: dir.path().join("sandboxes"), ..Settings::default() }).unwrap();
        assert!(provider.isolates(), "bubblewrap has to work where these tests run");
        Self { _dir: dir, provider, session: SessionId::generate() }
    }
}

fn holds(dir: &Path, secret: &str) -> bool {
    fs::read_dir(dir).into_iter().flatten().flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds(&entry.path(), secret),
        Ok(kind) if kind.is_file() => String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).contains(secret),
        _ => false,
    })
}

/// The middle of a private key.
fn body(key: &str) -> String {
    key.lines().nth(2).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_resolved_over_ssh_by_its_very_name() {
    let world = World::start();
    let key = world.key("deploy", world.sshd.known_as(&world.alias()));
    let listing = world.list(&key, "refs/heads/main").await.unwrap();
    assert_eq!(listing.lines().count(), 2, "git matches from the end: {listing}");
    assert_eq!(commit_of(&listing, &"main".parse().unwrap()), Some(world.commit.as_str()));
    let listing = world.list(&key, "refs/heads/aa/refs/heads/main").await.unwrap();
    assert_eq!(commit_of(&listing, &"main".parse().unwrap()), None, "refs/heads/aa/refs/heads/main is no refs/heads/main");
    assert_eq!(commit_of(&listing, &"aa/refs/heads/main".parse().unwrap()), Some(world.commit.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_key_an_unknown_one_and_a_refused_key_are_final_and_said_plainly() {
    let world = World::start();
    let alias = world.alias();
    let changed = world.list(&world.key("deploy", world.sshd.mistaken_as(&alias)), "refs/heads/main").await.unwrap_err();
    assert!(changed.contains("not the pinned one"), "{changed}");
    let unknown = world.list(&world.key("deploy", world.sshd.known_as("elsewhere.example")), "refs/heads/main").await.unwrap_err();
    assert!(unknown.contains("not among the pinned host keys"), "{unknown}");
    let none = world.list(&world.key("deploy", String::new()), "refs/heads/main").await.unwrap_err();
    assert!(none.contains("no host key is pinned"), "{none}");
    assert!(!world.sshd.log().contains("Accepted publickey"), "nobody was let in: {}", world.sshd.log());
    let stranger = world.list(&world.key("stranger", world.sshd.known_as(&alias)), "refs/heads/main").await.unwrap_err();
    assert!(stranger.contains("refuses those given"), "{stranger}");
    let garbage = GitCredential::DeployKey { private_key: "no key".into(), known_hosts: world.sshd.known_as(&alias) };
    let garbage = world.list(&garbage, "refs/heads/main").await.unwrap_err();
    assert!(garbage.contains("the deploy key cannot be read"), "{garbage}");
}

#[test]
fn an_agent_that_takes_its_time_to_listen_is_waited_for() {
    // Its socket is there, and refuses, as between the two calls of an agent on a busy machine.
    const SLOW: &str = r#"#!/bin/sh
python3 -c 'import socket, sys, time; socket.socket(socket.AF_UNIX).bind(sys.argv[1]); time.sleep(0.5)' "$3"
rm "$3"
exec /usr/bin/ssh-agent "$@""#;
    let (sshd, dir) = (Sshd::start(), tempfile::tempdir().unwrap());
    let agent = dir.path().join("ssh-agent");
    fs::write(&agent, SLOW).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let mut slow = std::process::Command::new("sh")
        .args(["-c", WITH_AGENT, "sh", "ssh-add", "-l"])
        .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    slow.stdin.take().unwrap().write_all(sshd.key("deploy").as_bytes()).unwrap();
    let said = slow.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stdout).contains("ED25519"), "it has the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_fetched_over_ssh_in_a_sandbox_and_the_key_stays_nowhere() {
    let world = World::start();
    let sandboxes = Sandboxes::make();
    let key = world.key("deploy", world.sshd.known_as(&world.alias()));
    let secret = body(&world.sshd.key("deploy"));
    let argv =
        |line: &str| Command { argv: vec!["sh".into(), "-c".into(), line.into()], env: world.settings.local(), ..Command::default() };
    assert_eq!(sandboxes.run(argv("git init --quiet .")).await.0, Exit::Code(0));

    let url = world.url();
    let names = ["refs/heads/main"];
    let ask = Ask { step: "sync", url: &url, words: &["fetch", "--quiet", "--no-tags"], names: &names, credential: Some(&key) };
    let command = ask.command(&world.settings, "git").await.unwrap();
    assert!(!format!("{:?} {:?}", command.argv, command.env).contains(&secret));
    let (exit, said) = sandboxes.run(command).await;
    assert_eq!(exit, Exit::Code(0), "{said}\n{}", world.sshd.log());
    let (_, head) =
        sandboxes.run(argv("git rev-parse FETCH_HEAD; ls -A /tmp \"$TMPDIR\"; ps ax 2>/dev/null | grep -c '[s]sh-agent'")).await;
    assert!(head.starts_with(&world.commit), "{head}");
    assert!(!head.contains("tmp.") && !head.contains("agent"), "the agent's folder is left: {head}");
    assert!(!holds(sandboxes._dir.path(), &secret), "the key is in a file of the sandbox");

    let wrong = world.key("deploy", world.sshd.mistaken_as(&world.alias()));
    let ask = Ask { credential: Some(&wrong), ..ask };
    let (exit, said) = sandboxes.run(ask.command(&world.settings, "git").await.unwrap()).await;
    assert_ne!(exit, Exit::Code(0));
    assert!(remote_error("sync", &world.settings, &said).to_string().contains("not the pinned one"), "{said}");
    sandboxes.provider.destroy(sandboxes.session, 1).await.unwrap();
}

/// While git waits for a host that says nothing, every process of this machine is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn while_git_runs_the_key_is_in_no_command_line_environment_or_file_and_its_agent_ends_with_it() {
    let world = World::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url: RepoUrl = format!("ssh://git@127.0.0.1:{port}/r").parse().unwrap();
    let key = world.key("deploy", world.sshd.known_as(&format!("[127.0.0.1]:{port}")));
    let secret = body(&world.sshd.key("deploy"));
    let mine = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&format!("HostName=127.0.0.1 -o HostKeyAlias=[127.0.0.1]:{port}")).then_some(line)
    };
    let processes = || fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok()).collect::<Vec<_>>();
    let look = async {
        while !processes().iter().any(|pid| mine(pid).is_some()) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut agents = Vec::new();
        for pid in processes() {
            for file in ["cmdline", "environ"] {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&bytes).contains(&secret), "in {file} of {pid}");
            }
            let line = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).replace('\0', " ");
            if let Some(socket) = line.strip_prefix("ssh-agent -D -a ") {
                agents.push((pid, Path::new(socket.trim()).parent().unwrap().to_owned()));
            }
        }
        assert!(!agents.is_empty());
        assert!(agents.iter().all(|(_, dir)| !holds(dir, &secret)), "in a file");
        agents
    };
    let ask = Ask { step: "resolve", url: &url, words: LS_REMOTE, names: &["refs/heads/main"], credential: Some(&key) };
    let starts = Starts::default();
    let agents = tokio::select! {
        ended = ask.run_here(&world.settings, &starts) => panic!("{ended:?}"),
        agents = look => agents,
    };
    // The future is dropped, as when a lease is lost: this test's agent, at least, is gone with it.
    let gone = |pid: &String, dir: &Path| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|l| !l.is_empty()).not() && !dir.exists();
    let begun = std::time::Instant::now();
    while processes().iter().any(|pid| mine(pid).is_some()) || !agents.iter().any(|(pid, dir)| gone(pid, dir)) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "something is left: {agents:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
