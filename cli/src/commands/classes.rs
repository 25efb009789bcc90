//! `alpine classes`: what a session can be made in.

use alpine_api::{Class, ClassList, lifetime_shown};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, table},
};

/// List the sandbox classes that alpine up --class can name
#[derive(Debug, Args)]
pub struct Classes {}

impl Classes {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let ClassList { classes } = context.client()?.classes(&context.ui).await?;
        context.ui.answer(&Shown(classes));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(Vec<Class>);

impl Answer for Shown {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No classes: all sessions here have one size.".to_owned();
        }
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let row = |class: &Class| {
            [
                if class.default { format!("{} (default)", class.name) } else { class.name.clone() },
                or_dash(class.cpu_millis.map(|millis| (f64::from(millis) / 1000.0).to_string())),
                or_dash(class.memory_mb.map(size)),
                or_dash(class.disk_mb.map(size)),
                or_dash(class.lifetime_seconds.map(lifetime_shown)),
                or_dash(class.idle_seconds.map(lifetime_shown)),
                or_dash(class.image.clone()),
                or_dash(class.description.clone()),
            ]
        };
        let rows: Vec<[String; 8]> = self.0.iter().map(row).collect();
        table(["CLASS", "CPUS", "MEMORY", "DISK", "LIFETIME", "IDLE", "IMAGE", ""], &rows, style)
    }
}

/// In GB where it is a round number of them.
fn size(mb: i32) -> String {
    if mb % 1024 == 0 { format!("{} GB", mb / 1024) } else { format!("{mb} MB") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let bare = Class {
            name: "small".to_owned(),
            description: None,
            default: false,
            memory_mb: Some(512),
            cpu_millis: Some(500),
            disk_mb: None,
            image: None,
            lifetime_seconds: None,
            max_lifetime_seconds: None,
            idle_seconds: None,
            max_idle_seconds: None,
        };
        let standard = Class {
            name: "standard".to_owned(),
            description: Some("what most need\u{1b}[2J".to_owned()),
            default: true,
            memory_mb: Some(4096),
            cpu_millis: Some(2000),
            disk_mb: Some(20_480),
            image: Some("alpine-sandbox:1".to_owned()),
            lifetime_seconds: Some(28_800),
            max_lifetime_seconds: Some(86_400),
            idle_seconds: Some(1_800),
            max_idle_seconds: None,
        };
        let shown = Shown(vec![standard, bare]);
        insta::assert_snapshot!("classes_json", json_of(&shown));
        insta::assert_snapshot!("classes_people", people_of(&shown));
        insta::assert_snapshot!("classes_none_people", people_of(&Shown(Vec::new())));
    }
}
