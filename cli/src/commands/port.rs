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
    #[arg(value_name = "PORT", value_parser = number)]
    port: NonZeroU16,
    /// Open no browser: print an address that lets one in, once and within a minute
    #[arg(long)]
    print: bool,
}

pub(super) fn number(text: &str) -> Result<NonZeroU16, &'static str> {
    text.parse().map_err(|_| "a port is a number from 1 to 65535")
}

impl Port {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session_id = session_id(&self.session)?;
        let app = App { session: session_id, port: Some(self.port) };
        let wanted = browser::is_wanted(self.print, &context.env);
        let shown = show(context, &client, app, wanted).await?;
        let (app_url, way_in) = (shown.app_url.clone(), shown.way_in.clone().filter(|_| self.print));
        context.ui.answer(&Opened { session_id, port: self.port.get(), app_url, way_in, browser_opened: shown.browser_opened });
        if wanted {
            shown.tell_by_hand(context);
        }
        Ok(())
    }
}

/// One host of a session, which a browser was to show.
pub(super) struct Shown {
    pub app_url: String,
    pub browser_opened: bool,
    /// What lets a browser in, where none was opened.
    pub way_in: Option<String>,
    /// That is good once, and for a minute.
    pub once: bool,
}

impl Shown {
    pub fn tell_by_hand(&self, context: &Context) {
        if let Some(url) = &self.way_in {
            let how = if self.once { "open this yourself, once and within a minute" } else { "open this yourself" };
            context.ui.info(&format!("No browser could be opened: {how}:\n{}", clean(url)));
        }
    }
}

/// Lets a browser, if one is wanted, into one host of a session in the caller's name.
pub(super) async fn show(context: &Context, client: &Client, app: App, wanted: bool) -> Result<Shown, ClientError> {
    let opened = client.open_session(&context.ui, app).await?;
    let browser_opened = wanted && browser::open(&opened.url, &context.env).await;
    Ok(Shown { app_url: opened.app_url, browser_opened, way_in: (!browser_opened).then_some(opened.url), once: true })
}

#[derive(Debug, Serialize)]
struct Opened {
    session_id: SessionId,
    port: u16,
    app_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_in: Option<String>,
    browser_opened: bool,
}

impl Answer for Opened {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean(self.way_in.as_ref().unwrap_or(&self.app_url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, session_id};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let app_url = "https://ses-1--3000.apps.example.com/".to_owned();
        let opened = Opened { session_id: session_id(1), port: 3000, app_url: app_url.clone(), way_in: None, browser_opened: true };
        insta::assert_snapshot!("port_json", json_of(&opened));
        assert_eq!(people_of(&opened), app_url);
        let printed = Opened { way_in: Some(format!("{app_url}.alpine/open?code=x.y")), browser_opened: false, ..opened };
        insta::assert_snapshot!("port_print_json", json_of(&printed));
        assert_eq!(people_of(&printed), printed.way_in.unwrap());
    }

    #[test]
    fn a_port_is_a_number_of_one() {
        assert_eq!([number("1"), number("65535")], [NonZeroU16::MIN, NonZeroU16::MAX].map(Ok));
        for bad in ["0", "65536", "-1", "x", ""] {
            assert_eq!(number(bad), Err("a port is a number from 1 to 65535"), "{bad}");
        }
    }
}
