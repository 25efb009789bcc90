//! One git process that talks to the remote, with all that it is given: run here, or in a sandbox.

use std::{
    fs,
    num::NonZero,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command as Process},
    sync::{Semaphore, SemaphorePermit},
};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    Engine, PhaseError,
    address::{self, Route},
    git::{GitSettings, SERVE_ANY_OWNER, TOKEN_VARIABLE, Transport},
    redact::printable,
    ssh,
};
use crate::{
    domain::{credential::GitCredential, repo::RepoUrl},
    ledger::Job,
    sandbox::Command,
};

const OUTPUT_LIMIT: u64 = 1024 * 1024;
/// A third of the time that a process of the usual priority gets beside it.
const PRIORITY: i32 = 5;

/// How long a git process is taken to begin: to load itself and TLS, which costs a core. From then on it waits for the remote.
const BEGINS: Duration = Duration::from_millis(50);

/// How many git processes may begin within [`BEGINS`]. Of two hundred `up`s at the same time each starts with one, and so many
/// that are ready to run keep the control plane from its requests whatever their priority is. One that hangs is in nobody's way.
#[derive(Debug)]
pub struct Starts(Semaphore);

impl Default for Starts {
    fn default() -> Self {
        Self(Semaphore::new(std::thread::available_parallelism().map_or(2, NonZero::get) * 2))
    }
}

impl Starts {
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.acquire().await.ok()
    }
}

/// What is asked of a remote: `words` are fixed, `names` may come from outside.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub step: &'static str,
    pub url: &'a RepoUrl,
    pub words: &'a [&'static str],
    pub names: &'a [&'a str],
    pub credential: Option<&'a GitCredential>,
}

impl Engine {
    /// What opens the job's repository: opened here, and only when a git process is about to run.
    pub(super) async fn credential(&self, job: &Job) -> Result<Option<GitCredential>, PhaseError> {
        Ok(self.ledger.git_credential(&job.lease, job.operation, &job.session.repo_url).await?)
    }
}

impl Ask<'_> {
    /// The secret that must not be shown, should it be echoed.
    pub fn token(&self) -> Option<&SecretString> {
        match self.credential {
            Some(GitCredential::Token(token)) => Some(token),
            _ => None,
        }
    }

    /// The command. The host is looked up, checked and pinned for this one process.
    pub async fn command(&self, settings: &GitSettings, program: &str) -> Result<Command, PhaseError> {
        let route = address::check(settings, self.url).await?;
        self.by(settings, &route, program)
    }

    fn by(&self, settings: &GitSettings, route: &Route, program: &str) -> Result<Command, PhaseError> {
        let transport = settings.transport(self.url);
        let mut argv = vec![program];
        argv.extend(self.words);
        if transport == Transport::File {
            argv.push(SERVE_ANY_OWNER);
        }
        argv.extend(["--", self.url.as_str()]);
        argv.extend(self.names);
        let mut command = Command { env: settings.remote(self.url, route, self.token().is_some()), ..Command::default() };
        match (transport, self.credential) {
            (Transport::Ssh, Some(GitCredential::DeployKey { private_key, known_hosts })) => {
                if known_hosts.trim().is_empty() {
                    return Err(PhaseError::permanent(self.step, "no host key is pinned for this host"));
                }
                argv.splice(0..0, ["sh", "-c", ssh::WITH_AGENT, "git"]);
                command.env.extend(ssh::environment(self.url, route, known_hosts));
                command.stdin = Some(key_text(private_key.expose_secret()).into_bytes());
            }
            (Transport::Ssh, _) => return Err(PhaseError::permanent(self.step, "an ssh remote needs a deploy key, and there is none")),
            (Transport::Https, Some(GitCredential::DeployKey { .. })) => {
                return Err(PhaseError::permanent(self.step, "a deploy key opens no https remote"));
            }
            (_, Some(GitCredential::Token(token))) => command.secret_env.push((TOKEN_VARIABLE.to_owned(), token.clone())),
            _ => {}
        }
        command.argv = argv.into_iter().map(str::to_owned).collect();
        Ok(command)
    }

    /// This command in its trace: which, and of which host. A URL may lead to more than everybody is to know.
    pub fn span(&self) -> Span {
        git_span(self.words.first().copied().unwrap_or_default(), Some(self.url))
    }

    /// Runs it on this host; what it wrote to standard output.
    pub async fn run_here(&self, settings: &GitSettings, starts: &Starts) -> Result<String, PhaseError> {
        self.run(settings, starts).instrument(self.span()).await
    }

    async fn run(&self, settings: &GitSettings, starts: &Starts) -> Result<String, PhaseError> {
        let transient = |error: std::io::Error| PhaseError::transient(self.step, format!("git cannot be run: {error}"));
        let command = self.command(settings, &settings.program.display().to_string()).await?;
        // Git by itself has nothing to put there; what is left of a server that is killed is left.
        let scratch = command.stdin.is_some().then(Scratch::new).transpose().map_err(transient)?;
        let mut process = process(settings, &command);
        process.envs(scratch.as_ref().map(|scratch| ("TMPDIR", &scratch.0)));
        let turn = starts.turn().await;
        // Git's helpers may hold its pipes after it is gone: the whole group ends with this future. To start a process takes
        // milliseconds in which its thread does nothing else: not one of those that serve requests.
        let started = tokio::task::spawn_blocking(move || {
            let child = process.spawn()?;
            after_the_server(&child);
            Ok((Group(child.id()), child))
        });
        let (_group, mut child) = started.await.map_err(std::io::Error::other).flatten().map_err(transient)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(bytes)) = (stdin, &command.stdin) {
                // One that ends early says why by itself.
                let _ = stdin.write_all(bytes).await;
            }
        };
        let mut told = pin!(async { tokio::join!(feed, bounded(stdout), bounded(stderr)) });
        let early = tokio::time::timeout(BEGINS, &mut told).await;
        drop(turn);
        let ((), stdout, stderr) = match early {
            Ok(told) => told,
            Err(_) => told.await,
        };
        let status = child.wait().await.map_err(transient)?;
        if status.success() { Ok(stdout) } else { Err(remote_error(self.step, settings, &printable(&stderr, self.token()))) }
    }
}

