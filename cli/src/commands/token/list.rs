//! `alpine token list`: what there is, and what was used when.

use alpine_api::{Scope, TokenId};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    client::ListQuery,
    error::CliError,
    ui::{Answer, Style, ago, table},
    wire::{self, Word},
};

const PAGE: u32 = 100;
const MOST: usize = 10_000;

/// List tokens, newest first
///
/// Your own, expired and revoked ones too; never the secrets.
#[derive(Debug, Args)]
pub struct List {
    /// The tokens of everybody in the tenant (administrators)
    #[arg(long)]
    all_owners: bool,
}

impl List {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let mut query = ListQuery { limit: PAGE, owner: self.all_owners.then_some("all"), ..ListQuery::default() };
        let mut rows = Vec::new();
        loop {
            let page = client.tokens(&context.ui, &query).await?;
            let nothing_new = page.tokens.is_empty();
            rows.extend(page.tokens.into_iter().map(Row::from));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || nothing_new || rows.len() >= MOST {
                break;
            }
        }
        let cut = query.cursor.is_some() && rows.len() >= MOST;
        context.ui.answer(&Rows { rows, owners: self.all_owners });
        if cut {
            context.ui.warn(&format!("there are more than {MOST} tokens: the oldest are not shown"));
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Row {
    token_id: TokenId,
    name: String,
    scopes: Vec<Word<Scope>>,
    owner_principal_id: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<wire::Token> for Row {
    fn from(token: wire::Token) -> Self {
        let wire::Token { token_id, name, scopes, owner_principal_id, created_at, expires_at, last_used_at, revoked_at } = token;
        Self { token_id, name, scopes, owner_principal_id, created_at, expires_at, last_used_at, revoked_at }
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Rows {
    rows: Vec<Row>,
    /// Whether a person is shown whose they are.
    #[serde(skip)]
    owners: bool,
}

impl Row {
    fn standing(&self, now: DateTime<Utc>) -> String {
        let day = self.expires_at.format("%Y-%m-%d");
        match self.revoked_at {
            Some(at) => format!("revoked {}", ago(at, now)),
            None if self.expires_at <= now => format!("expired {day}"),
            None => format!("until {day}"),
        }
    }
}

impl Answer for Rows {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        if self.rows.is_empty() {
            return "No tokens.".to_owned();
        }
        let cells = |row: &Row| {
            let scopes = row.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let used = row.last_used_at.map_or_else(|| "never".to_owned(), |at| ago(at, now));
            [row.token_id.to_string(), row.name.clone(), row.standing(now), used, scopes, row.owner_principal_id.clone()]
        };
        let rows: Vec<[String; 6]> = self.rows.iter().map(cells).collect();
        if self.owners {
            return table(["TOKEN", "NAME", "GOOD", "USED", "SCOPES", "OWNER"], &rows, style);
        }
        let own: Vec<[String; 5]> = rows.into_iter().map(|[id, name, good, used, scopes, _]| [id, name, good, used, scopes]).collect();
        table(["TOKEN", "NAME", "GOOD", "USED", "SCOPES"], &own, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of, token};

    fn rows(owners: bool) -> Rows {
        let good = wire::Token { last_used_at: Some(at("2026-11-22T11:58:00Z")), ..token(1) };
        let scopes = vec![Word::Known(Scope::SessionsRead), Word::Other("sessions:freeze".to_owned())];
        let expired = wire::Token { expires_at: at("2026-11-20T10:00:00Z"), scopes, ..token(2) };
        let revoked = wire::Token { name: "nightly\u{1b}[2J".to_owned(), revoked_at: Some(at("2026-11-22T09:00:00Z")), ..token(3) };
        Rows { rows: [good, expired, revoked].map(Row::from).into(), owners }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        insta::assert_snapshot!("list_json", json_of(&rows(false)));
        insta::assert_snapshot!("list_people", people_of(&rows(false)));
        insta::assert_snapshot!("list_people_all_owners", people_of(&rows(true)));
    }

    #[test]
    fn no_tokens_are_said_in_words_and_as_an_empty_array() {
        let none = Rows { rows: Vec::new(), owners: true };
        assert_eq!((json_of(&none).as_str(), people_of(&none).as_str()), ("[]", "No tokens."));
    }
}
