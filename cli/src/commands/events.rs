//! `alpine events`: what has happened to a session.

use std::{ffi::OsString, time::Duration};

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    Context,
    client::{Client, Patience},
    error::CliError,
    ui::{Answer, Style, ago, clean, table},
    wire::{self, Word},
};

use super::session_id;

const PAUSE: Duration = Duration::from_millis(500);

/// Show what has happened to a session, oldest first
#[derive(Debug, Args)]
pub struct Events {
    /// The session
    #[arg(value_name = "session-id")]
    session: OsString,
    /// Only what came after this event
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = sequence)]
    after: i64,
    /// Go on until the session rests: ready, stopped or failed
    #[arg(short, long)]
    follow: bool,
}

fn sequence(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|n| *n >= 0).ok_or("it must be a number from 0")
}

impl Events {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = session_id(&self.session)?;
        if !self.follow {
            let mut events = Vec::new();
            let mut after = self.after;
            while let Some((page, next)) = page(context, &client, session, after, Patience::Ask).await? {
                events.extend(page.into_iter().map(Event));
                after = next;
            }
            context.ui.answer(&History(events));
            return Ok(());
        }
        tokio::select! {
            // To stop following is the ordinary end of it.
            Ok(()) = tokio::signal::ctrl_c() => Ok(()),
            result = self.follow(context, &client, session) => result,
        }
    }

    async fn follow(&self, context: &Context, client: &Client, session: SessionId) -> Result<(), CliError> {
        let mut after = self.after;
        let mut patience = Patience::Ask;
        let mut last_state = None;
        loop {
            if let Some((events, next)) = page(context, client, session, after, patience).await? {
                after = next;
                last_state = events.last().map(|event| event.to_state.clone());
                for event in events {
                    context.ui.answer_line(&Event(event));
                }
            } else {
                let state = match last_state.take() {
                    Some(state) => state,
                    None => client.session(&context.ui, session, patience).await?.state,
                };
                if rests(&state) || context.ui.is_closed() {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
            // It has answered once: what breaks from now on is an interruption.
            patience = Patience::Wait;
        }
    }
}

/// The events after one and where the next page begins; none at the end.
async fn page(
    context: &Context,
    client: &Client,
    session: SessionId,
    after: i64,
    patience: Patience,
) -> Result<Option<(Vec<wire::Event>, i64)>, CliError> {
    let page = client.events(&context.ui, session, after, patience).await?;
    let next = page.next_after.max(page.events.last().map_or(after, |event| event.seq));
    Ok((!page.events.is_empty() && next > after).then_some((page.events, next)))
}

/// Whether nothing more happens to a session in this state until someone asks for it.
fn rests(state: &Word<SessionState>) -> bool {
    use SessionState as S;
    let resting = |state| match state {
        S::Ready | S::Failed | S::CleanupFailed | S::CloseFailed | S::PersistFailed | S::StoppedUnpersisted | S::Stopped => true,
        S::Requested | S::Provisioning | S::RepoSyncing | S::Installing | S::Failing | S::Stopping | S::Persisting => false,
    };
    state.known().is_some_and(resting)
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Event(wire::Event);

impl Answer for Event {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        let wire::Event { seq, to_state, at, actor, reason, .. } = &self.0;
        let state = clean(&to_state.to_string());
        format!("{seq:>4}  {}  {state:<19}  {}  {}", at.format("%H:%M:%S%.3f"), clean(actor), clean(reason)).trim_end().to_owned()
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct History(Vec<Event>);

impl Answer for History {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No events.".to_owned();
        }
        let row = |Event(event): &Event| {
            let time = format!("{} ({})", event.at.format("%Y-%m-%d %H:%M:%S"), ago(event.at, now));
            [event.seq.to_string(), time, event.to_state.to_string(), event.actor.clone(), event.reason.clone()]
        };
        let rows: Vec<[String; 5]> = self.0.iter().map(row).collect();
        table(["#", "TIME (UTC)", "STATE", "ACTOR", "REASON"], &rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, transitions};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let history = History(transitions().into_iter().map(Event).collect());
        insta::assert_snapshot!("events_json", json_of(&history));
        insta::assert_snapshot!("events_people", people_of(&history));
        let lines: Vec<String> = history.0.iter().map(people_of).collect();
        insta::assert_snapshot!("events_follow_people", lines.join("\n"));
        assert_eq!(people_of(&History(Vec::new())), "No events.");
    }
}
