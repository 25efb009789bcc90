//! `alpine profile list`.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    config::{Known, profiles},
    error::CliError,
    ui::{Answer, Style, table},
};

/// List the profiles, their servers, and which one is used
#[derive(Debug, Args)]
pub struct List {}

impl List {
    pub fn run(&self, context: &Context) -> Result<(), CliError> {
        context.ui.answer(&Profiles(profiles(&context.cli.globals, &context.env)?));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Profiles(Vec<Known>);

impl Answer for Profiles {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No profiles.".to_owned();
        }
        let row = |Known { name, server, current }: &Known| {
            let server = server.clone().unwrap_or_else(|| "(not a server's address)".to_owned());
            [if *current { "*" } else { "" }.to_owned(), name.clone(), server]
        };
        table(["", "PROFILE", "SERVER"], &self.0.iter().map(row).collect::<Vec<_>>(), style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let one = |name: &str, server: Option<&str>, current| Known { name: name.to_owned(), server: server.map(str::to_owned), current };
        let known = vec![
            one("dev", Some("https://127.0.0.1:8443/"), false),
            one("odd", None, false),
            one("team", Some("https://alpine.example.com/"), true),
        ];
        insta::assert_snapshot!("profile_list_json", json_of(&Profiles(known.clone())));
        insta::assert_snapshot!("profile_list_people", people_of(&Profiles(known)));
        assert_eq!(people_of(&Profiles(Vec::new())), "No profiles.");
    }
}
