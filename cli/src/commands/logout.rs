//! `alpine logout`: the login is given back and forgotten.

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context, clock,
    config::Settings,
    error::CliError,
    login::{Issuer, LoginError, Store},
    ui::{Answer, Style},
};

/// Forget the login of this profile, and give it back to its issuer
///
/// Without a login there is nothing to do, which is no failure.
#[derive(Debug, Args)]
pub struct Logout {}

impl Logout {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let settings = context.settings()?;
        let out = match &settings.logins {
            Some(store) => leave(&settings, store).await?,
            None => LoggedOut { profile: settings.profile.clone(), was_logged_in: false, revoked: false },
        };
        context.ui.answer(&out);
        Ok(())
    }
}

async fn leave(settings: &Settings, store: &Store) -> Result<LoggedOut, LoginError> {
    let nothing = LoggedOut { profile: settings.profile.clone(), was_logged_in: false, revoked: false };
    if store.entry(&settings.profile)?.is_none() {
        return Ok(nothing);
    }
    // Held to the end: what is refreshed beside it would be forgotten without being given back.
    let locked = store.lock().await?;
    let Some(entry) = store.entry(&settings.profile)? else { return Ok(nothing) };
    // A keyring that is away or an issuer that refuses keeps nobody logged in here.
    let tokens = store.tokens(&entry).await.ok().flatten();
    let was_logged_in = locked.remove(&settings.profile).await?;
    let issuer = Issuer::new(&entry.about.issuer, settings.ca_file.as_deref(), clock::now);
    let revoked = match (issuer, tokens) {
        (Ok(issuer), Some(tokens)) => issuer.revoke(&entry.about, &tokens).await,
        _ => false,
    };
    Ok(LoggedOut { was_logged_in, revoked, ..nothing })
}

#[derive(Debug, Serialize)]
struct LoggedOut {
    profile: String,
    was_logged_in: bool,
    /// Whether the issuer took the login back.
    revoked: bool,
}

impl Answer for LoggedOut {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        match (self.was_logged_in, self.revoked) {
            (false, _) => format!("There was no login (profile {}).", self.profile),
            (true, true) => format!("Logged out (profile {}); the issuer has taken the login back.", self.profile),
            (true, false) => format!("Logged out (profile {}); the issuer was not told.", self.profile),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let out = |was_logged_in, revoked| LoggedOut { profile: "team".to_owned(), was_logged_in, revoked };
        insta::assert_snapshot!("logout_json", json_of(&out(true, true)));
        let people: Vec<String> = [(true, true), (true, false), (false, false)].map(|(was, revoked)| people_of(&out(was, revoked))).into();
        insta::assert_snapshot!("logout_people", people.join("\n"));
    }
}
