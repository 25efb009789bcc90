//! `alpine tenant`: teams, and how much they may use.

mod create;
mod list;
mod set;
mod show;

use std::str::FromStr;

use alpine_api::lifetime_shown;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::lifetime;
use crate::{
    Context,
    error::CliError,
    ui::{Answer, Style, fields, time},
};

/// See tenants and set their limits (operators, administrators)
#[derive(Debug, Args)]
pub struct Tenant {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(visible_alias = "ls")]
    List(list::List),
    Show(show::Show),
    Create(create::Create),
    Set(set::Set),
}

impl Tenant {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            Command::List(list) => list.run(context).await,
            Command::Show(show) => show.run(context).await,
            Command::Create(create) => create.run(context).await,
            Command::Set(set) => set.run(context).await,
        }
    }
}

/// A number, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<i32>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "none" {
            return Ok(Self(None));
        }
        let number = text.parse().ok().filter(|most: &i32| *most >= 0);
        number.map(|most| Self(Some(most))).ok_or("it must be a number from 0, or none")
    }
}

/// A time in seconds, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound(Option<i32>);

impl FromStr for Bound {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "none" { Ok(Self(None)) } else { lifetime::parse(text).map(|most| Self(Some(most))) }
    }
}

/// The limits as options.
#[derive(Debug, Clone, Copy, Args)]
struct Limits {
    /// Sessions that are not final, in the whole tenant
    #[arg(long, value_name = "N|none", allow_hyphen_values = true)]
    max_sessions: Option<Limit>,
    /// The same for each of its principals
    #[arg(long, value_name = "N|none", allow_hyphen_values = true)]
    max_sessions_per_principal: Option<Limit>,
    /// Operations in flight, in the whole tenant
    #[arg(long, value_name = "N|none", allow_hyphen_values = true)]
    max_operations: Option<Limit>,
    /// The same for each of its principals
    #[arg(long, value_name = "N|none", allow_hyphen_values = true)]
    max_operations_per_principal: Option<Limit>,
    /// Memory of all its sessions that are not final, by their classes, in MB
    #[arg(long, value_name = "MB|none", allow_hyphen_values = true)]
    max_memory_mb: Option<Limit>,
    /// CPUs likewise, in thousandths
    #[arg(long, value_name = "N|none", allow_hyphen_values = true)]
    max_cpu_millis: Option<Limit>,
    /// Disk likewise, in MB
    #[arg(long, value_name = "MB|none", allow_hyphen_values = true)]
    max_disk_mb: Option<Limit>,
    /// The longest lifetime of a session, as in 90m, 8h or 2d
    #[arg(long, value_name = "TIME|none", allow_hyphen_values = true)]
    max_lifetime: Option<Bound>,
    /// The longest idle timeout, likewise
    #[arg(long, value_name = "TIME|none", allow_hyphen_values = true)]
    max_idle_timeout: Option<Bound>,
}

/// `.` and `..` mean something else in an address, whatever is done to them.
fn tenant_id(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() || matches!(text, "." | "..") { Err("it must be a tenant's id") } else { Ok(text.to_owned()) }
}

/// A tenant as it is shown.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Shown(alpine_api::Tenant);

impl Answer for Shown {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let alpine_api::Tenant { tenant_id, created_at, quotas, usage } = &self.0;
        let sized = |used: i64, limit: Option<i32>| (used > 0 || limit.is_some()).then(|| of(used, limit));
        let longest = |limit: Option<i32>| limit.map(|most| format!("at most {}", lifetime_shown(most)));
        let rows = [
            ("tenant", Some(tenant_id.clone())),
            ("created", Some(time(*created_at))),
            ("active sessions", Some(of(usage.active_sessions, quotas.max_active_sessions))),
            ("  for each principal", Some(most(quotas.max_active_sessions_per_principal))),
            ("operations in flight", Some(of(usage.operations, quotas.max_operations))),
            ("  for each principal", Some(most(quotas.max_operations_per_principal))),
            ("memory in MB", sized(usage.memory_mb, quotas.max_memory_mb)),
            ("CPUs in thousandths", sized(usage.cpu_millis, quotas.max_cpu_millis)),
            ("disk in MB", sized(usage.disk_mb, quotas.max_disk_mb)),
            ("lifetime", longest(quotas.max_lifetime_seconds)),
            ("idle timeout", longest(quotas.max_idle_seconds)),
        ];
        fields(&rows, style)
    }
}

/// `3 of 10`, or `3` where there is no limit.
fn of(used: i64, most: Option<i32>) -> String {
    most.map_or_else(|| used.to_string(), |most| format!("{used} of {most}"))
}

fn most(limit: Option<i32>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |most| format!("at most {most}"))
}

#[cfg(test)]
mod tests {
    use alpine_api::{TenantQuotas, TenantUsage};

    use super::*;
    use crate::testing::{at, json_of, people_of};

    /// A tenant with some limits.
    pub fn acme() -> alpine_api::Tenant {
        alpine_api::Tenant {
            tenant_id: "acme".to_owned(),
            created_at: at("2026-11-22T10:00:00Z"),
            quotas: TenantQuotas {
                max_active_sessions: Some(10),
                max_operations_per_principal: Some(2),
                max_memory_mb: Some(65_536),
                max_lifetime_seconds: Some(28_800),
                ..TenantQuotas::default()
            },
            usage: TenantUsage { active_sessions: 3, operations: 1, memory_mb: 9216, cpu_millis: 0, disk_mb: 24_576 },
        }
    }

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        insta::assert_snapshot!("tenant_json", json_of(&Shown(acme())));
        insta::assert_snapshot!("tenant_people", people_of(&Shown(acme())));
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("none".parse(), Ok(Limit(None)));
        assert_eq!("0".parse(), Ok(Limit(Some(0))));
        for bad in ["", "-1", "x", "None", "2147483648", "1.5"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bound_is_a_time_or_none() {
        assert_eq!(["none".parse(), "8h".parse(), "90m".parse()], [Ok(Bound(None)), Ok(Bound(Some(28_800))), Ok(Bound(Some(5_400)))]);
        for bad in ["", "0", "-8h", "59s", "8", "None"] {
            assert!(bad.parse::<Bound>().is_err(), "{bad}");
        }
    }
}
