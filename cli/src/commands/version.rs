//! `alpine version`: which program this is.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    ui::{Answer, Style},
};

/// Show the version
#[derive(Debug, Args)]
pub struct Version {}

impl Version {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub fn run(&self, context: &Context) {
        context.ui.answer(&Program { version: env!("CARGO_PKG_VERSION"), api: "v1" });
    }
}

#[derive(Debug, Serialize)]
struct Program {
    version: &'static str,
    /// The version of the HTTP API that it speaks.
    api: &'static str,
}

impl Answer for Program {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        format!("alpine {}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let program = Program { version: "1.2.3", api: "v1" };
        assert_eq!(people_of(&program), "alpine 1.2.3");
        insta::assert_snapshot!("version_json", json_of(&program));
    }
}
