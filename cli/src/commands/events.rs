//! `alpine events`: what has happened to a session.

use std::ffi::OsString;

use alpine_api::{EventKind, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::{
    Context,
    client::{Client, Feed, Patience},
    complete,
    error::CliError,
    ui::{Answer, Style, ago, clean, table},
    wire::{self, Word},
};

use super::{follow::Teller, session_id};

/// Show what has happened to a session, oldest first
///
/// Every change of its state, and between them how far git and the installer have come. With --follow, as it happens: over
/// lost connections and restarts of the server each event comes once and in its order.
#[derive(Debug, Args)]
pub struct Events {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions))]
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
        let (after, last_state) = say_all(context, client, session, self.after).await?;
        let state = match last_state {
            Some(state) => state,
            None => client.session(&context.ui, session, Patience::Wait).await?.state,
        };
        if rests(&state) {
            // What has led there may have happened in between.
            say_all(context, client, session, after).await?;
            return Ok(());
        }
        let mut feed = Feed::<wire::Event>::new(client, &context.ui, session, after);
        let mut teller = Teller::new(&context.ui, &feed);
        while !context.ui.is_closed() {
            match teller.next(&mut feed).await? {
                Some(event) => {
                    let rested = event.kind != Word::Known(EventKind::Progress) && rests(&event.to_state);
                    context.ui.answer_line(&Event(event));
                    if rested {
                        break;
                    }
                }
                // Pages do not say that nothing more comes.
                None if feed.is_paged() => {
                    if rests(&client.session(&context.ui, session, Patience::Wait).await?.state) {
                        say_all(context, client, session, feed.after()).await?;
                        break;
                    }
                }
                None => break,
            }
        }
        Ok(())
    }
}

/// Tells all that there is after one; the last one's number, and the state after it.
async fn say_all(
    context: &Context,
    client: &Client,
    session: SessionId,
    after: i64,
) -> Result<(i64, Option<Word<SessionState>>), CliError> {
    let (mut after, mut state, mut patience) = (after, None, Patience::Ask);
    while let Some((events, next)) = page(context, client, session, after, patience).await? {
        // It has answered: what breaks from now on is an interruption.
        (after, patience) = (next, Patience::Wait);
        state = events.last().map(|event| event.to_state.clone());
        events.into_iter().for_each(|event| context.ui.answer_line(&Event(event)));
    }
    Ok((after, state))
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

impl Event {
    /// Of progress its phase, within the state.
    fn what(&self) -> String {
        match &self.0.phase {
            Some(phase) if self.0.kind == Word::Known(EventKind::Progress) => format!("  {phase}"),
            _ => self.0.to_state.to_string(),
        }
    }

    fn why(&self) -> String {
        let percent = self.0.percent.map(|percent| format!(" ({percent}%)")).unwrap_or_default();
        format!("{}{percent}", self.0.reason)
    }
}

impl Answer for Event {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        let wire::Event { seq, at, actor, .. } = &self.0;
        let state = clean(&self.what());
        format!("{seq:>4}  {}  {state:<19}  {}  {}", at.format("%H:%M:%S%.3f"), clean(actor), clean(&self.why())).trim_end().to_owned()
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
        let row = |event: &Event| {
            let time = format!("{} ({})", event.0.at.format("%Y-%m-%d %H:%M:%S"), ago(event.0.at, now));
            [event.0.seq.to_string(), time, event.what(), event.0.actor.clone(), event.why()]
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
