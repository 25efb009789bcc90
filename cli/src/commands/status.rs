//! `alpine status`: one session.

use std::ffi::OsString;

use alpine_api::{OperationId, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::{
    Context,
    client::Patience,
    complete,
    error::{CliError, with_where_to_look},
    ui::{Answer, Style, ago, fields, left, time},
    wire::{Failure, Session, Word},
};

use super::session_id;

/// Show one session and what to do next
#[derive(Debug, Args)]
pub struct Status {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions))]
    session: OsString,
}

impl Status {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = client.session(&context.ui, session_id(&self.session)?, Patience::Ask).await?;
        context.ui.answer(&State::from(session));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct State {
    session_id: SessionId,
    state: Word<SessionState>,
    repo_url: String,
    branch: String,
    owner_principal_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_commit_sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    opencode_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    persisted_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    durable_object_id: Option<String>,
    updated_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation_id: Option<OperationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<Failure>,
    next_step: String,
}

impl From<Session> for State {
    fn from(session: Session) -> Self {
        let failed = session.last_error.as_ref().filter(|_| session.state == Word::Known(SessionState::Failed));
        let next_step = match failed {
            Some(error) => with_where_to_look(&error.cause, &session.next_step, session.session_id),
            None => session.next_step,
        };
        Self {
            session_id: session.session_id,
            state: session.state,
            repo_url: session.repo_url,
            branch: session.branch,
            owner_principal_id: session.owner_principal_id,
            target_commit_sha: session.target_commit_sha,
            opencode_url: session.opencode_url,
            ready_at: session.ready_at,
            class: session.class,
            expires_at: session.expires_at,
            used_at: session.used_at,
            idle_at: session.idle_at,
            stopped_at: session.stopped_at,
            persisted_at: session.persisted_at,
            durable_object_id: session.durable_object_id,
            updated_at: session.updated_at,
            operation_id: session.operation_id,
            last_error: session.last_error,
            next_step,
        }
    }
}

impl Answer for State {
    fn for_people(&self, style: Style, now: DateTime<Utc>) -> String {
        let when = |at: DateTime<Utc>| format!("{} ({})", time(at), ago(at, now));
        let rows = [
            ("session", Some(self.session_id.to_string())),
            ("state", Some(self.state.to_string())),
            ("url", self.opencode_url.clone()),
            ("repository", Some(self.repo_url.clone())),
            ("branch", Some(self.branch.clone())),
            ("commit", self.target_commit_sha.clone()),
            ("owner", Some(self.owner_principal_id.clone())),
            ("class", self.class.clone()),
            ("ready", self.ready_at.map(when)),
            ("expires", self.expires_at.map(time)),
            ("used", self.used_at.zip(self.idle_at).map(|(used, end)| idle(used, end, now))),
            ("stopped", self.stopped_at.map(when)),
            ("record", self.durable_object_id.clone()),
            ("persisted", self.persisted_at.map(when)),
            ("updated", Some(when(self.updated_at))),
            ("error", self.last_error.as_ref().map(|error| format!("{} [{}]", error.cause, error.error_code))),
            ("operation", self.operation_id.map(|id| id.to_string())),
            ("next", Some(self.next_step.clone())),
        ];
        fields(&rows, style)
    }
}

/// `10 min ago, stopped in 20 min if nobody uses it`.
fn idle(used: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{}, stopped in {} if nobody uses it", ago(used, now), left(end, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of, session};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let ready = State::from(session());
        insta::assert_snapshot!("status_ready_json", json_of(&ready));
        insta::assert_snapshot!("status_ready_people", people_of(&ready));
        let idle = Session { used_at: Some(at("2026-11-22T11:50:00Z")), idle_at: Some(at("2026-11-22T12:20:00Z")), ..session() };
        insta::assert_snapshot!("status_idle_people", people_of(&State::from(idle)));
        let failed = State::from(Session {
            state: Word::Known(SessionState::Failed),
            opencode_url: None,
            next_step: "try again".to_owned(),
            ready_at: None,
            stopped_at: Some(at("2026-11-22T11:30:00Z")),
            last_error: Some(Failure {
                error_code: Word::Other("ERR_FROM_TOMORROW".to_owned()),
                cause: "fatal:\u{1b}[2J not found".to_owned(),
                next_step: "try again".to_owned(),
                retryable: true,
            }),
            ..session()
        });
        insta::assert_snapshot!("status_failed_json", json_of(&failed));
        insta::assert_snapshot!("status_failed_people", people_of(&failed));
    }
}
