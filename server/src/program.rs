//! The program: what was asked for on the command line, done and told.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::{
    app::{self, AppError},
    config::{Cli, Command, Surroundings, VerifyArgs, describe, without_empty_otel},
    http, metrics, release,
};

/// The program on a runtime of its own, to its end: what blocks a thread beyond that (a workspace that is being removed) is not
/// waited for.
pub fn run() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&AppError::Runtime(error)),
    };
    let code = runtime.block_on(main());
    runtime.shutdown_background();
    code
}

async fn main() -> ExitCode {
    app::forbid_core_files();
    let matches = without_empty_otel(Cli::command()).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let surroundings = Surroundings::read();
    let outcome = match cli.command {
        Command::Serve(args) => Box::pin(app::serve(*args, surroundings)).await,
        Command::Dev(args) => Box::pin(app::dev(*args, surroundings)).await,
        Command::Migrate(args) => app::migrate(&args).await,
        Command::RotateCredentials(args) => app::rotate_credentials(&args).await.and_then(|done| print(&done)),
        Command::AfterRestore(args) => app::after_restore(&args).await.and_then(|done| print(&done)),
        Command::VerifyLedger(args) => app::verify_ledger(&args).await.and_then(|found| print(&found)),
        Command::Openapi => print(&http::document_json()),
        Command::MetricsPage => print(metrics::page().trim_end()),
        Command::VerifyRelease(args) => return verify_release(*args).await,
        Command::CheckConfig(args) => {
            let settings = matches.subcommand_matches("check-config").map(describe).unwrap_or_default();
            let doubts = surroundings.misspelt().into_iter().map(|said| format!("warning: {said}"));
            let settings: Vec<String> = settings.into_iter().chain(doubts).collect();
            print(&settings.join("\n")).and_then(|()| print(&app::check(&args)?.join("\n")))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// For scripts: only the verdict is 1. What kept it from being made is 2, as a wrong argument is.
async fn verify_release(args: VerifyArgs) -> ExitCode {
    let json = args.json;
    let settings = release::Settings {
        window: args.window(),
        urls: args.urls,
        metrics_urls: args.metrics_urls,
        prometheus: args.prometheus,
        environment: args.environment,
        expect_version: args.expect_version,
        token_file: args.token_file,
        ca_file: args.ca_file,
    };
    let done = async {
        let report = release::verify(&settings).await?;
        print(&if json { report.json().map_err(release::ReleaseError::Json)? } else { report.text() })?;
        Ok(report.exit_code())
    };
    match done.await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error);
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(text: &str) -> Result<(), AppError> {
    println!("{text}");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the last word of a program that ends")]
fn report(error: &AppError) -> ExitCode {
    eprintln!("error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    eprintln!("next: {}", error.next_step());
    ExitCode::FAILURE
}
