//! `alpine down`: stop a session and keep its record.

use std::ffi::OsString;

use alpine_api::{DownSession, OperationId, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::{
    Context, complete,
    error::CliError,
    ui::{Answer, Style, fields, time},
    wait,
    wire::{Operation, Word},
};

use super::session_id;

/// Stop a session and keep its record, verified
///
/// Stops the sandbox, stores the session's record, reads it back and compares it; only then is the sandbox
/// destroyed. Doing it twice is doing it once.
#[derive(Debug, Args)]
pub struct Down {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions_to_stop))]
    session: OsString,
    /// Store the record of a session that stopped without it
    #[arg(long)]
    retry_persist: bool,
    /// Kill at once in place of the graceful stop
    #[arg(long)]
    force: bool,
    /// Why, for the session's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Down {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = session_id(&self.session)?;
        let body = DownSession { retry_persist: self.retry_persist, force: self.force, reason: self.reason.clone() };
        let operation = client.down(&context.ui, session, &body).await?;
        let operation = wait::until_done(context, &client, operation).await?;
        context.ui.answer(&Stopped::of(operation));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Stopped {
    session_id: SessionId,
    operation_id: OperationId,
    state: Word<SessionState>,
    durable_object_id: Option<String>,
    persisted_at: Option<DateTime<Utc>>,
    persistence_verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

impl Stopped {
    fn of(operation: Operation) -> Self {
        Self {
            session_id: operation.session_id,
            operation_id: operation.operation_id,
            state: operation.state,
            durable_object_id: operation.durable_object_id,
            persisted_at: operation.persisted_at,
            persistence_verified: operation.persistence_verified,
            next_step: operation.next_step,
        }
    }
}

impl Answer for Stopped {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let stored = self.persisted_at.map(|at| {
            let verified = if self.persistence_verified { "stored and verified" } else { "stored, not verified" };
            format!("{verified} at {}", time(at))
        });
        let rows = [
            ("session", Some(self.session_id.to_string())),
            ("state", Some(self.state.to_string())),
            ("record", stored.or_else(|| Some("none".to_owned()))),
            ("object", self.durable_object_id.clone()),
            ("next", self.next_step.clone()),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, operation, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let done = Operation {
            state: Word::Known(SessionState::Stopped),
            durable_object_id: Some("rec_1".to_owned()),
            persisted_at: Some(at("2026-11-22T11:00:00.123456Z")),
            persistence_verified: true,
            ..operation()
        };
        let stopped = Stopped::of(done.clone());
        insta::assert_snapshot!("down_json", json_of(&stopped));
        insta::assert_snapshot!("down_people", people_of(&stopped));
        let advised = Stopped::of(Operation { next_step: Some("nothing is left to do".to_owned()), ..done });
        insta::assert_snapshot!("down_next_step_json", json_of(&advised));
    }
}
