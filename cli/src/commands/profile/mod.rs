//! `alpine profile`: which servers there are for this program, and which of them it speaks to.

mod list;
mod switch;

use clap::{Args, Subcommand};

use crate::{Context, error::CliError};

/// See the profiles of the configuration and choose one
#[derive(Debug, Args)]
pub struct Profile {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(visible_alias = "ls")]
    List(list::List),
    Use(switch::Use),
}

impl Profile {
    pub fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            Command::List(list) => list.run(context),
            Command::Use(switch) => switch.run(context),
        }
    }
}
