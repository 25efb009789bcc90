//! `alpine share`: a link to what a session serves.

use std::{ffi::OsString, num::NonZeroU16};

use alpine_api::{CreateShare, CreatedShare, SessionId, ShareId};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::{lifetime, port, session_id};
use crate::{
    Context, complete,
    error::CliError,
    ui::{Answer, Style, clean, fields, time},
};

const MONTH: i32 = 30 * 86_400;

/// Share what a session serves
///
/// Prints a link. One for people who are named opens with alpine open; a public one lets in whoever follows it. Both are good for the
/// session's page, or for one port, and not for stopping or sharing the session. Whoever is let into the session's page can do in the sandbox what
/// you can do in it.
#[derive(Debug, Args)]
pub struct Share {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::ready_sessions))]
    session: OsString,
    /// A principal of your tenant, as alpine whoami shows one; may be given several times, or as a list
    #[arg(long, value_name = "PRINCIPAL", value_delimiter = ',', required_unless_present = "public", conflicts_with = "public")]
    with: Vec<String>,
    /// Whoever has the link
    #[arg(long)]
    public: bool,
    /// What listens on this port, in place of the session's page
    #[arg(long, value_name = "PORT", value_parser = port::number)]
    port: Option<NonZeroU16>,
    /// For how long, as in 90m, 8h or 2d; 30d at most
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = end)]
    expires: i32,
}

fn end(text: &str) -> Result<i32, &'static str> {
    let seconds = lifetime::seconds(text)?;
    if (60..=MONTH).contains(&seconds) { Ok(seconds) } else { Err("it has to be from 1m to 30d") }
}

impl Share {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = session_id(&self.session)?;
        let body =
            CreateShare { with: self.with.clone(), public: self.public, port: self.port.map(NonZeroU16::get), expires_in: self.expires };
        let shared = Shared::from(client.create_share(&context.ui, session, &body).await?);
        // Alone on stdout, to be handed on; what it is stands beside it.
        context.ui.answer(&shared);
        context.ui.info(&shared.about(context.ui.error_style()));
        if self.public && !context.ui.json() {
            context.ui.warn("whoever has this link can do there what you can; take it back with alpine unshare");
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Shared {
    share_id: ShareId,
    session_id: SessionId,
    url: String,
    port: Option<u16>,
    with: Vec<String>,
    public: bool,
    expires_at: DateTime<Utc>,
}

impl From<CreatedShare> for Shared {
    fn from(created: CreatedShare) -> Self {
        let CreatedShare { url, about } = created;
        let alpine_api::Share { share_id, session_id, port, with, public, expires_at, .. } = about;
        Self { share_id, session_id, url, port, with, public, expires_at }
    }
}

impl Shared {
    fn about(&self, style: Style) -> String {
        let rows = [
            ("share", Some(self.share_id.to_string())),
            ("with", Some(whom(&self.with, self.public))),
            ("port", self.port.map(|port| port.to_string())),
            ("expires", Some(time(self.expires_at))),
        ];
        fields(&rows, style)
    }
}

/// As it is shown.
pub(super) fn whom(with: &[String], public: bool) -> String {
    if public { "whoever has the link".to_owned() } else { with.join(", ") }
}

impl Answer for Shared {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, share};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let url = "https://ses-1.apps.example.com/.alpine/open?share=x.y".to_owned();
        let shared = Shared::from(CreatedShare { url: url.clone(), about: share(1) });
        insta::assert_snapshot!("share_json", json_of(&shared));
        assert_eq!(people_of(&shared), url);
        insta::assert_snapshot!("share_people", shared.about(Style::default()));
    }

    #[test]
    fn it_ends_within_a_month() {
        assert_eq!((end("30d"), end("1m")), (Ok(MONTH), Ok(60)));
        assert!(end("31d").is_err() && end("0m").is_err());
    }
}
