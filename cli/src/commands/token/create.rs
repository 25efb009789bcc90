//! `alpine token create`: a new token, shown once.

use alpine_api::{CreateToken, Scope};
use chrono::{DateTime, Utc};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;

use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, fields, time},
    wire::{self, Word},
};

/// Make a token; it is shown once
///
/// The token alone is printed on stdout, what it is on stderr: TOKEN=$(alpine token create --name ci). It cannot be had
/// again: the server keeps only a hash of it.
#[derive(Debug, Args)]
pub struct Create {
    /// What it is for
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it is good for: sessions:read, sessions:write or admin; may be given several times [default: sessions:read and
    /// sessions:write]
    #[arg(long = "scope", value_name = "S", hide_possible_values = true, value_parser = scope_parser())]
    scopes: Vec<Scope>,
    /// When it ends: a number of days, from 1d to 365d
    #[arg(long, value_name = "DAYS", default_value = "90d", value_parser = days)]
    expires_in: i32,
}

fn scope_parser() -> impl TypedValueParser<Value = Scope> {
    let named = |text: String| Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or("no such scope");
    PossibleValuesParser::new(Scope::ALL.iter().map(|scope| scope.as_str())).try_map(named)
}

fn days(text: &str) -> Result<i32, &'static str> {
    let days = text.strip_suffix('d').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).and_then(|digits| digits.parse().ok());
    days.filter(|days| (1..=365).contains(days)).ok_or("it must be a number of days from 1d to 365d")
}

impl Create {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let mut scopes = if self.scopes.is_empty() { vec![Scope::SessionsRead, Scope::SessionsWrite] } else { self.scopes.clone() };
        scopes.sort_unstable();
        scopes.dedup();
        let body = CreateToken { name: self.name.clone(), scopes, expires_in_days: self.expires_in };
        let created = client.create_token(&context.ui, &body).await?;
        let created = Created::from(created);
        // Alone on stdout, for TOKEN=$(alpine token create ...); what it is stands beside it.
        context.ui.answer(&created);
        context.ui.info(&created.about(context.ui.error_style()));
        if !context.ui.json() {
            context.ui.warn("this is the only time that the token is shown: keep it where secrets are kept");
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Created {
    token_id: alpine_api::TokenId,
    token: String,
    name: String,
    scopes: Vec<Word<Scope>>,
    owner_principal_id: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<wire::CreatedToken> for Created {
    fn from(created: wire::CreatedToken) -> Self {
        let wire::CreatedToken { token, about } = created;
        let wire::Token { token_id, name, scopes, owner_principal_id, created_at, expires_at, .. } = about;
        Self { token_id, token, name, scopes, owner_principal_id, created_at, expires_at }
    }
}

impl Created {
    fn about(&self, style: Style) -> String {
        let scopes = self.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let rows = [
            ("id", Some(self.token_id.to_string())),
            ("name", Some(self.name.clone())),
            ("scopes", Some(scopes)),
            ("expires", Some(time(self.expires_at))),
        ];
        fields(&rows, style)
    }
}

impl Answer for Created {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        crate::ui::clean(&self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, token};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let created = Created::from(wire::CreatedToken { token: "alpine_pat_s3cr3t".to_owned(), about: token(1) });
        insta::assert_snapshot!("create_json", json_of(&created));
        assert_eq!(people_of(&created), "alpine_pat_s3cr3t");
        insta::assert_snapshot!("create_people", created.about(Style::default()));
    }

    #[test]
    fn an_expiry_is_a_number_of_days() {
        assert_eq!((days("1d"), days("90d"), days("365d")), (Ok(1), Ok(90), Ok(365)));
        for bad in ["", "d", "0d", "366d", "-1d", "+1d", "90", "1.5d", "90 d", "9999999999999d", "12w"] {
            assert!(days(bad).is_err(), "{bad}");
        }
    }
}
