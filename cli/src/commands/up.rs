//! `alpine up`: a ready session at a branch's commit.

use std::ffi::{OsStr, OsString};

use alpine_api::{App, Branch, BranchError, OperationId, RepoUrl, RepoUrlError, SessionId, SessionState, UpSession};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    Context, asked_to_end, browser,
    client::Client,
    error::CliError,
    ui::{Answer, Style, fields},
    wait,
    wire::{Operation, Word},
};

use super::lifetime;

/// Make a ready session of a repository's branch
///
/// Clones the branch's commit into a sandbox of its own, installs its dependencies, starts the opencode
/// web app and waits until all of it is verified ready. The repository is read with GITHUB_TOKEN, else
/// GH_TOKEN, else the credentials that the server keeps; with --public, without any.
#[derive(Debug, Args)]
#[command(override_usage = "alpine up <git-repo> --branch <b> [OPTIONS]")]
pub struct Up {
    /// The repository: https://host/path, ssh://git@host/path or git@host:path
    // Neither is required by the parser: what is missing is told by its own error code, in a fixed order.
    #[arg(value_name = "git-repo")]
    pub repo: Option<OsString>,
    /// The branch
    #[arg(long, value_name = "b", allow_hyphen_values = true)]
    pub branch: Option<OsString>,
    /// Name this request: the same name again gives the same session [default: a new one]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    pub client_request_id: Option<String>,
    /// Read the repository without credentials
    #[arg(long)]
    pub public: bool,
    /// Stop it when it has been ready for so long, as in 90m, 8h or 2d
    #[arg(long, value_name = "TIME", value_parser = lifetime::parse)]
    pub max_lifetime: Option<i32>,
    /// Stop it when nobody has used it for so long, as in 30m or 8h
    #[arg(long, value_name = "TIME", value_parser = lifetime::parse)]
    pub idle_timeout: Option<i32>,
    /// What it is made in: one of alpine classes [default: the server's]
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
    /// Do not open the session in a browser
    #[arg(long)]
    pub no_browser: bool,
    /// Return as soon as the request is accepted
    #[arg(long)]
    pub no_wait: bool,
}

/// The form of an idempotency key, as the server takes it.
fn request_id(text: &str) -> Result<String, &'static str> {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("it must be 1 to 255 printable ASCII characters without spaces") }
}

impl Up {
    pub async fn run(&self, context: &Context) -> Result<(), CliError> {
        let branch = branch(self.branch.as_deref())?;
        let repo = repo_url(self.repo.as_deref())?;
        let client = context.client()?;
        let body = UpSession {
            repo_url: repo.as_str().to_owned(),
            branch: branch.as_str().to_owned(),
            public: self.public,
            repo_token: if self.public { None } else { context.env.repo_token() },
            max_lifetime_seconds: self.max_lifetime,
            idle_timeout_seconds: self.idle_timeout,
            class: self.class.clone(),
        };
        let key = self.client_request_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let operation = client.up(&context.ui, &body, &key).await?;
        if self.no_wait {
            // A replay of one that has failed is its failure, waited for or not.
            let operation = if operation.has_ended() { wait::outcome(operation)? } else { operation };
            context.ui.answer(&Accepted::of(&operation));
            return Ok(());
        }
        let operation = wait::until_done(context, &client, operation).await?;
        let browser_opened = self.open_browser(context, &client, &operation).await;
        context.ui.answer(&Ready::of(operation, browser_opened));
        Ok(())
    }

    async fn open_browser(&self, context: &Context, client: &Client, operation: &Operation) -> bool {
        let wanted = !self.no_browser && context.ui.stdout_is_terminal() && context.env.get("CI").is_none();
        let Some(url) = operation.opencode_url.as_deref().filter(|_| wanted) else { return false };
        // The session is there, and its URL is told, whatever becomes of the browser.
        let opening = async {
            match browser::way_in(client, &context.ui, operation.session_id, url).await {
                Ok(way_in) => browser::open(&way_in, &context.env).await,
                Err(error) => {
                    context.ui.note(&error.to_string());
                    false
                }
            }
        };
        tokio::select! {
            opened = opening => opened,
            () = asked_to_end() => false,
        }
    }
}

