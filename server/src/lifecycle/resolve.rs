//! Resolve: which commit the branch points to now. It is pinned for the whole operation.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::{
    Done, Engine, PhaseError, address,
    git::{SERVE_ANY_OWNER, TOKEN_VARIABLE, printable},
};
use crate::{
    domain::{credential::GitCredential, failure, repo::CommitSha},
    ledger::{Findings, Job},
};

const OUTPUT_LIMIT: u64 = 1024 * 1024;

impl Engine {
    pub(super) async fn resolve(&self, job: &Job) -> Result<Done, PhaseError> {
        let branch = &job.session.branch;
        let token = self.https_token(job).await?;
        let listing = self.ls_remote(job, token.as_ref()).await?;
        // `ls-remote` matches a pattern from its end: only the very name counts.
        let wanted = branch.full_ref();
        let commit = listing.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == wanted);
        let Some((commit, _)) = commit else {
            return Err(PhaseError::Failed(failure::branch_absent(branch)));
        };
        let target: CommitSha =
            commit.parse().map_err(|_| PhaseError::permanent("resolve", "the remote named something that is no commit"))?;
        let reason = format!("{branch} is at {target}");
        Ok(Done { findings: Findings { target: Some(target), ..Findings::default() }, ..Done::because(reason) })
    }

    /// What opens the job's repository: opened here, and only when a git process is about to run.
    pub(super) async fn https_token(&self, job: &Job) -> Result<Option<SecretString>, PhaseError> {
        match self.ledger.git_credential(&job.lease, job.operation, &job.session.repo_url).await? {
            Some(GitCredential::Token(token)) => Ok(Some(token)),
            Some(GitCredential::DeployKey { .. }) => Err(PhaseError::permanent("resolve", "git over ssh is not built in")),
            None => Ok(None),
        }
    }

    async fn ls_remote(&self, job: &Job, token: Option<&SecretString>) -> Result<String, PhaseError> {
        let (git, url) = (&self.settings.git, &job.session.repo_url);
        let resolved = address::check(git, url).await?;
        let mut command = Command::new(&git.program);
        command
            .args(["ls-remote", "--quiet"])
            .args(git.is_file(url).then_some(SERVE_ANY_OWNER))
            .args(["--", url.as_str(), &job.session.branch.full_ref()])
            .current_dir("/")
            .env_clear()
            .env("PATH", &git.path)
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .envs(git.proxies.iter().cloned())
            .envs(git.environment(url, &resolved, token.is_some()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(token) = token {
            command.env(TOKEN_VARIABLE, token.expose_secret());
        }
        let mut child = command.spawn().map_err(|error| PhaseError::transient("resolve", format!("git cannot be started: {error}")))?;
        // Git's helpers may hold its pipes after it is gone: the whole group ends with this future.
        let _group = Group(child.id());
        let (stdout, stderr) = tokio::join!(bounded(child.stdout.take()), bounded(child.stderr.take()));
        let status = child.wait().await.map_err(|error| PhaseError::transient("resolve", error.to_string()))?;
        if status.success() {
            return Ok(stdout);
        }
        Err(remote_error("resolve", &printable(&stderr, token)))
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

/// What git said of the remote, told apart by whether another try can help.
pub(super) fn remote_error(step: &'static str, said: &str) -> PhaseError {
    let lower = said.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["authentication failed", "could not read username", "could not read password", "returned error: 403", "returned error: 401"])
    {
        PhaseError::permanent(step, format!("the remote asks for credentials, or refuses those given: {said}"))
    } else if says(&[
        "not found",
        "does not exist",
        "does not appear to be a git repository",
        "not allowed",
        "unable to update url base from redirection",
    ]) {
        PhaseError::permanent(step, said.to_owned())
    } else {
        PhaseError::transient(step, said.to_owned())
    }
}
