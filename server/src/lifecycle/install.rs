//! Install: the dependencies that the repository pins.

use super::{
    Done, Engine, PhaseError,
    project::{Project, install_command},
};
use crate::{
    ledger::Job,
    sandbox::{Command, Handle},
};

const STEP: &str = "install";

impl Engine {
    pub(super) async fn install(&self, job: &Job) -> Result<Done, PhaseError> {
        let handle = Self::handle(job)?;
        let project = self.project(STEP, &handle).await?;
        let listing = self.exec(STEP, &handle, Command { argv: ["ls", "-1A"].map(str::to_owned).to_vec(), ..Command::default() }).await?;
        let listing = listing.text();
        let files: Vec<&str> = listing.lines().collect();
        let Some((command, source)) = install_command(&project, &files) else {
            return Ok(Done::because("nothing to install"));
        };
        let shell = Command { argv: vec!["sh".to_owned(), "-c".to_owned(), command], ..Command::default() };
        let ran = self.exec(STEP, &handle, shell).await?;
        if ran.exit.success() {
            return Ok(Done::because(format!("installed by {source}")));
        }
        // A registry that stumbles looks the same as a broken lock file; only the deadline tells them apart,
        // so a failed install is final and the caller decides.
        Err(PhaseError::permanent(STEP, format!("the command of {source} failed ({}): {}", ran.outcome(), ran.tail(None))))
    }

    /// The repository's `.alpine.toml`, if it has one.
    pub(super) async fn project(&self, step: &'static str, handle: &Handle) -> Result<Project, PhaseError> {
        let script = "test ! -e .alpine.toml || head -c 65536 .alpine.toml";
        let argv = vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let ran = self.exec(step, handle, Command { argv, ..Command::default() }).await?;
        if !ran.exit.success() {
            return Err(PhaseError::permanent(step, format!(".alpine.toml cannot be read ({}): {}", ran.outcome(), ran.tail(None))));
        }
        toml::from_str(&ran.text()).map_err(|error| PhaseError::permanent(step, format!(".alpine.toml: {}", error.message())))
    }
}
