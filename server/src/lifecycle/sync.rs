//! Sync: the repository in the workspace, at the pinned commit and nowhere else.

use alpine_api::LogSource;
use tracing::Instrument as _;

use super::{
    Done, Engine, PhaseError,
    remote::{Ask, git_span, remote_error},
    run::Ran,
};
use crate::{
    domain::{credential::GitCredential, repo::CommitSha},
    ledger::Job,
    sandbox::{Command, Exit, Handle},
};

const STEP: &str = "sync";
/// The end of `PREPARE` where the workspace is at the commit already.
const THERE: Exit = Exit::Code(77);
/// As `git clone` would leave it, so that pull and push work. From an empty directory: git that was killed
/// leaves locks which nobody would ever lift.
const PREPARE: &str = r#"set -e
if [ -e .git ] && [ "$(git rev-parse --verify --quiet HEAD)" = "$3" ]; then exit 77; fi
find . -mindepth 1 -delete
git init --quiet .
git config remote.origin.url "$1"
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
git config "branch.$2.remote" origin
git config "branch.$2.merge" "refs/heads/$2""#;
const BY_COMMIT: &[&str] =
    &["fetch", "--progress", "--force", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--depth=1"];
const BY_BRANCH: &[&str] = &["fetch", "--progress", "--force", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"];
const CHECK_OUT: &str = r#"git checkout --quiet --progress --force -B "$1" "$2" --"#;

impl Engine {
    pub(super) async fn sync(&self, job: &Job) -> Result<Done, PhaseError> {
        let handle = Self::handle(job)?;
        let target = job.session.target.as_ref().ok_or_else(|| PhaseError::permanent(STEP, "no commit is pinned"))?;
        let (url, branch) = (job.session.repo_url.as_str(), job.session.branch.as_str());
        if self.local_git("init", job, &handle, PREPARE, &[url, branch, target.as_str()]).await? == THERE {
            return Ok(Done::because(format!("cloned at {target} already")));
        }
        self.fetch(job, &handle, target).await?;
        self.local_git("checkout", job, &handle, CHECK_OUT, &[branch, target.as_str()]).await?;
        self.verify_head(job, &handle, target).await?;
        Ok(Done::because(format!("cloned at {target}")))
    }

    /// The pinned commit alone; if the server gives no commit by its id, the branch.
    async fn fetch(&self, job: &Job, handle: &Handle, target: &CommitSha) -> Result<(), PhaseError> {
        let credential = self.credential(job).await?;
        let (by_commit, said) = self.fetch_ref(job, handle, BY_COMMIT, target.as_str(), credential.as_ref()).await?;
        if by_commit.exit.success() {
            return Ok(());
        }
        if !said.to_lowercase().contains("unadvertised object") {
            return Err(remote_error(STEP, &self.settings.git, &said));
        }
        let name = job.session.branch.full_ref();
        let (by_branch, said) = self.fetch_ref(job, handle, BY_BRANCH, &name, credential.as_ref()).await?;
        if by_branch.exit.success() { Ok(()) } else { Err(remote_error(STEP, &self.settings.git, &said)) }
    }

    async fn fetch_ref(
        &self,
        job: &Job,
        handle: &Handle,
        words: &[&'static str],
        name: &str,
        credential: Option<&GitCredential>,
    ) -> Result<(Ran, String), PhaseError> {
        let ask = Ask { step: STEP, url: &job.session.repo_url, words, names: &[name], credential };
        let run = async {
            let command = ask.command(&self.settings.git, "git").await?;
            self.exec_told(STEP, job, handle, command, LogSource::Git).await
        };
        let ran = run.instrument(ask.span()).await?;
        let said = ran.git_tail(ask.token());
        Ok((ran, said))
    }

    /// Git that stays in the workspace; how it ended well. `script` is fixed; what comes from outside is `$1` and so on.
    async fn local_git(
        &self,
        what: &'static str,
        job: &Job,
        handle: &Handle,
        script: &str,
        arguments: &[&str],
    ) -> Result<Exit, PhaseError> {
        let argv = ["sh", "-c", script, "git"].iter().chain(arguments).map(|arg| (*arg).to_owned()).collect();
        let env = self.settings.git.local();
        let command = Command { argv, env, ..Command::default() };
        let ran = self.exec_told(STEP, job, handle, command, LogSource::Git).instrument(git_span(what, None)).await?;
        if ran.exit.success() || ran.exit == THERE {
            return Ok(ran.exit);
        }
        Err(PhaseError::permanent(STEP, format!("git: {} ({})", ran.git_tail(None), ran.outcome())))
    }

    async fn verify_head(&self, job: &Job, handle: &Handle, target: &CommitSha) -> Result<(), PhaseError> {
        let argv = ["git", "rev-parse", "--verify", "--quiet", "HEAD"].map(str::to_owned).to_vec();
        let env = self.settings.git.local();
        let command = Command { argv, env, ..Command::default() };
        let ran = self.exec(STEP, job, handle, command).instrument(git_span("rev-parse", None)).await?;
        is_at(STEP, ran.exit.success().then(|| ran.text()).as_deref(), target)
    }
}

/// What git says of the workspace, next to what was pinned; `None` where it says nothing.
pub(super) fn is_at(step: &'static str, head: Option<&str>, target: &CommitSha) -> Result<(), PhaseError> {
    match head {
        Some(head) if head == target.as_str() => Ok(()),
        Some(head) => Err(PhaseError::permanent(step, format!("HEAD is {head}, not the pinned commit {target}"))),
        None => Err(PhaseError::permanent(step, format!("HEAD cannot be read; the pinned commit is {target}"))),
    }
}
