//! `alpine man`: manual pages, for those who package it.

use std::{fs, path::PathBuf};

use chrono::{DateTime, Utc};
use clap::{Args, CommandFactory};
use serde::Serialize;

use crate::{
    Context,
    args::Cli,
    error::CliError,
    ui::{Answer, Style},
};

/// Print the manual page, or write one for every command
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for every command into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Page {
    name: String,
    text: String,
}

impl Man {
    pub fn run(&self, context: &Context) -> Result<(), CliError> {
        let mut pages = pages();
        let Some(dir) = &self.dir else {
            context.ui.answer(&pages.swap_remove(0));
            return Ok(());
        };
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| CliError::File { path, source }
        };
        fs::create_dir_all(dir).map_err(failed(dir))?;
        for Page { name, text } in &pages {
            let path = dir.join(name);
            fs::write(&path, text).map_err(failed(&path))?;
        }
        context.ui.answer(&Pages { directory: dir.clone(), pages: pages.into_iter().map(|page| page.name).collect() });
        Ok(())
    }
}

/// One for the program, then one for every command that is shown.
fn pages() -> Vec<Page> {
    let mut program = Cli::command();
    program.build();
    let mut all = Vec::new();
    add(&program, &mut all);
    all
}

fn add(command: &clap::Command, all: &mut Vec<Page>) {
    let man = clap_mangen::Man::new(command.clone()).source(concat!("alpine ", env!("CARGO_PKG_VERSION"))).manual("Alpine");
    let mut text = Vec::new();
    // Memory takes whatever is written to it.
    if man.render(&mut text).is_ok() {
        all.push(Page { name: man.get_filename(), text: String::from_utf8_lossy(&text).into_owned() });
    }
    for command in command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help") {
        add(command, all);
    }
}

impl Answer for Page {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        self.text.trim_end().to_owned()
    }
}

#[derive(Debug, Serialize)]
struct Pages {
    directory: PathBuf,
    pages: Vec<String>,
}

impl Answer for Pages {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        format!("Wrote {} pages to {}.", self.pages.len(), self.directory.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let names: Vec<String> = pages().into_iter().map(|page| page.name).collect();
        insta::assert_debug_snapshot!("man_pages", names);
    }
}
