//! `alpine port`: what a program of the session serves on a port of its own.

use std::{ffi::OsString, num::NonZeroU16};

use alpine_api::{App, SessionId};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::session_id;
use crate::{
    Context, browser,
    client::{Client, ClientError},
    complete,
    error::CliError,
    ui::{Answer, Style, clean},
};

/// Open what listens on a port of a session, and print its URL
///
/// It has a host of its own next to the session's. A program that listens in a container is reached if it does so on 0.0.0.0, not only on
/// 127.0.0.1. One attempt, as with alpine open.
#[derive(Debug, Args)]
pub struct Port {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::ready_sessions))]
    session: OsString,
    /// Where it listens
    #[arg(value_name = "PORT")]
    port: NonZeroU16,
    /// Only print the URL
    #[arg(long)]
    print: bool,
}

impl Port {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session_id = session_id(&self.session)?;
        let app = App { session: session_id, port: Some(self.port) };
        let shown = show(context, &client, app, browser::is_wanted(self.print, &context.env)).await?;
        let Shown { app_url, browser_opened, .. } = &shown;
        context.ui.answer(&Opened { session_id, port: self.port.get(), app_url: app_url.clone(), browser_opened: *browser_opened });
        shown.tell_by_hand(context);
        Ok(())
    }
}

/// One host of a session, which a browser was to show.
pub(super) struct Shown {
    pub app_url: String,
    pub browser_opened: bool,
    /// What lets a browser in, once, where none was opened.
    by_hand: Option<String>,
}

impl Shown {
    pub fn tell_by_hand(&self, context: &Context) {
        if let Some(url) = &self.by_hand {
            context.ui.info(&format!("No browser could be opened: open this yourself, once and within a minute:\n{}", clean(url)));
        }
    }
}

/// Lets a browser, if one is wanted, into one host of a session in the caller's name.
pub(super) async fn show(context: &Context, client: &Client, app: App, wanted: bool) -> Result<Shown, ClientError> {
    let opened = client.open_session(&context.ui, app).await?;
    let browser_opened = wanted && browser::open(&opened.url, &context.env).await;
    Ok(Shown { app_url: opened.app_url, browser_opened, by_hand: (wanted && !browser_opened).then_some(opened.url) })
}

#[derive(Debug, Serialize)]
struct Opened {
    session_id: SessionId,
    port: u16,
    app_url: String,
    browser_opened: bool,
}

impl Answer for Opened {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean(&self.app_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, session_id};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let app_url = "https://ses-1--3000.apps.example.com/".to_owned();
        let opened = Opened { session_id: session_id(1), port: 3000, app_url: app_url.clone(), browser_opened: true };
        insta::assert_snapshot!("port_json", json_of(&opened));
        assert_eq!(people_of(&opened), app_url);
    }
}
