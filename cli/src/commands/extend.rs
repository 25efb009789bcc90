//! `alpine extend`: keep a session for longer.

use std::ffi::OsString;

use alpine_api::{ExtendSession, SessionId, SessionState};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use crate::{
    Context, complete,
    error::CliError,
    ui::{Answer, Style, fields, time},
    wire::{Session, Word},
};

use super::{lifetime, session_id};

/// Keep a session for longer
///
/// A session with a bounded lifetime is stopped when it is over, as by alpine down. This moves the end to
/// so long from now on, never to an earlier time; a session without an end stays without one. To a
/// session that is stopped when nobody uses it, this is a use.
#[derive(Debug, Args)]
pub struct Extend {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::ready_sessions))]
    session: OsString,
    /// For how long from now on, as in 90m, 8h or 2d [default: as long as it was given at first]
    #[arg(long = "for", value_name = "TIME", value_parser = lifetime::parse)]
    lifetime: Option<i32>,
}

impl Extend {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session = session_id(&self.session)?;
        let extended = client.extend(&context.ui, session, &ExtendSession { lifetime_seconds: self.lifetime }).await?;
        context.ui.answer(&Extended::from(extended));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Extended {
    session_id: SessionId,
    state: Word<SessionState>,
    expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_at: Option<DateTime<Utc>>,
}

impl From<Session> for Extended {
    fn from(session: Session) -> Self {
        Self { session_id: session.session_id, state: session.state, expires_at: session.expires_at, idle_at: session.idle_at }
    }
}

impl Extended {
    /// A `down` may have come in between.
    fn expires(&self) -> Option<String> {
        let free = || (self.state == Word::Known(SessionState::Ready)).then(|| "never: its lifetime is not bounded".to_owned());
        self.expires_at.map(time).or_else(free)
    }
}

impl Answer for Extended {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let rows = [
            ("session", Some(self.session_id.to_string())),
            ("state", Some(self.state.to_string())),
            ("expires", self.expires()),
            ("unused", self.idle_at.map(|at| format!("stopped at {} if nobody uses it", time(at)))),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, json_of, people_of, session};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let extended = Extended::from(Session { expires_at: Some(at("2026-11-22T19:00:00Z")), ..session() });
        insta::assert_snapshot!("extend_json", json_of(&extended));
        insta::assert_snapshot!("extend_people", people_of(&extended));
        let idle = Session { idle_at: Some(at("2026-11-22T12:20:00Z")), ..session() };
        assert!(people_of(&Extended::from(idle)).contains("stopped at 2026-11-22 12:20"));
        let stopping = Session { state: Word::Known(SessionState::Stopping), ..session() };
        assert!(!people_of(&Extended::from(stopping)).contains("expires"));
        insta::assert_snapshot!("extend_without_end_people", people_of(&Extended::from(session())));
    }
}
