//! The commands: arguments, help and behaviour of each in its own file.

mod credential;
mod down;
mod events;
mod list;
pub mod replaced;
mod status;
mod up;
mod version;

use std::ffi::OsStr;

use alpine_api::SessionId;
use clap::Subcommand;

use crate::{Context, error::CliError};

#[derive(Debug, Subcommand)]
pub enum Command {
    Up(up::Up),
    Down(down::Down),
    #[command(visible_alias = "ls")]
    List(list::List),
    Status(status::Status),
    Events(events::Events),
    Credential(credential::Credential),
    Version(version::Version),
}

pub async fn run(context: &Context) -> Result<(), CliError> {
    match &context.cli.command {
        Command::Up(up) => up.run(context).await,
        Command::Down(down) => down.run(context).await,
        Command::List(list) => list.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Events(events) => events.run(context).await,
        Command::Credential(credential) => credential.run(context).await,
        Command::Version(version) => {
            version.run(context);
            Ok(())
        }
    }
}

/// What is not of an id's form is no session's id: the server need not be asked.
fn session_id(text: &OsStr) -> Result<SessionId, CliError> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or(CliError::NoSuchSession)
}