fn branch(given: Option<&OsStr>) -> Result<Branch, BranchError> {
    given.unwrap_or_default().to_str().ok_or(BranchError::Invalid)?.parse()
}

fn repo_url(given: Option<&OsStr>) -> Result<RepoUrl, RepoUrlError> {
    given.unwrap_or_default().to_str().ok_or(RepoUrlError::Malformed)?.parse()
}

#[derive(Debug, Serialize)]
struct Ready {
    session_id: SessionId,
    operation_id: OperationId,
    state: SessionState,
    opencode_url: Option<String>,
    ready_at: Option<DateTime<Utc>>,
    browser_opened: bool,
    target_commit_sha: Option<String>,
}

impl Ready {
    fn of(operation: Operation, browser_opened: bool) -> Self {
        Self {
            session_id: operation.session_id,
            operation_id: operation.operation_id,
            // What an `up` that succeeded reached, whatever has happened to the session since.
            state: SessionState::Ready,
            opencode_url: operation.opencode_url,
            ready_at: operation.ready_at,
            browser_opened,
            target_commit_sha: operation.target_commit_sha,
        }
    }
}

impl Answer for Ready {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let own_host = self.opencode_url.as_deref().and_then(App::at) == Some(App::of(self.session_id));
        let rows = [
            ("session", Some(self.session_id.to_string())),
            ("state", Some(self.state.to_string())),
            ("url", self.opencode_url.clone()),
            // Where its URL alone lets nobody in.
            ("browser", own_host.then(|| format!("alpine open {}", self.session_id))),
            ("commit", self.target_commit_sha.clone()),
            ("next", Some(format!("alpine down {} when work is complete", self.session_id))),
        ];
        fields(&rows, style)
    }
}

#[derive(Debug, Serialize)]
struct Accepted {
    session_id: SessionId,
    operation_id: OperationId,
    state: Word<SessionState>,
}

impl Accepted {
    fn of(operation: &Operation) -> Self {
        Self { session_id: operation.session_id, operation_id: operation.operation_id, state: operation.state.clone() }
    }
}

impl Answer for Accepted {
    fn for_people(&self, style: Style, _: DateTime<Utc>) -> String {
        let rows = [
            ("session", Some(self.session_id.to_string())),
            ("state", Some(self.state.to_string())),
            ("operation", Some(self.operation_id.to_string())),
            ("next", Some(format!("alpine events {} --follow", self.session_id))),
        ];
        fields(&rows, style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, operation, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let ready = Ready::of(operation(), true);
        insta::assert_snapshot!("up_ready_json", json_of(&ready));
        insta::assert_snapshot!("up_ready_people", people_of(&ready));
        let host = format!("https://{}.apps.example.com/", operation().session_id.to_string().replace('_', "-"));
        let with_host = Ready::of(Operation { opencode_url: Some(host), ..operation() }, false);
        assert!(people_of(&with_host).contains(&format!("alpine open {}", operation().session_id)), "its URL alone lets nobody in");
        let accepted = Accepted::of(&Operation { state: Word::Known(SessionState::Requested), ..operation() });
        insta::assert_snapshot!("up_accepted_json", json_of(&accepted));
        insta::assert_snapshot!("up_accepted_people", people_of(&accepted));
    }

    #[test]
    fn a_request_id_is_what_the_server_takes_for_one() {
        for good in ["a", "build-7", "a:b", "{x}~!", &"x".repeat(255)] {
            assert!(request_id(good).is_ok(), "{good}");
        }
        for bad in ["", " a", "a ", "a b", "a\nb", "ü", "\u{7f}", &"x".repeat(256)] {
            assert!(request_id(bad).is_err(), "{bad:?}");
        }
    }
}