/// One git command.
pub(super) fn git_span(command: &str, url: Option<&RepoUrl>) -> Span {
    tracing::debug_span!("git", otel.name = format!("git.{command}"), otel.kind = "client", server.address = url.map(RepoUrl::host))
}

fn process(settings: &GitSettings, command: &Command) -> Process {
    let (program, arguments) = command.argv.split_first().map_or(("git", &[][..]), |(program, rest)| (program.as_str(), rest));
    let mut process = Process::new(program);
    process
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .env("PATH", &settings.path)
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C.UTF-8")
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .envs(command.secret_env.iter().map(|(name, value)| (name, value.expose_secret())))
        .stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    process
}

/// It comes after the control plane, as sandboxes do. What it starts inherits that.
fn after_the_server(child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // It may be gone already, and without this it is no worse than before.
    let _ = pid.map(|pid| setpriority_process(Some(pid), PRIORITY));
}

/// OpenSSH reads no key with Windows' ends of lines or without an end of the last.
fn key_text(key: &str) -> String {
    format!("{}\n", key.replace("\r\n", "\n").trim())
}

/// A folder of one process, for the agent's socket; gone with it.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = Path::new("/tmp").join(format!("alpine-git-{}", Uuid::new_v4().simple()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a folder of a git process is left");
        }
    }
}

