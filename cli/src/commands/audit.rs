//! `alpine audit`: who did what to what is not theirs, and whether the log of it is whole.

mod chain;

use alpine_api::AuditEntry;
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

use self::chain::{Chain, Head};
use crate::{
    Context,
    client::Client,
    error::CliError,
    ui::{Answer, Style, table},
};

const PAGE: u32 = 500;
const FOR_PEOPLE: u32 = 100;
const MOST: u32 = 100_000;

/// Show the audit log, oldest first, or verify it (administrators, operators)
///
/// Every entry carries the digest of the one before it. `--verify` reads the whole log and computes all of them again; it
/// ends with the number and hash of the last entry. Keep those where the control plane cannot reach, and give them as
/// `--head` the next time: then also a log that was cut off or written anew is found.
#[derive(Debug, Args)]
pub struct Audit {
    /// Read it from the first entry to the last and check that it is whole
    #[arg(long, conflicts_with_all = ["since", "limit"])]
    verify: bool,
    /// With --verify: an entry that was noted earlier and must still be there
    #[arg(long, value_name = "SEQ:HASH", requires = "verify")]
    head: Option<Head>,
    /// Only what came after this entry
    #[arg(long, value_name = "SEQ", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    since: i64,
    /// Whose log (operators) [default: your own tenant's]
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// At most so many [default: 100; with --json all, up to 100000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST)))]
    limit: Option<u32>,
}

impl Audit {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        if self.verify { self.check(context, &client).await } else { self.show(context, &client).await }
    }

    async fn show(&self, context: &Context, client: &Client) -> Result<(), CliError> {
        let limit = self.limit.unwrap_or(if context.ui.json() { MOST } else { FOR_PEOPLE });
        let (mut entries, mut after, mut left) = (Vec::new(), self.since, limit);
        let more = loop {
            let asked = left.min(PAGE);
            let page = client.audit(&context.ui, self.tenant.as_deref(), after, asked).await?;
            let got = u32::try_from(page.entries.len()).unwrap_or(u32::MAX);
            left = left.saturating_sub(got);
            after = page.next_after;
            entries.extend(page.entries);
            // To read it may itself be an entry: what is asked for again would never end.
            if got < asked || left == 0 {
                break got >= asked;
            }
        };
        context.ui.answer(&Entries(entries));
        if more && self.limit.is_none() {
            context.ui.warn(&format!("there may be more: see them with --since {after}."));
        }
        Ok(())
    }

    async fn check(&self, context: &Context, client: &Client) -> Result<(), CliError> {
        let mut chain = Chain::new(self.tenant.clone(), self.head.clone());
        loop {
            let page = client.audit(&context.ui, self.tenant.as_deref(), chain.entries(), PAGE).await?;
            for entry in &page.entries {
                chain.add(entry).map_err(|cause| CliError::Audit { cause })?;
            }
            if page.entries.len() < PAGE as usize {
                break;
            }
        }
        context.ui.answer(&chain.end().map_err(|cause| CliError::Audit { cause })?);
        Ok(())
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Entries(Vec<AuditEntry>);

impl Answer for Entries {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        if self.0.is_empty() {
            return "No entries.".to_owned();
        }
        let row = |entry: &AuditEntry| {
            let foreign = entry.actor_tenant != entry.tenant;
            let actor = if foreign { format!("{} of {}", entry.actor, entry.actor_tenant) } else { entry.actor.clone() };
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            [
                entry.seq.to_string(),
                entry.at.format("%Y-%m-%d %H:%M:%S").to_string(),
                actor,
                entry.action.clone(),
                entry.outcome.as_str().to_owned(),
                text(&entry.target),
                text(&entry.owner),
                text(&entry.reason),
            ]
        };
        let rows: Vec<[String; 8]> = self.0.iter().map(row).collect();
        table(["#", "TIME (UTC)", "ACTOR", "ACTION", "OUTCOME", "TARGET", "OWNER", "REASON"], &rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::{chain::tests::log, *};
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let entries = Entries(log());
        insta::assert_snapshot!("audit_json", json_of(&entries));
        insta::assert_snapshot!("audit_people", people_of(&entries));
        assert_eq!(people_of(&Entries(Vec::new())), "No entries.");
    }
}
