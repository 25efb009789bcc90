//! `alpine open`: a session's page, in a browser.

use std::ffi::OsString;

use alpine_api::{App, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::{
    port::{self, Shown},
    session_id,
};
use crate::{
    Context, browser,
    client::{Client, Patience},
    complete,
    error::CliError,
    ui::{Answer, Style, clean},
};

/// Open a session in a browser, and print its URL
///
/// One attempt, of three seconds at most; that there is no browser is no failure. Where sessions have hosts of their own the browser is let in with
/// a code that is good once. A session that is shared with you is opened by its id, or by the link.
#[derive(Debug, Args)]
pub struct Open {
    /// The session, or a link to what it serves
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::ready_sessions))]
    session: OsString,
    /// Open no browser: print an address that lets one in, once and within a minute
    #[arg(long)]
    print: bool,
}

impl Open {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        if let Some((link, app)) = self.session.to_str().and_then(|link| Some((link, App::at(link)?))) {
            return self.linked(context, &client, link, app).await;
        }
        let session = session_id(&self.session)?;
        if !self.print && !self.wants_browser(context) {
            return self.direct(context, &client, session).await;
        }
        match port::show(context, &client, App::of(session), self.wants_browser(context)).await {
            Ok(shown) => {
                self.tell(context, session, &shown);
                Ok(())
            }
            Err(error) if error.is_anothers() => Err(error.into()),
            // It has no host of its own, or cannot be opened so: what can be done is seen better as it is shown.
            Err(error) if error.is_conflict() || error.is_forbidden() || error.is_not_found() => {
                self.direct(context, &client, session).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// In the caller's name, if the session knows it; else as whoever has the link, which a browser finds out.
    async fn linked(&self, context: &Context, client: &Client, link: &str, app: App) -> Result<(), CliError> {
        let wanted = self.wants_browser(context);
        match port::show(context, client, app, wanted).await {
            Ok(shown) => self.tell(context, app.session, &shown),
            Err(error) => {
                let at = shared_at(link).filter(|_| error.is_anothers() || error.is_not_found());
                let Some(app_url) = at.map(str::to_owned) else { return Err(error.into()) };
                let browser_opened = wanted && browser::open(link, &context.env).await;
                let way_in = (!browser_opened).then(|| link.to_owned());
                self.tell(context, app.session, &Shown { app_url, browser_opened, way_in, once: false });
            }
        }
        Ok(())
    }

    fn wants_browser(&self, context: &Context) -> bool {
        browser::is_wanted(self.print, &context.env)
    }

    fn tell(&self, context: &Context, session_id: SessionId, shown: &Shown) {
        let way_in = shown.way_in.clone().filter(|_| self.print);
        context.ui.answer(&Opened { session_id, opencode_url: shown.app_url.clone(), way_in, browser_opened: shown.browser_opened });
        if self.wants_browser(context) {
            shown.tell_by_hand(context);
        }
    }

    /// At the address that the session shows, which lets nobody in by itself where it is a host's.
    async fn direct(&self, context: &Context, client: &Client, session: SessionId) -> Result<(), CliError> {
        let session = match client.session(&context.ui, session, Patience::Ask).await {
            // It may be shared with who asks.
            Err(error) if error.is_anothers() => {
                let shown = port::show(context, client, App::of(session), false).await.map_err(|_| error)?;
                self.tell(context, session, &shown);
                return Ok(());
            }
            answer => answer?,
        };
        let ready = session.state.known() == Some(SessionState::Ready);
        let Some(opencode_url) = session.opencode_url.filter(|_| ready) else {
            return Err(CliError::NotReady { session_id: session.session_id, state: session.state });
        };
        let wanted = self.wants_browser(context);
        let browser_opened = wanted && browser::open(&opencode_url, &context.env).await;
        context.ui.answer(&Opened { session_id: session.session_id, opencode_url, way_in: None, browser_opened });
        if wanted && !browser_opened {
            context.ui.info("No browser could be opened: open the address yourself.");
        }
        Ok(())
    }
}

/// What a link that was shared leads to.
fn shared_at(link: &str) -> Option<&str> {
    link.split_once(".alpine/open?share=").map(|(at, _)| at)
}

#[derive(Debug, Serialize)]
struct Opened {
    session_id: SessionId,
    opencode_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_in: Option<String>,
    browser_opened: bool,
}

impl Answer for Opened {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean(self.way_in.as_ref().unwrap_or(&self.opencode_url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, operation, people_of, session_id};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let url = operation().opencode_url.unwrap();
        let opened = Opened { session_id: session_id(1), opencode_url: url.clone(), way_in: None, browser_opened: true };
        insta::assert_snapshot!("open_json", json_of(&opened));
        assert_eq!(people_of(&opened), url);
    }
}
