//! One attempt to show a page, which never fails a command.

use std::{process::Stdio, time::Duration};

use alpine_api::SessionId;
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
    if has_own_host(session, opencode_url) { Ok(client.open_session(ui, session, None).await?.url) } else { Ok(opencode_url.to_owned()) }
}

/// The first label of its host is the session's id, with a hyphen where the id has what no host's name may hold.
pub fn has_own_host(session: SessionId, opencode_url: &str) -> bool {
    let label = session.to_string().replace('_', "-");
    let url = Url::parse(opencode_url).ok().filter(|url| url.scheme() == "https");
    url.is_some_and(|url| url.host_str().is_some_and(|host| host.split_once('.').is_some_and(|(first, _)| first == label)))
}

/// Which session a link leads to, and which of its ports.
pub fn app_of(link: &str) -> Option<(SessionId, Option<u16>)> {
    let url = Url::parse(link).ok().filter(|url| url.scheme() == "https")?;
    let label = url.host_str()?.split_once('.')?.0.strip_prefix("ses-")?;
    let (digits, port) = label.split_once("--").map_or((label, None), |(digits, port)| (digits, Some(port)));
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some((format!("ses_{digits}").parse().ok()?, port))
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

    #[test]
    fn a_session_with_a_host_of_its_own_is_told_by_it() {
        let session = crate::testing::session_id(1);
        let label = session.to_string().replace('_', "-");
        assert!(has_own_host(session, &format!("https://{label}.apps.example.com/")));
        assert!(has_own_host(session, &format!("https://{label}.apps.localhost:8443/")));
        for other in [
            "http://127.0.0.1:40123/".to_owned(),
            format!("http://{label}.apps.example.com/"),
            format!("https://{label}/"),
            format!("https://example.com/{label}.apps/"),
            "https://ses-0.apps.example.com/".to_owned(),
        ] {
            assert!(!has_own_host(session, &other), "{other}");
        }
    }

    #[test]
    fn a_link_says_which_session_and_which_port() {
        let session = crate::testing::session_id(1);
        let label = session.to_string().replace('_', "-");
        let link = |label: &str| app_of(&format!("https://{label}.apps.localhost:8443/.alpine/open?share=x.y"));
        assert_eq!((link(&label), link(&format!("{label}--3000"))), (Some((session, None)), Some((session, Some(3000)))));
        for other in ["x", "ses-0", &format!("{label}--"), &format!("{label}--65536"), &format!("x.{label}")] {
            assert_eq!(link(other), None, "{other}");
        }
        assert_eq!(app_of(&session.to_string()), None);
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
