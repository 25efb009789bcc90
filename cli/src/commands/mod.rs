//! The commands: arguments, help and behaviour of each in its own file.

mod audit;
mod credential;
mod down;
mod events;
mod import;
mod list;
mod login;
mod logout;
pub mod replaced;
mod status;
mod tenant;
mod token;
mod up;
mod version;
mod whoami;

use std::ffi::OsStr;

use alpine_api::SessionId;
use clap::Subcommand;
pub use import::Summary;

use crate::{Context, error::CliError};

#[derive(Debug, Subcommand)]
pub enum Command {
    Up(up::Up),
    Down(down::Down),
    #[command(visible_alias = "ls")]
    List(list::List),
    Status(status::Status),
    Events(events::Events),
    Login(login::Login),
    Logout(logout::Logout),
    Whoami(whoami::Whoami),
    Token(token::Token),
    Tenant(tenant::Tenant),
    Audit(audit::Audit),
    Credential(credential::Credential),
    Import(import::Import),
    Version(version::Version),
}

pub async fn run(context: &Context) -> Result<(), CliError> {
    match &context.cli.command {
        Command::Up(up) => up.run(context).await,
        Command::Down(down) => down.run(context).await,
        Command::List(list) => list.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Events(events) => events.run(context).await,
        Command::Login(login) => login.run(context).await,
        Command::Logout(logout) => logout.run(context).await,
        Command::Whoami(whoami) => whoami.run(context).await,
        Command::Token(token) => token.run(context).await,
        Command::Tenant(tenant) => tenant.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Credential(credential) => credential.run(context).await,
        Command::Import(import) => import.run(context).await,
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
