//! `alpine unshare`: a share, taken back.

use std::ffi::OsString;

use alpine_api::{SessionId, ShareId};
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::session_id;
use crate::{
    Context, complete,
    error::CliError,
    ui::{Answer, Style},
};

/// Take a share back
///
/// Its link lets nobody in from now on, and whoever came by it is put out within seconds.
#[derive(Debug, Args)]
pub struct Unshare {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions))]
    session: OsString,
    /// The share's id, shr_…, as alpine shares shows it
    #[arg(value_name = "share-id")]
    share: OsString,
}

impl Unshare {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let session_id = session_id(&self.session)?;
        let share_id = self.share.to_str().and_then(|text| text.parse().ok()).ok_or(CliError::NoSuchShare)?;
        client.remove_share(&context.ui, session_id, share_id).await?;
        context.ui.answer(&Unshared { session_id, share_id, removed: true });
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Unshared {
    session_id: SessionId,
    share_id: ShareId,
    removed: bool,
}

impl Answer for Unshared {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        format!("Took back {}.", self.share_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, session_id, share};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let unshared = Unshared { session_id: session_id(1), share_id: share(1).share_id, removed: true };
        insta::assert_snapshot!("unshare_json", json_of(&unshared));
        insta::assert_snapshot!("unshare_people", people_of(&unshared));
    }
}