/// The beginning of what a remote has to say; a hostile one has no end, and gets a closed pipe.
async fn bounded(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read until an error is all there is.
        let _ = from.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // Already gone is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

const CHECK_URL: &str = "check the repository's URL";
const CHECK_REPOSITORY: &str =
    "check the repository's URL, and for a private one its token or deploy key (GITHUB_TOKEN, GH_TOKEN, alpine credential list)";
const CHECK_CREDENTIALS: &str = "check the token or deploy key for this host (GITHUB_TOKEN, GH_TOKEN, alpine credential list)";

/// What git said of the remote, told apart by whether another try can help.
pub fn remote_error(step: &'static str, settings: &GitSettings, said: &str) -> PhaseError {
    tracing::info!(step, said, "git failed");
    // Where a rewrite leads is the operator's alone.
    let said = &settings.as_asked(said);
    let lower = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let credentials = ["authentication failed", "returned error: 403", "returned error: 401", "permission denied ("];
    if says(&["has changed and you have requested strict checking"]) {
        PhaseError::permanent(step, "the host's key is not the pinned one: it was changed, or this is another host")
    } else if says(&["host key verification failed"]) {
        PhaseError::permanent(step, "the host's key is not among the pinned host keys")
    } else if says(&credentials) {
        PhaseError::permanent(step, format!("the remote asks for credentials, or refuses those given: {said}")).first(CHECK_CREDENTIALS)
    } else if says(&["could not read username", "could not read password"]) {
        // As large hosts answer for what is not there.
        PhaseError::permanent(step, format!("the remote asks for credentials, or has no such repository: {said}")).first(CHECK_REPOSITORY)
    } else if says(&["returned error: 30"]) {
        PhaseError::permanent(step, "the remote redirects to elsewhere, and redirects are not followed").first(CHECK_URL)
    } else if says(&["does not exist", "does not appear to be a git repository", "returned error: 404"]) || is_absent(&lower) {
        let remote: Vec<&str> = said.split("; ").filter_map(remotes_own).collect();
        let remote = if remote.is_empty() { String::new() } else { format!(": {}", remote.join(" ")) };
        PhaseError::permanent(step, format!("the remote has no such repository, or shows it to others only{remote}"))
            .first(CHECK_REPOSITORY)
    } else if says(&["not allowed", "unable to update url base from redirection", "deploy key cannot be read", "dumb http transport"]) {
        PhaseError::permanent(step, said.to_owned()).first(CHECK_URL)
    } else {
        PhaseError::transient(step, said.to_owned())
    }
}

/// Not any program that is not found.
fn is_absent(said: &str) -> bool {
    said.split("; ").any(|line| line.contains("repository") && line.contains("not found"))
}

/// A line that the remote itself wrote.
fn remotes_own(line: &str) -> Option<&str> {
    ["remote: ", "ERROR: ", "fatal: remote error: "].into_iter().find_map(|mark| line.strip_prefix(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    use crate::{domain::hosts::HostPolicy, lifecycle::Rewrite};

    fn ask(url: &str, credential: Option<&GitCredential>) -> Result<Command, String> {
        let settings = GitSettings::with_hosts(HostPolicy::default());
        let url = url.parse().unwrap();
        let ask = Ask { step: "resolve", url: &url, words: &["ls-remote", "--quiet"], names: &["refs/heads/main"], credential };
        ask.by(&settings, &Route::Pinned(vec!["192.0.2.1".parse().unwrap()]), "git").map_err(|error| error.to_string())
    }

    #[test]
    fn what_comes_from_outside_stands_after_the_dashes_and_secrets_in_no_argument() {
        let token = GitCredential::Token("s3cret".into());
        let command = ask("https://h/r", Some(&token)).unwrap();
        assert_eq!(command.argv, ["git", "ls-remote", "--quiet", "--", "https://h/r", "refs/heads/main"]);
        assert_eq!(command.secret_env[0].0, TOKEN_VARIABLE);
        let key = GitCredential::DeployKey { private_key: "s3cret\r\n".into(), known_hosts: "h ssh-ed25519 AAAA".into() };
        let command = ask("git@h:r", Some(&key)).unwrap();
        assert_eq!(command.argv[..2], ["sh", "-c"]);
        assert_eq!(command.argv[3..], ["git", "git", "ls-remote", "--quiet", "--", "git@h:r", "refs/heads/main"]);
        assert_eq!(command.stdin.as_deref(), Some(&b"s3cret\n"[..]));
        assert!(!format!("{command:?}").contains("s3cret") && !format!("{command:?}").contains("115, 51"));
    }

    #[test]
    fn what_the_caller_can_mend_is_named_and_the_operators_mirror_is_not() {
        let rewrites = [("https://h/", "https://mirror/"), ("https://f/", "file:///srv/mirror/")];
        let rewrites = rewrites.map(|(from, to)| Rewrite { from: from.into(), to: to.into() }).to_vec();
        let settings = GitSettings { rewrites, ..GitSettings::with_hosts(HostPolicy::default()) };
        let absent = "fatal: '/srv/mirror/x.git' does not appear to be a git repository; fatal: Could not read from remote repository.";
        let hosted = "remote: Repository not found.; fatal: repository 'https://mirror/x/' not found";
        for (said, cause, first) in [
            (absent, "the remote has no such repository, or shows it to others only", CHECK_REPOSITORY),
            (hosted, "the remote has no such repository, or shows it to others only: Repository not found.", CHECK_REPOSITORY),
            ("ERROR: Repository not found.", "the remote has no such repository, or shows it to others only: Repo", CHECK_REPOSITORY),
            ("fatal: could not read Username for 'https://mirror': no", "the remote asks for credentials, or has no", CHECK_REPOSITORY),
            ("fatal: Authentication failed for 'https://mirror/r/'", "the remote asks for credentials, or refuses", CHECK_CREDENTIALS),
            ("fatal: unable to access 'https://mirror/': returned error: 403", "the remote asks for credentials", CHECK_CREDENTIALS),
            ("fatal: unable to access 'https://mirror/r/': The requested URL returned error: 302", "the remote redirects", CHECK_URL),
        ] {
            let error = remote_error("resolve", &settings, said);
            let failure = error.up_failure();
            assert!(!error.is_transient() && failure.cause.starts_with(&format!("resolve: {cause}")), "{}", failure.cause);
            assert_eq!(failure.next_step, format!("{first}, then run alpine up again with a NEW client-request-id"));
            assert!(!failure.cause.contains("mirror"), "{}", failure.cause);
        }
        for said in ["fatal: unable to access 'https://mirror/r/': Could not resolve host: mirror", "sh: 1: exec: git: not found"] {
            let error = remote_error("resolve", &settings, said);
            assert!(error.is_transient() && !error.to_string().contains("mirror"), "{error}");
            assert_eq!(error.up_failure().next_step, "run alpine up again with a NEW client-request-id");
        }
    }

    #[tokio::test]
    async fn a_git_that_hangs_keeps_no_other_from_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("git");
        fs::write(&program, "#!/bin/sh\necho begun >> \"$0.begun\"\nexec sleep 30\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let settings = GitSettings { program, ..GitSettings::with_hosts(HostPolicy::default()) };
        let starts = Starts(Semaphore::new(1));
        let url = "https://1.1.1.1/r".parse().unwrap();
        let ask = Ask { step: "resolve", url: &url, words: &["ls-remote"], names: &[], credential: None };
        let begun = || fs::read_to_string(dir.path().join("git.begun")).unwrap_or_default().lines().count();
        let turn = starts.turn().await;
        let waits = tokio::time::timeout(Duration::from_millis(300), ask.run_here(&settings, &starts)).await;
        assert!(waits.is_err() && begun() == 0, "it has no turn");
        drop(turn);
        let three =
            async { tokio::join!(ask.run_here(&settings, &starts), ask.run_here(&settings, &starts), ask.run_here(&settings, &starts)) };
        assert!(tokio::time::timeout(Duration::from_secs(3), three).await.is_err(), "they hang");
        assert_eq!(begun(), 3);
        assert!(starts.0.try_acquire().is_ok(), "and who gave up has given the turn back");
    }

    #[test]
    fn a_credential_that_does_not_fit_the_remote_is_refused() {
        let key = |known_hosts: &str| GitCredential::DeployKey { private_key: "k".into(), known_hosts: known_hosts.into() };
        assert!(ask("git@h:r", Some(&key(" \n"))).unwrap_err().contains("no host key is pinned"));
        assert!(ask("git@h:r", None).unwrap_err().contains("needs a deploy key"));
        assert!(ask("git@h:r", Some(&GitCredential::Token("t".into()))).unwrap_err().contains("needs a deploy key"));
        assert!(ask("https://h/r", Some(&key("h ssh-ed25519 AAAA"))).unwrap_err().contains("no https remote"));
        assert!(ask("https://h/r", None).is_ok(), "a public one");
    }
}
