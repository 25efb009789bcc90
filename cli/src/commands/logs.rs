//! `alpine logs`: what git, the installer and the served program said.

use std::ffi::OsString;

use alpine_api::{SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::{follow::Teller, session_id};
use crate::{
    Context,
    client::{Client, Feed, Numbered, Patience},
    complete,
    error::CliError,
    ui::{Answer, Style, clean_lines},
    wire::{LogChunk, LogPage},
};

/// Show what git, the installer and the served program wrote
///
/// The text as it was written, on stdout, without what would steer a terminal. What is old or too much is cut off by the
/// server, the oldest first.
#[derive(Debug, Args)]
pub struct Logs {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions))]
    session: OsString,
    /// Go on until the session is stopped or has failed
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = session_id(&self.session)?;
        if !self.follow {
            return self.show(context, &client, session).await;
        }
        tokio::select! {
            // To stop following is the ordinary end of it.
            Ok(()) = tokio::signal::ctrl_c() => Ok(()),
            result = follow(context, &client, session) => result,
        }
    }

    async fn show(&self, context: &Context, client: &Client, session: SessionId) -> Result<(), CliError> {
        let (mut after, mut chunks) = (0, Vec::new());
        loop {
            let page = page(context, client, session, after).await?;
            let Some(last) = page.chunks.last().filter(|last| last.seq > after) else { break };
            after = last.seq;
            if context.ui.json() {
                chunks.extend(page.chunks.into_iter().map(Chunk));
            } else {
                page.chunks.into_iter().for_each(|chunk| say(context, chunk));
            }
        }
        if context.ui.json() {
            context.ui.answer(&Chunks(chunks));
        } else if after == 0 {
            context.ui.info("Nothing is written yet.");
        }
        Ok(())
    }
}

async fn follow(context: &Context, client: &Client, session: SessionId) -> Result<(), CliError> {
    let mut after = 0;
    // The first answer says whether there is such a session, and a server.
    for chunk in page(context, client, session, after).await?.chunks {
        after = chunk.seq;
        say(context, chunk);
    }
    let mut feed = Feed::<LogChunk>::new(client, &context.ui, session, after);
    let mut teller = Teller::new(&context.ui, &feed);
    while !context.ui.is_closed() {
        match teller.next(&mut feed).await? {
            Some(chunk) => say(context, chunk),
            None if feed.is_paged() => {
                let state = client.session(&context.ui, session, Patience::Wait).await?.state;
                if matches!(state.known(), Some(SessionState::Stopped | SessionState::Failed)) {
                    // What was written last may have come in between.
                    page(context, client, session, feed.after()).await?.chunks.into_iter().for_each(|chunk| say(context, chunk));
                    break;
                }
            }
            None => break,
        }
    }
    Ok(())
}

async fn page(context: &Context, client: &Client, session: SessionId, after: i64) -> Result<LogPage, CliError> {
    let path = format!("v1/sessions/{session}/{}", LogChunk::PATH);
    let page = client.page::<LogChunk>(&context.ui, &path, after, Patience::Ask).await?;
    if after == 0 && page.first_seq.is_some_and(|first| first > 1) {
        context.ui.warn("the beginning of this log is gone: it was too long, or too old");
    }
    Ok(page)
}

fn say(context: &Context, chunk: LogChunk) {
    if context.ui.json() {
        context.ui.answer_line(&Chunk(chunk));
    } else {
        context.ui.text(&clean_lines(&chunk.text));
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Chunk(LogChunk);

impl Answer for Chunk {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        clean_lines(&self.0.text)
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Chunks(Vec<Chunk>);

impl Answer for Chunks {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        self.0.iter().map(|chunk| chunk.for_people(style, now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::LogSource;

    use super::*;
    use crate::{
        testing::{at, json_of, people_of},
        wire::Word,
    };

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let text = "added\t3 packages\n\u{1b}[2Jdone\n".to_owned();
        let chunk = LogChunk { seq: 1, at: at("2026-11-22T10:00:00Z"), source: Word::Known(LogSource::Install), text };
        let chunks = Chunks(vec![Chunk(chunk)]);
        insta::assert_snapshot!("logs_json", json_of(&chunks));
        assert_eq!(people_of(&chunks), "added\t3 packages\n\u{fffd}[2Jdone\n");
    }
}
