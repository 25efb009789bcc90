//! `alpine shares`: with whom a session is shared.

use std::ffi::OsString;

use alpine_api::Share;
use chrono::{DateTime, Utc};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde::Serialize;

use super::{session_id, share::whom};
use crate::{
    Context, complete,
    error::CliError,
    ui::{Answer, Style, table, time},
};

/// List the shares of a session
///
/// Those that are good now, newest first; never the links.
#[derive(Debug, Args)]
pub struct Shares {
    /// The session
    #[arg(value_name = "session-id", add = ArgValueCompleter::new(complete::sessions))]
    session: OsString,
}

impl Shares {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let rows = client.shares(&context.ui, session_id(&self.session)?).await?.shares;
        context.ui.answer(&Rows(rows));
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Rows(Vec<Share>);

impl Answer for Rows {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "Not shared.".to_owned();
        }
        let cells = |share: &Share| {
            let what = share.port.map_or_else(|| "page".to_owned(), |port| format!("port {port}"));
            [share.share_id.to_string(), whom(&share.with, share.public), what, time(share.expires_at), share.created_by.clone()]
        };
        let rows: Vec<[String; 5]> = self.0.iter().map(cells).collect();
        table(["SHARE", "WITH", "WHAT", "EXPIRES", "BY"], &rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of, share};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let public = Share { with: Vec::new(), public: true, port: None, ..share(2) };
        let rows = Rows(vec![share(1), public]);
        insta::assert_snapshot!("shares_json", json_of(&rows));
        insta::assert_snapshot!("shares_people", people_of(&rows));
        assert_eq!((json_of(&Rows(Vec::new())).as_str(), people_of(&Rows(Vec::new())).as_str()), ("[]", "Not shared."));
    }
}
