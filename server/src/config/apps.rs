//! Settings of sessions' own hosts.

use clap::Args;

use crate::domain::apps::AppsDomain;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Apps")]
pub struct AppsArgs {
    /// The domain below which each session has a host of its own, with its port if that is not 443. Unset: they are where they run.
    #[arg(long, env = "ALPINE_APPS_DOMAIN")]
    pub apps_domain: Option<AppsDomain>,
    /// Whether programs that cannot resolve such a host reach a session at `/apps/<its label>/` of the API's host as well. In `dev` they always do.
    #[arg(long, env = "ALPINE_APPS_PATHS", default_value_t = false, action = clap::ArgAction::Set)]
    pub apps_paths: bool,
    /// How long a browser that was let into a session by `alpine open` stays in, in seconds.
    #[arg(long, env = "ALPINE_APPS_COOKIE_SECONDS", default_value_t = 28_800, value_parser = clap::value_parser!(u32).range(10..=604_800))]
    pub apps_cookie_seconds: u32,
}
