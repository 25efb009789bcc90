//! One attempt to show a page, which never fails a command.

use std::{process::Stdio, time::Duration};

use alpine_api::{App, SessionId};
use tokio::process::Command;
use url::Url;

use crate::{
    client::{Client, ClientError},
    config::Environment,
    ui::Ui,
};

const PATIENCE: Duration = Duration::from_secs(3);
#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(not(target_os = "macos"))]
const OPENER: &str = "xdg-open";

/// Where a browser is sent to see a session: its URL, or what lets it in there once, where the session has a host of its own.
pub async fn way_in(client: &Client, ui: &Ui, session: SessionId, opencode_url: &str) -> Result<String, ClientError> {
    let app = App::of(session);
    if App::at(opencode_url) == Some(app) { Ok(client.open_session(ui, app).await?.url) } else { Ok(opencode_url.to_owned()) }
}

/// Not by scripts, nor where it is only to be printed.
pub fn is_wanted(print: bool, env: &Environment) -> bool {
    !print && env.get("CI").is_none()
}

/// Whether a browser took the page. The address came over the network: only web addresses are handed on.
pub async fn open(address: &str, env: &Environment) -> bool {
    let Some(url) = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "https" | "http")) else { return false };
    let Some((program, args)) = command_line(env.get("BROWSER").unwrap_or(OPENER), url.as_str()) else { return false };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // In a group of its own, so that a Ctrl-C here does not close the person's browser.
    #[cfg(unix)]
    command.process_group(0);
    let Ok(mut child) = command.spawn() else { return false };
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        // A browser that stays in the foreground is one that runs.
        Err(_) => true,
    }
}

/// `$BROWSER` may be several, divided by colons, and may say with `%s` where the address goes.
fn command_line(browser: &str, url: &str) -> Option<(String, Vec<String>)> {
    let first = browser.split(':').find(|one| !one.trim().is_empty())?;
    let mut words = first.split_whitespace();
    let program = words.next()?.to_owned();
    let mut args: Vec<String> = words.map(|word| word.replace("%s", url)).collect();
    if !first.contains("%s") {
        args.push(url.to_owned());
    }
    Some((program, args))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_goes_where_the_variable_says() {
        let url = "https://h/x";
        let line = |browser| command_line(browser, url).map(|(program, args)| (program, args.join(" ")));
        assert_eq!(line("xdg-open"), Some(("xdg-open".into(), url.into())));
        assert_eq!(line("firefox --new-tab %s:w3m"), Some(("firefox".into(), format!("--new-tab {url}"))));
        assert_eq!(line(" : "), None);
    }

    #[tokio::test]
    async fn a_browser_that_fails_is_told_and_a_strange_address_is_not_tried() {
        let with = |browser| Environment::of(&[("BROWSER", browser)]);
        assert!(open("https://localhost/", &with("true")).await);
        assert!(!open("https://localhost/", &with("false")).await);
        assert!(!open("https://localhost/", &with("/nonexistent/browser")).await);
        assert!(!open("file:///etc/passwd", &with("true")).await);
    }
}
