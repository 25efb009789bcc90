//! What a shell offers where a session or a profile belongs: asked for while somebody types, so quick, silent and never
//! asking back.

use std::{
    ffi::{OsStr, OsString},
    sync::mpsc,
    thread,
    time::Duration,
};

use alpine_api::SessionState;
use clap::CommandFactory;
use clap_complete::{
    engine::CompletionCandidate,
    env::{Bash, EnvCompleter, Fish, Zsh},
};

use crate::{
    args::{self, Cli, Look},
    client::{Client, ListQuery, Patience},
    clock,
    config::{Environment, Settings},
    token::Identity,
    ui::{Terminal, Ui, clean},
    wire::SessionSummary,
};

/// Set by the shells' scripts when they ask.
pub const VARIABLE: &str = "ALPINE_COMPLETE";
/// Who types waits no longer than this.
const PATIENCE: Duration = Duration::from_millis(900);
const MOST: u32 = 100;

pub fn shell(name: &str) -> Option<&'static dyn EnvCompleter> {
    const SHELLS: [&dyn EnvCompleter; 3] = [&Bash, &Zsh, &Fish];
    SHELLS.into_iter().find(|shell| shell.is(name))
}

/// What a shell's script asks for with `alpine -- alpine <words>`, as that shell reads it.
pub fn answer(argv: &[OsString], env: &Environment) -> Option<String> {
    let shell = shell(env.get(VARIABLE)?)?;
    let words = typed(argv);
    let mut command = Cli::command();
    command.build();
    let mut said = Vec::new();
    // What cannot be completed is not completed.
    shell.write_complete(&mut command, words, None, &mut said).ok();
    Some(String::from_utf8_lossy(&said).into_owned())
}

/// The line that is being typed.
fn typed(argv: &[OsString]) -> Vec<OsString> {
    argv.iter().skip(1).skip_while(|word| *word != "--").skip(1).cloned().collect()
}

pub fn sessions(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |_| true)
}

/// Those that `down` can stop.
pub fn sessions_to_stop(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |session| !matches!(session.state.known(), Some(SessionState::Stopped | SessionState::Failed)))
}

pub fn ready_sessions(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(current, |session| session.state.known() == Some(SessionState::Ready))
}

/// The profiles of the configuration file.
pub fn profiles(current: &OsStr) -> Vec<CompletionCandidate> {
    let names = Settings::profiles(&Environment::of_process()).into_iter().filter(|name| starts(name, current));
    names.map(CompletionCandidate::new).collect()
}

fn starts(text: &str, current: &OsStr) -> bool {
    current.to_str().is_some_and(|current| text.starts_with(current))
}

fn offered(current: &OsStr, fits: impl Fn(&SessionSummary) -> bool) -> Vec<CompletionCandidate> {
    let line = typed(&std::env::args_os().collect::<Vec<_>>());
    let (found, finds) = mpsc::channel();
    // Whatever it hangs on ends with the process.
    thread::spawn(move || found.send(find(&line, &Environment::of_process())));
    let sessions = finds.recv_timeout(PATIENCE).ok().flatten().unwrap_or_default();
    let candidate = |session: SessionSummary| {
        let help = format!("{} {} {}", clean(&session.state.to_string()), clean(&session.branch), clean(&session.repo_url));
        CompletionCandidate::new(session.session_id.to_string()).help(Some(help.into()))
    };
    let fitting = sessions.into_iter().filter(|session| fits(session) && starts(&session.session_id.to_string(), current));
    fitting.map(candidate).collect()
}

/// Who asks, as far as it is known without asking: a TAB must not use up a refresh token, nor open a keyring's dialog.
fn identity(settings: &Settings) -> Option<Identity> {
    let credential = &settings.credential;
    if credential.token.is_none() && credential.key_file.is_none() {
        return Some(Identity::fixed(settings.token_at_hand(clock::now)?, "the login", clock::now));
    }
    Identity::new(credential.clone(), clock::now).ok()
}

fn find(line: &[OsString], env: &Environment) -> Option<Vec<SessionSummary>> {
    let settings = Settings::load(&args::globals(line), env).ok()?;
    let client = Client::new(&settings, identity(&settings)?).ok()?;
    let silent = Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), Look::default(), Terminal::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let query = ListQuery { limit: MOST, ..ListQuery::default() };
    let page = runtime.block_on(async { tokio::time::timeout(PATIENCE, client.sessions(&silent, &query, Patience::Once)).await });
    Some(page.ok()?.ok()?.sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(shell: &str, line: &[&str]) -> String {
        let words = ["alpine", "--"].iter().chain(line).map(OsString::from).collect::<Vec<_>>();
        // fish completes the last word; the others say which one by a variable.
        answer(&words, &Environment::of(&[(VARIABLE, shell)])).unwrap()
    }

    #[test]
    fn commands_and_options_are_completed() {
        let said = offers("fish", &["alpine", "o"]);
        assert!(said.starts_with("open\tOpen a session"), "{said}");
        let said = offers("fish", &["alpine", "list", "--wa"]);
        assert!(said.starts_with("--watch\t"), "{said}");
        let said = offers("fish", &["alpine", "list", "--state", "rea"]);
        assert_eq!(said.trim(), "ready");
        assert_eq!(offers("fish", &["alpine", "nonsense", "--x"]), "");
    }

    #[test]
    fn nobody_is_nobody_and_asks_for_nothing() {
        let who = |more: &[(&'static str, &str)]| {
            let env = Environment::of(&[&[("ALPINE_CONFIG_DIR", "/nonexistent")], more].concat());
            identity(&Settings::load(&Default::default(), &env).unwrap())
        };
        assert!(who(&[]).is_none());
        assert!(who(&[("ALPINE_TOKEN", "t")]).is_some());
    }

    #[test]
    fn only_a_shell_that_asks_is_answered() {
        assert_eq!(answer(&["alpine".into(), "list".into()], &Environment::of(&[])), None);
        assert_eq!(answer(&["alpine".into()], &Environment::of(&[(VARIABLE, "tcsh")])), None);
    }
}
