//! `alpine profile use`.

use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::{
    Context, complete,
    config::use_profile,
    error::CliError,
    ui::{Answer, Style, clean},
};

/// Use this profile from now on
///
/// Writes its name into config.toml as the default one. --profile and ALPINE_PROFILE still count before it.
#[derive(Debug, Args)]
pub struct Use {
    /// The profile's name
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    name: String,
}

impl Use {
    pub fn run(&self, context: &Context) -> Result<(), CliError> {
        let known = use_profile(&self.name, &context.env)?;
        if let Some(other) = context.env.get("ALPINE_PROFILE").filter(|other| *other != self.name) {
            context.ui.warn(&format!("ALPINE_PROFILE is set to {other}, which counts before it"));
        }
        context.ui.answer(&Used { name: known.name, server: known.server });
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Used {
    name: String,
    server: Option<String>,
}

impl Answer for Used {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        let name = clean(&self.name);
        match &self.server {
            Some(server) => format!("Using the profile {name} ({server})."),
            None => format!("Using the profile {name}, whose server is no address of one."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let used = Used { name: "team".to_owned(), server: Some("https://alpine.example.com/".to_owned()) };
        insta::assert_snapshot!("profile_use", format!("{}\n{}", json_of(&used), people_of(&used)));
    }
}
