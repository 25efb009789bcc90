//! Resolve: which commit the branch points to now. It is pinned for the whole operation.

use super::{Done, Engine, PhaseError, remote::Ask};
use crate::{
    domain::{
        failure,
        repo::{Branch, CommitSha},
    },
    ledger::{Findings, Job},
};

const STEP: &str = "resolve";

impl Engine {
    pub(super) async fn resolve(&self, job: &Job) -> Result<Done, PhaseError> {
        let branch = &job.session.branch;
        let credential = self.credential(job).await?;
        let (url, wanted) = (&job.session.repo_url, branch.full_ref());
        let ask = Ask { step: STEP, url, words: &["ls-remote", "--quiet"], names: &[&wanted], credential: credential.as_ref() };
        let listing = ask.run_here(&self.settings.git, &self.starts).await?;
        let Some(commit) = commit_of(&listing, branch) else {
            return Err(PhaseError::Failed(failure::branch_absent(branch)));
        };
        let target: CommitSha = commit.parse().map_err(|_| PhaseError::permanent(STEP, "the remote named something that is no commit"))?;
        let reason = format!("{branch} is at {target}");
        Ok(Done { findings: Findings { target: Some(target), ..Findings::default() }, ..Done::because(reason) })
    }
}

/// `ls-remote` matches a pattern from its end: only the very name counts.
pub(super) fn commit_of<'a>(listing: &'a str, branch: &Branch) -> Option<&'a str> {
    let wanted = branch.full_ref();
    listing.lines().filter_map(|line| line.split_once('\t')).find(|(_, name)| *name == wanted).map(|(commit, _)| commit)
}
