//! The commands: arguments, help and behaviour of each in its own file.

mod audit;
mod classes;
mod completion;
mod credential;
mod down;
mod events;
mod extend;
mod follow;
mod import;
mod lifetime;
mod list;
mod login;
mod logout;
mod logs;
mod man;
mod open;
mod port;
mod profile;
pub mod replaced;
mod share;
mod shares;
mod status;
mod tenant;
mod token;
mod unshare;
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
    Extend(extend::Extend),
    Classes(classes::Classes),
    #[command(visible_alias = "ls")]
    List(list::List),
    Status(status::Status),
    Events(events::Events),
    Logs(logs::Logs),
    Open(open::Open),
    Port(port::Port),
    Share(share::Share),
    Shares(shares::Shares),
    Unshare(unshare::Unshare),
    Login(login::Login),
    Logout(logout::Logout),
    Whoami(whoami::Whoami),
    Token(token::Token),
    Tenant(tenant::Tenant),
    Audit(audit::Audit),
    Credential(credential::Credential),
    Profile(profile::Profile),
    Completion(completion::Completion),
    #[command(hide = true)]
    Man(man::Man),
    Import(import::Import),
    Version(version::Version),
}

/// A command that asks nobody: there is no need to wait for anything.
pub fn run_alone(context: &Context) -> Option<Result<(), CliError>> {
    match &context.cli.command {
        Command::Completion(completion) => Some(completion.run(context)),
        Command::Man(man) => Some(man.run(context)),
        Command::Profile(profile) => Some(profile.run(context)),
        Command::Version(version) => {
            version.run(context);
            Some(Ok(()))
        }
        _ => None,
    }
}

pub async fn run(context: &Context) -> Result<(), CliError> {
    match &context.cli.command {
        Command::Up(up) => up.run(context).await,
        Command::Down(down) => down.run(context).await,
        Command::Extend(extend) => extend.run(context).await,
        Command::Classes(classes) => classes.run(context).await,
        Command::List(list) => list.run(context).await,
        Command::Status(status) => status.run(context).await,
        Command::Events(events) => events.run(context).await,
        Command::Logs(logs) => logs.run(context).await,
        Command::Open(open) => open.run(context).await,
        Command::Port(port) => port.run(context).await,
        Command::Share(share) => share.run(context).await,
        Command::Shares(shares) => shares.run(context).await,
        Command::Unshare(unshare) => unshare.run(context).await,
        Command::Login(login) => login.run(context).await,
        Command::Logout(logout) => logout.run(context).await,
        Command::Whoami(whoami) => whoami.run(context).await,
        Command::Token(token) => token.run(context).await,
        Command::Tenant(tenant) => tenant.run(context).await,
        Command::Audit(audit) => audit.run(context).await,
        Command::Credential(credential) => credential.run(context).await,
        Command::Completion(_) | Command::Man(_) | Command::Profile(_) | Command::Version(_) => run_alone(context).unwrap_or(Ok(())),
        Command::Import(import) => import.run(context).await,
    }
}

/// What is not of an id's form is no session's id: the server need not be asked.
fn session_id(text: &OsStr) -> Result<SessionId, CliError> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or(CliError::NoSuchSession)
}
