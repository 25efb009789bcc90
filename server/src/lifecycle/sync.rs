//! Sync: the repository in the workspace, at the pinned commit and nowhere else.
//!
//! Two commands in the sandbox and no more: to enter it takes longer than most of what git does there.

use alpine_api::LogSource;
use tracing::Instrument as _;

use super::{
    Done, Engine, PhaseError,
    install::READ,
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
/// leaves locks which nobody would ever lift. Then it becomes the command that follows, which alone gets the token.
const PREPARE: &str = r#"set -e
secret=${ALPINE_GIT_TOKEN-}
unset ALPINE_GIT_TOKEN
if [ -e .git ] && [ "$(git rev-parse --verify --quiet HEAD)" = "$3" ]; then exit 77; fi
find . -mindepth 1 -delete
git init --quiet .
git config remote.origin.url "$1"
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
git config "branch.$2.remote" origin
git config "branch.$2.merge" "refs/heads/$2"
shift 3
[ -z "$secret" ] || export ALPINE_GIT_TOKEN="$secret"
exec "$@""#;
const BY_COMMIT: &[&str] =
    &["fetch", "--progress", "--force", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance", "--depth=1"];
const BY_BRANCH: &[&str] = &["fetch", "--progress", "--force", "--no-tags", "--no-recurse-submodules", "--no-auto-maintenance"];
/// Proves it, and says what the repository says of itself.
const CHECK_OUT: &str = r#"git checkout --quiet --progress --force -B "$1" "$2" -- || exit
head=$(git rev-parse --verify --quiet HEAD)
[ "$head" = "$2" ] || { echo "HEAD is ${head:-unreadable}, not the pinned commit $2" >&2; exit 1; }
("#;

impl Engine {
    pub(super) async fn sync(&self, job: &Job) -> Result<Done, PhaseError> {
        let handle = Self::handle(job)?;
        let target = job.session.target.as_ref().ok_or_else(|| PhaseError::permanent(STEP, "no commit is pinned"))?;
        if self.fetch(job, &handle, target).await? == THERE {
            return Ok(Done::because(format!("cloned at {target} already")));
        }
        self.check_out(job, &handle, target).await?;
        Ok(Done::because(format!("cloned at {target}")))
    }

    /// The pinned commit alone; if the server gives no commit by its id, the branch. How it ended well.
    async fn fetch(&self, job: &Job, handle: &Handle, target: &CommitSha) -> Result<Exit, PhaseError> {
        let credential = self.credential(job).await?;
        let (by_commit, said) = self.fetch_ref(job, handle, BY_COMMIT, target.as_str(), credential.as_ref()).await?;
        if by_commit.exit.success() || by_commit.exit == THERE {
            return Ok(by_commit.exit);
        }
        if !said.to_lowercase().contains("unadvertised object") {
            return Err(remote_error(STEP, &self.settings.git, &said));
        }
        let name = job.session.branch.full_ref();
        let (by_branch, said) = self.fetch_ref(job, handle, BY_BRANCH, &name, credential.as_ref()).await?;
        if by_branch.exit.success() || by_branch.exit == THERE {
            Ok(by_branch.exit)
        } else {
            Err(remote_error(STEP, &self.settings.git, &said))
        }
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
        let (branch, target) = (job.session.branch.as_str(), job.session.target.as_ref().map_or("", CommitSha::as_str));
        let prepare = ["sh", "-c", PREPARE, "git", ask.url.as_str(), branch, target];
        let run = async {
            let mut command = ask.command(&self.settings.git, "git").await?;
            command.argv.splice(0..0, prepare.map(str::to_owned));
            self.exec_told(STEP, job, handle, command, LogSource::Git).await
        };
        let ran = run.instrument(ask.span()).await?;
        let said = ran.git_tail(ask.token());
        Ok((ran, said))
    }

    async fn check_out(&self, job: &Job, handle: &Handle, target: &CommitSha) -> Result<(), PhaseError> {
        // What comes from outside is `$1` and `$2`. Whether the repository's own words can be read is for the next phase to say.
        let script = format!("{CHECK_OUT}{READ}) 2>/dev/null || :");
        let argv = ["sh", "-c", &script, "git", job.session.branch.as_str(), target.as_str()].map(str::to_owned).to_vec();
        let command = Command { argv, env: self.settings.git.local(), ..Command::default() };
        let ran = self.exec_told(STEP, job, handle, command, LogSource::Git).instrument(git_span("checkout", None)).await?;
        if !ran.exit.success() {
            return Err(PhaseError::permanent(STEP, format!("git: {} ({})", ran.git_tail(None), ran.outcome())));
        }
        let said = ran.text();
        if said.contains('\0') {
            // The first reading counts.
            let _ = job.repository.set(said);
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

    use super::PREPARE;

    #[test]
    fn what_prepares_the_workspace_has_no_token_and_what_comes_after_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (bin, workspace) = (dir.path().join("bin"), dir.path().join("workspace"));
        for dir in [&bin, &workspace] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(workspace.join("left over"), "").unwrap();
        let git = bin.join("git");
        fs::write(&git, "#!/bin/sh\necho \"$1 ${ALPINE_GIT_TOKEN-none}\" >> \"${0%/*}/seen\"\n").unwrap();
        fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
        let mut prepare = Command::new("sh");
        prepare.args(["-c", PREPARE, "git", "https://h/r", "main", "abc", "sh", "-c", "echo \"$ALPINE_GIT_TOKEN $1\"", "sh", "last"]);
        prepare.current_dir(&workspace).env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("ALPINE_GIT_TOKEN", "s3 cret");
        assert_eq!(String::from_utf8_lossy(&prepare.output().unwrap().stdout), "s3 cret last\n");
        let seen = fs::read_to_string(bin.join("seen")).unwrap();
        assert_eq!(seen, "init none\nconfig none\nconfig none\nconfig none\nconfig none\n");
        assert!(!workspace.join("left over").exists());
    }
}
