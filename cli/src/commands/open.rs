//! `alpine open`: a session's page, in a browser.

use std::ffi::OsString;

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::session_id;
use crate::{
    Context, browser,
    client::Patience,
    complete,
    error::CliError,
    ui::{Answer, Style, clean},
};

/// Open a session in a browser, and print its URL
///
/// One attempt, of three seconds at most; that there is no browser is no failure. Where sessions have hosts of their own the browser is let in with
/// a code that is good once.
#[derive(Debug, Args)]
pub struct Open {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::ready_sessions))]
    session: OsString,
    /// Only print the URL
    #[arg(long)]
    print: bool,
}

impl Open {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = client.session(&context.ui, session_id(&self.session)?, Patience::Ask).await?;
        let ready = session.state.known() == Some(SessionState::Ready);
        let Some(opencode_url) = session.opencode_url.filter(|_| ready) else {
            return Err(CliError::NotReady { session_id: session.session_id, state: session.state });
        };
        let wanted = !self.print && context.env.get("CI").is_none();
        let way_in = match wanted {
            true => Some(browser::way_in(&client, &context.ui, session.session_id, &opencode_url).await?),
            false => None,
        };
        let browser_opened = match &way_in {
            Some(url) => browser::open(url, &context.env).await,
            None => false,
        };
        let once = way_in.filter(|url| *url != opencode_url && !browser_opened);
        context.ui.answer(&Opened { session_id: session.session_id, opencode_url, browser_opened });
        match once {
            Some(url) => {
                context.ui.info(&format!("No browser could be opened: open this yourself, once and within a minute:\n{}", clean(&url)))
            }
            None if wanted && !browser_opened => context.ui.info("No browser could be opened: open the address yourself."),
            None => {}
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Opened {
    session_id: SessionId,
    opencode_url: String,
    browser_opened: bool,
}

impl Answer for Opened {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean(&self.opencode_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, operation, people_of, session_id};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let url = operation().opencode_url.unwrap();
        let opened = Opened { session_id: session_id(1), opencode_url: url.clone(), browser_opened: true };
        insta::assert_snapshot!("open_json", json_of(&opened));
        assert_eq!(people_of(&opened), url);
    }
}
