//! `alpine token`: personal access tokens, for scripts.

mod create;
mod list;
mod revoke;

use clap::{Args, Subcommand};

use crate::{Context, error::CliError};

/// Personal access tokens, for scripts
///
/// A token stands for whoever made it, for what its scopes name, until it expires or is revoked. Give it to a script as
/// ALPINE_TOKEN.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(create::Create),
    #[command(visible_alias = "ls")]
    List(list::List),
    Revoke(revoke::Revoke),
}

impl Token {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            TokenCommand::Create(create) => create.run(context).await,
            TokenCommand::List(list) => list.run(context).await,
            TokenCommand::Revoke(revoke) => revoke.run(context).await,
        }
    }
}
