//! `alpine list`: the sessions that are active or were lately.

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::{Args, builder::PossibleValuesParser};
use serde::Serialize;

use crate::{
    Context,
    client::ListQuery,
    error::CliError,
    ui::{Answer, Style, ago, table},
    wire::{SessionSummary, Word},
};

const PAGE: u32 = 100;
const FOR_PEOPLE: u32 = 50;
const MOST: u32 = 10_000;

/// List active and recent sessions, newest first
///
/// Your own sessions that are active, and those that ended within 24 hours.
#[derive(Debug, Args)]
pub struct List {
    /// The sessions of everybody in the tenant (administrators)
    #[arg(long)]
    all_owners: bool,
    /// Only sessions in this state
    #[arg(long, value_name = "S", hide_possible_values = true, value_parser = PossibleValuesParser::new(SessionState::ALL.iter().map(|state| state.as_str())))]
    state: Option<String>,
    /// At most so many [default: 50; with --json all, up to 10000]
    #[arg(long, value_name = "N", value_parser = limit)]
    limit: Option<u32>,
}

fn limit(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or_else(|| format!("it must be a number from 1 to {MOST}"))
}

impl List {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let limit = self.limit.unwrap_or(if context.ui.json() { MOST } else { FOR_PEOPLE });
        let mut query = ListQuery { state: self.state.clone(), owner: self.all_owners.then_some("all"), ..ListQuery::default() };
        let mut rows = Vec::new();
        let mut left = limit;
        loop {
            query.limit = left.min(PAGE);
            let page = client.sessions(&context.ui, &query).await?;
            left = left.saturating_sub(u32::try_from(page.sessions.len()).unwrap_or(u32::MAX));
            let nothing_new = page.sessions.is_empty();
            rows.extend(page.sessions.into_iter().map(Row::from));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || left == 0 || nothing_new {
                break;
            }
        }
        rows.truncate(limit as usize);
        context.ui.answer(&Rows { rows, owners: self.all_owners });
        if query.cursor.is_some() && left == 0 && self.limit.is_none() {
            context.ui.info(&format!("There are more than {limit}: see them with --limit N."));
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Row {
    session_id: SessionId,
    state: Word<SessionState>,
    repo_url: String,
    branch: String,
    updated_at: DateTime<Utc>,
    owner_principal_id: String,
}

impl From<SessionSummary> for Row {
    fn from(session: SessionSummary) -> Self {
        let SessionSummary { session_id, state, repo_url, branch, updated_at, owner_principal_id } = session;
        Self { session_id, state, repo_url, branch, updated_at, owner_principal_id }
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

impl Answer for Rows {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        if self.rows.is_empty() {
            return "No active or recent sessions.".to_owned();
        }
        let cells = |row: &Row| {
            let Row { session_id, state, repo_url, branch, updated_at, owner_principal_id } = row;
            let [id, state, updated] = [session_id.to_string(), state.to_string(), ago(*updated_at, now)];
            [id, state, updated, branch.clone(), repo_url.clone(), owner_principal_id.clone()]
        };
        let rows: Vec<[String; 6]> = self.rows.iter().map(cells).collect();
        if self.owners {
            return table(["SESSION", "STATE", "UPDATED", "BRANCH", "REPOSITORY", "OWNER"], &rows, style);
        }
        let own: Vec<[String; 5]> =
            rows.into_iter().map(|[id, state, updated, branch, repo, _]| [id, state, updated, branch, repo]).collect();
        table(["SESSION", "STATE", "UPDATED", "BRANCH", "REPOSITORY"], &own, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of, session_id};

    fn rows(owners: bool) -> Rows {
        let row = |n, state, branch: &str, updated| Row {
            session_id: session_id(n),
            state,
            repo_url: "https://github.com/org/repo.git".to_owned(),
            branch: branch.to_owned(),
            updated_at: at(updated),
            owner_principal_id: "tester".to_owned(),
        };
        let rows = vec![
            row(1, Word::Known(SessionState::Ready), "main", "2026-11-22T11:59:58Z"),
            row(2, Word::Known(SessionState::RepoSyncing), "feature/longer-name", "2026-11-22T11:57:00Z"),
            row(3, Word::Other("defrosting".to_owned()), "main", "2026-11-21T12:00:00Z"),
        ];
        Rows { rows, owners }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        insta::assert_snapshot!("list_json", json_of(&rows(false)));
        insta::assert_snapshot!("list_people", people_of(&rows(false)));
        insta::assert_snapshot!("list_people_all_owners", people_of(&rows(true)));
    }

    #[test]
    fn no_sessions_are_said_in_words_and_as_an_empty_array() {
        let none = Rows { rows: Vec::new(), owners: true };
        assert_eq!(json_of(&none), "[]");
        assert_eq!(people_of(&none), "No active or recent sessions.");
    }
}
