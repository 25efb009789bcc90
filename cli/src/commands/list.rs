//! `alpine list`: the sessions that are active or were lately.

mod table;

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::{Args, builder::PossibleValuesParser};
use serde::Serialize;

use crate::{
    Context,
    client::{Client, ClientError, ListQuery, Patience},
    error::CliError,
    ui::{Answer, Style},
    wait::LOST,
    wire::{SessionSummary, Word},
};

/// As many as the server gives at once.
const PAGE: u32 = 200;
const FOR_PEOPLE: u32 = 50;
const MOST: u32 = 10_000;
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is seen to that an answer is missing.
const LOOK: Duration = Duration::from_secs(1);

/// List active and recent sessions, newest first
///
/// Your own sessions that are active, and those that ended within 24 hours. What does not fit a narrow terminal is cut; the
/// session's id never is.
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
    /// Show it again whenever something changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// Show URLs and owners, and cut nothing
    #[arg(long)]
    wide: bool,
}

fn limit(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| (1..=MOST).contains(n)).ok_or_else(|| format!("it must be a number from 1 to {MOST}"))
}

impl List {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        if self.watch {
            return tokio::select! {
                // To stop watching is the ordinary end of it.
                Ok(()) = tokio::signal::ctrl_c() => Ok(()),
                result = self.watch(context, &client) => result,
            };
        }
        let (rows, more) = self.rows(context, &client, Patience::Ask).await?;
        let limit = rows.rows.len();
        context.ui.answer(&rows);
        if more && self.limit.is_none() {
            context.ui.info(&format!("There are more than {limit}: see them with --limit N."));
        }
        Ok(())
    }

    /// The sessions, and whether there are more of them.
    async fn rows(&self, context: &Context, client: &Client, patience: Patience) -> Result<(Rows, bool), ClientError> {
        let limit = self.limit.unwrap_or(if context.ui.json() { MOST } else { FOR_PEOPLE });
        let mut query = ListQuery { state: self.state.clone(), owner: self.all_owners.then_some("all"), ..ListQuery::default() };
        let mut rows = Vec::new();
        let mut left = limit;
        loop {
            query.limit = left.min(PAGE);
            let page = client.sessions(&context.ui, &query, patience).await?;
            left = left.saturating_sub(u32::try_from(page.sessions.len()).unwrap_or(u32::MAX));
            let nothing_new = page.sessions.is_empty();
            rows.extend(page.sessions.into_iter().map(Row::from));
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || left == 0 || nothing_new {
                break;
            }
        }
        rows.truncate(limit as usize);
        Ok((Rows { rows, owners: self.all_owners, wide: self.wide }, query.cursor.is_some() && left == 0))
    }

    /// On a terminal it is written over, and its times with it; elsewhere each change is a table, or an array, of its own.
    async fn watch(&self, context: &Context, client: &Client) -> Result<(), CliError> {
        let (mut shown, mut patience) = (None, Patience::Ask);
        while !context.ui.is_closed() {
            let asking = self.rows(context, client, patience);
            let (rows, _) = unless_away(context, shown.as_ref(), asking).await?;
            if context.ui.repaints_results() {
                context.ui.repaint(&rows, None);
            } else if shown.as_ref() != Some(&rows) {
                context.ui.answer_line(&rows);
            }
            shown = Some(rows);
            // It has answered once: what breaks from now on is an interruption.
            patience = Patience::Wait;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// The answer; as long as there is none, that it is missing: on a terminal under what is shown, each second anew, elsewhere once.
async fn unless_away<T>(
    context: &Context,
    shown: Option<&Rows>,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let (mut asking, asked, mut told) = (pin!(asking), Instant::now(), false);
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => {
                if told && answer.is_ok() && !context.ui.repaints_results() {
                    context.ui.info("connected again");
                }
                return answer;
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        let Some(shown) = shown.filter(|_| asked.elapsed() >= LOST) else { continue };
        if context.ui.repaints_results() {
            let foot = format!("no connection for {} s", asked.elapsed().as_secs());
            context.ui.repaint(shown, Some(foot));
        } else if !told {
            context.ui.info("no connection to the server; reconnecting");
        }
        told = true;
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    session_id: SessionId,
    state: Word<SessionState>,
    repo_url: String,
    branch: String,
    updated_at: DateTime<Utc>,
    owner_principal_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    opencode_url: Option<String>,
}

impl From<SessionSummary> for Row {
    fn from(session: SessionSummary) -> Self {
        let SessionSummary { session_id, state, repo_url, branch, updated_at, owner_principal_id, opencode_url } = session;
        Self { session_id, state, repo_url, branch, updated_at, owner_principal_id, opencode_url }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct Rows {
    rows: Vec<Row>,
    /// Whether a person is shown whose they are.
    #[serde(skip)]
    owners: bool,
    #[serde(skip)]
    wide: bool,
}

impl Answer for Rows {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        if self.rows.is_empty() {
            return "No active or recent sessions.".to_owned();
        }
        table::table(self, style, now)
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, process::ExitCode};

    use super::*;
    use crate::{
        args::Parsed,
        config::Environment,
        testing::{Buffer, Run, at, json_of, people_of, session_id},
        ui::{Terminal, Ui},
    };

    pub fn rows(owners: bool) -> Rows {
        let row = |n, state, branch: &str, updated| Row {
            session_id: session_id(n),
            opencode_url: (state == Word::Known(SessionState::Ready)).then(|| "http://127.0.0.1:40001/".to_owned()),
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
        Rows { rows, owners, wide: false }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        insta::assert_snapshot!("list_json", json_of(&rows(false)));
        insta::assert_snapshot!("list_people", people_of(&rows(false)));
        insta::assert_snapshot!("list_people_all_owners", people_of(&rows(true)));
        insta::assert_snapshot!("list_people_wide", people_of(&Rows { wide: true, ..rows(false) }));
    }

    async fn said_of_an_absence(terminal: Terminal, args: &[&str]) -> Run {
        let argv: Vec<OsString> = ["alpine", "list", "--watch"].iter().chain(args).map(OsString::from).collect();
        let (out, err) = (Buffer::default(), Buffer::default());
        let ui = Ui::new(Box::new(out.clone()), Box::new(err.clone()), crate::args::look(&argv), terminal);
        let Parsed::Command(cli) = crate::args::parse(argv) else { panic!("no command") };
        let context = Context::new(ui, Environment::default(), *cli);
        let away = async {
            tokio::time::sleep(Duration::from_millis(6600)).await;
            Ok(())
        };
        unless_away(&context, Some(&rows(false)), away).await.unwrap();
        Run { code: ExitCode::SUCCESS, out: out.text(), err: err.text() }
    }

    #[tokio::test]
    async fn who_watches_is_told_that_the_server_is_away() {
        let terminal = Terminal { stdout: true, repaints: true, columns: Some(100), ..Terminal::default() };
        let (plain, json, shown) = tokio::join!(
            said_of_an_absence(Terminal::default(), &[]),
            said_of_an_absence(Terminal::default(), &["--json"]),
            said_of_an_absence(terminal, &["--no-color"]),
        );
        assert_eq!((plain.out.as_str(), plain.err.as_str()), ("", "no connection to the server; reconnecting\nconnected again\n"));
        assert_eq!((json.out.as_str(), json.err.as_str()), ("", ""));
        let seconds: Vec<&str> = shown.out.lines().filter(|line| line.starts_with("no connection for ")).collect();
        assert_eq!(seconds.first(), Some(&"no connection for 5 s"), "{shown:?}");
        assert_eq!((seconds.len(), shown.err.as_str()), (2, ""), "each second anew: {shown:?}");
    }

    #[test]
    fn what_is_written_over_is_cut_once() {
        let terminal = Terminal { stdout: true, repaints: true, columns: Some(100), ..Terminal::default() };
        let (out, look) = (Buffer::default(), crate::args::Look { no_color: true, ..crate::args::Look::default() });
        let ui = Ui::new(Box::new(out.clone()), Box::new(Buffer::default()), look, terminal);
        ui.repaint(&rows(false), None);
        let lines: Vec<String> = out.text().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        for line in &lines[1..] {
            assert!(crate::ui::width(line) <= 99 && line.ends_with("org/repo") && line.matches('…').count() <= 2, "{line}");
        }
    }

    #[test]
    fn no_sessions_are_said_in_words_and_as_an_empty_array() {
        let none = Rows { rows: Vec::new(), owners: true, wide: true };
        assert_eq!(json_of(&none), "[]");
        assert_eq!(people_of(&none), "No active or recent sessions.");
    }
}
