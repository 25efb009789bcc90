//! The `alpine` command line as a library, so that everything it says can be tested.

mod args;
mod browser;
mod client;
mod clock;
mod commands;
mod complete;
mod config;
mod error;
mod http;
mod import;
mod login;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tls_tests;
mod token;
mod ui;
mod wait;
mod wire;

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

use alpine_api::{OperationId, SessionId};

use crate::{
    args::{Cli, Parsed},
    client::Client,
    config::{Environment, Settings},
    error::CliError,
    token::Identity,
    ui::Ui,
};

/// What every command is given.
#[derive(Debug)]
struct Context {
    ui: Ui,
    env: Environment,
    cli: Cli,
    /// The operation that is being waited for: what an interrupt leaves running.
    in_flight: Mutex<Option<(SessionId, OperationId)>>,
}

impl Context {
    fn new(ui: Ui, env: Environment, cli: Cli) -> Self {
        Self { ui, env, cli, in_flight: Mutex::new(None) }
    }

    /// A client for the configured server in the caller's name. Fails without an identity, before any request.
    fn client(&self) -> Result<Client, CliError> {
        let settings = self.settings()?;
        Ok(Client::new(&settings, identity(&settings)?)?)
    }

    /// The configuration, its warnings told.
    fn settings(&self) -> Result<Settings, CliError> {
        let settings = Settings::load(&self.cli.globals, &self.env)?;
        for warning in &settings.warnings {
            self.ui.warn(warning);
        }
        self.ui.note(&format!("server {} (profile {})", settings.server, settings.profile));
        Ok(settings)
    }

    fn waits_for(&self, session: SessionId, operation: OperationId) {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) = Some((session, operation));
    }

    fn waits_no_more(&self) {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn interrupted(&self) -> CliError {
        CliError::Interrupted { waiting_for: *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

/// A given token before the development key before a login.
fn identity(settings: &Settings) -> Result<Identity, CliError> {
    let credential = &settings.credential;
    if credential.token.is_none()
        && credential.key_file.is_none()
        && let Some(saved) = settings.saved_login(clock::now)?
    {
        return Ok(Identity::login(saved, clock::now));
    }
    Ok(Identity::new(credential.clone(), clock::now)?)
}

/// The program: arguments, environment and terminal of this process.
#[must_use]
pub fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let env = Environment::of_process();
    let ui = Ui::of_process(&args::look(&argv), &env);
    if let Some(completions) = complete::answer(&argv, &env) {
        ui.text(&completions);
        return ui.finish(Ok(()));
    }
    match begin(argv, env, ui) {
        Ok(context) => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(go_on(context)),
            Err(source) => context.ui.finish(Err(CliError::Runtime(source))),
        },
        Err(code) => code,
    }
}

/// As far as it goes without waiting for anything; the exit code, if that is all.
fn begin(argv: Vec<OsString>, env: Environment, ui: Ui) -> Result<Context, ExitCode> {
    let cli = match args::parse(argv) {
        Parsed::Command(cli) => *cli,
        Parsed::Help(text) => {
            ui.text(&text);
            return Err(ui.finish(Ok(())));
        }
        Parsed::Failed(error) => return Err(ui.finish(Err(error))),
    };
    let context = Context::new(ui, env, cli);
    match commands::run_alone(&context) {
        Some(result) => Err(context.ui.finish(result)),
        None => Ok(context),
    }
}

async fn go_on(context: Context) -> ExitCode {
    let result = tokio::select! {
        // The command first: `events --follow` ends well on the same signal.
        biased;
        result = commands::run(&context) => result,
        () = asked_to_end() => Err(context.interrupted()),
    };
    context.ui.finish(result)
}

/// Ctrl-C, and what `timeout`, CI and service managers send.
async fn asked_to_end() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // No signal can be heard: nobody asks.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{operation_id, session_id};

    #[test]
    fn an_interrupt_says_what_goes_on() {
        let ui = || Ui::new(Box::new(std::io::sink()), Box::new(std::io::sink()), args::Look::default(), ui::Terminal::default());
        let Parsed::Command(cli) = args::parse(["alpine", "version"].map(OsString::from).to_vec()) else { panic!("no command") };
        let context = Context::new(ui(), Environment::default(), *cli);
        let before = context.interrupted().report();
        context.waits_for(session_id(1), operation_id(1));
        insta::assert_json_snapshot!("interrupted", [before.clone(), context.interrupted().report()]);
        context.waits_no_more();
        assert_eq!(context.interrupted().report(), before, "nothing goes on");
    }
}
