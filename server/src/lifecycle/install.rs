//! Install: the dependencies that the repository pins.

use alpine_api::LogSource;

use super::{
    Done, Engine, PhaseError,
    project::{Project, install_command},
};
use crate::{
    ledger::Job,
    sandbox::{Command, Handle},
};

const STEP: &str = "install";
/// What a repository says of itself: `.alpine.toml`, and the names of the files at its top. A NUL ends the first part; TOML has none.
pub(super) const READ: &str = "set -e; test ! -e .alpine.toml || head -c 65536 .alpine.toml | tr -d '\\000'; printf '\\000'; ls -1A";

/// What the caller does before the next try.
pub(super) const MEND: &str = "mend what the cause says";
const MEND_PROJECT: &str = "mend the repository's .alpine.toml";

impl Engine {
    pub(super) async fn install(&self, job: &Job) -> Result<Done, PhaseError> {
        let handle = Self::handle(job)?;
        let (project, listing) = self.project(STEP, job, &handle).await?;
        let files: Vec<&str> = listing.lines().collect();
        let Some((command, source)) = install_command(&project, &files) else {
            return Ok(Done::because("nothing to install"));
        };
        let shell = Command { argv: vec!["sh".to_owned(), "-c".to_owned(), command], ..Command::default() };
        let ran = self.exec_told(STEP, job, &handle, shell, LogSource::Install).await?;
        if ran.exit.success() {
            return Ok(Done::because(format!("installed by {source}")));
        }
        // A registry that stumbles looks the same as a broken lock file; only the deadline tells them apart,
        // so a failed install is final and the caller decides.
        Err(PhaseError::permanent(STEP, format!("the command of {source} failed ({}): {}", ran.outcome(), ran.tail(None))).first(MEND))
    }

    /// The repository's `.alpine.toml`, if it has one, and the names of the files at its top.
    pub(super) async fn project(&self, step: &'static str, job: &Job, handle: &Handle) -> Result<(Project, String), PhaseError> {
        let text = match job.repository.get() {
            Some(text) => text,
            None => {
                let text = self.read_project(step, job, handle).await?;
                job.repository.get_or_init(|| text)
            }
        };
        let (project, listing) = text.split_once('\0').unwrap_or((text, ""));
        let bad = |cause: String| PhaseError::permanent(step, cause).first(MEND_PROJECT);
        let project: Project = toml::from_str(project).map_err(|error| bad(format!(".alpine.toml: {}", error.message())))?;
        if let Some(port) = project.port {
            let provider = self.provider.name();
            let cause = format!(".alpine.toml asks for port {port}; provider `{provider}` gives each session its own: serve on $PORT");
            return Err(bad(cause));
        }
        Ok((project, listing.to_owned()))
    }

    async fn read_project(&self, step: &'static str, job: &Job, handle: &Handle) -> Result<String, PhaseError> {
        let argv = vec!["sh".to_owned(), "-c".to_owned(), READ.to_owned()];
        let ran = self.exec(step, job, handle, Command { argv, ..Command::default() }).await?;
        if ran.exit.success() {
            return Ok(ran.text());
        }
        Err(PhaseError::permanent(step, format!(".alpine.toml cannot be read ({}): {}", ran.outcome(), ran.tail(None))))
    }
}
