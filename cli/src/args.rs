//! Arguments: what was asked for, and what is said about arguments that make no sense.

use std::ffi::{OsStr, OsString};

use alpine_api::BranchError;
use clap::{
    ArgAction, Args, CommandFactory, FromArgMatches, Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use clap_complete::engine::ArgValueCompleter;

use crate::{
    commands::{Command, replaced},
    complete,
    error::CliError,
};

/// Ready, isolated development sandboxes.
#[derive(Debug, Parser)]
#[command(name = "alpine", version, max_term_width = 100, propagate_version = false)]
#[command(after_help = "\
Examples:
  alpine up https://github.com/org/repo.git --branch main
  alpine list
  alpine down <session-id>

Exit codes: 0 done, 1 the caller can fix it, 2 the system failed.")]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command, taken before and after its name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Print JSON on stdout, errors too
    #[arg(long, global = true)]
    pub json: bool,
    /// The profile to use [env: ALPINE_PROFILE]
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCompleter::new(complete::profiles))]
    pub profile: Option<String>,
    /// The server's address [env: ALPINE_SERVER]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Say more about what is done (on stderr)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Say nothing but the result and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What the arguments amount to.
#[derive(Debug)]
pub enum Parsed {
    Command(Box<Cli>),
    /// `--help` or `--version` was asked for.
    Help(String),
    Failed(CliError),
}

/// How to speak, read from arguments that may not be valid otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    pub json: bool,
    pub no_color: bool,
    pub quiet: bool,
    pub verbose: bool,
}

/// Looks for the flags that decide how even a usage error is told, wherever they stand before a `--`.
pub fn look(argv: &[OsString]) -> Look {
    let mut look = Look::default();
    for arg in argv.iter().skip(1).take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str()) {
        match arg {
            "--json" => look.json = true,
            "--no-color" => look.no_color = true,
            "--quiet" | "-q" => look.quiet = true,
            "--verbose" | "-v" | "-vv" | "-vvv" => look.verbose = true,
            _ => {}
        }
    }
    look
}

pub fn parse(argv: Vec<OsString>) -> Parsed {
    let (name, rest) = command_of(&argv);
    if let Some(error) = name.as_deref().and_then(OsStr::to_str).and_then(replaced::error) {
        return Parsed::Failed(error);
    }
    let error = match try_parse(argv.clone()) {
        Ok(cli) => return Parsed::Command(Box::new(cli)),
        Err(error) => error,
    };
    if error.kind() == ErrorKind::UnknownArgument
        && name.as_deref() == Some(OsStr::new("up"))
        && let Some(cli) = up_with_hyphen_url(argv, &rest)
    {
        return Parsed::Command(Box::new(cli));
    }
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Parsed::Help(error.render().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let help = error.render().to_string();
            Parsed::Failed(CliError::NoCommand { help, next_step: format!("run {}", help_of(name.as_deref(), &rest)) })
        }
        // `--branch` with nothing after it names no branch, as `--branch ''` does.
        ErrorKind::InvalidValue
            if name.as_deref() == Some(OsStr::new("up")) && context(&error, ContextKind::InvalidArg).starts_with("--branch ") =>
        {
            Parsed::Failed(BranchError::Missing.into())
        }
        _ => Parsed::Failed(usage(&error, &help_of(name.as_deref(), &rest))),
    }
}

fn try_parse(argv: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(argv)?;
    Cli::from_arg_matches(&matches)
}

/// The command's name and what follows it, found without judging either.
fn command_of(argv: &[OsString]) -> (Option<OsString>, Vec<OsString>) {
    let bare = clap::Command::new("alpine").disable_help_flag(true).disable_help_subcommand(true).allow_external_subcommands(true);
    let Ok(matches) = Globals::augment_args(bare).ignore_errors(true).try_get_matches_from(argv) else {
        return (None, Vec::new());
    };
    let Some((name, rest)) = matches.subcommand() else { return (None, Vec::new()) };
    let rest = rest.try_get_many::<OsString>("").ok().flatten().map(|rest| rest.cloned().collect());
    (Some(name.into()), rest.unwrap_or_default())
}

/// The global options of a line that may not be whole yet.
pub fn globals(line: &[OsString]) -> Globals {
    let (mut line, mut all) = (line.to_vec(), Globals::default());
    loop {
        let bare = clap::Command::new("alpine").disable_help_flag(true).disable_help_subcommand(true).allow_external_subcommands(true);
        let Ok(matches) = Globals::augment_args(bare).ignore_errors(true).try_get_matches_from(&line) else { return all };
        if let Ok(some) = Globals::from_arg_matches(&matches) {
            (all.profile, all.server) = (some.profile.or(all.profile), some.server.or(all.server));
        }
        // What stands behind a word is looked at as if it stood alone.
        let Some((_, rest)) = matches.subcommand() else { return all };
        let rest = rest.try_get_many::<OsString>("").ok().flatten().into_iter().flatten().cloned();
        let shorter: Vec<OsString> = std::iter::once("alpine".into()).chain(rest).collect();
        if shorter.len() >= line.len() {
            return all;
        }
        line = shorter;
    }
}

/// `alpine up -x --branch main`: where the URL belongs stands something with a hyphen. It is judged as the
/// URL that it stands for, unless another argument is the URL.
fn up_with_hyphen_url(mut argv: Vec<OsString>, rest: &[OsString]) -> Option<Cli> {
    let in_place_of_url = rest.first()?.clone();
    if !in_place_of_url.as_encoded_bytes().starts_with(b"-") || in_place_of_url == "--" {
        return None;
    }
    argv.remove(argv.len() - rest.len());
    argv.extend(["--".into(), in_place_of_url]);
    let cli = try_parse(argv).ok()?;
    matches!(&cli.command, Command::Up(up) if up.branch.is_some()).then_some(cli)
}

/// The help of the command that was meant, as far as its name goes: `alpine token create --help`.
fn help_of(name: Option<&OsStr>, rest: &[OsString]) -> String {
    let mut help = "alpine".to_owned();
    let mut command = &Cli::command();
    // Options may stand between a command and what is below it.
    for word in name.into_iter().chain(rest.iter().map(OsString::as_os_str)) {
        let Some(below) = word.to_str().and_then(|word| command.find_subcommand(word)) else { continue };
        help = format!("{help} {}", below.get_name());
        command = below;
    }
    format!("{help} --help")
}

/// A usage error in our words. Values are never repeated: they may be a URL with a secret in it.
fn usage(error: &clap::Error, help: &str) -> CliError {
    let named = |kind| Some(context(error, kind)).filter(|text| !text.is_empty());
    let arg = context(error, ContextKind::InvalidArg);
    let cause = match error.kind() {
        ErrorKind::UnknownArgument => match flag_name(&arg) {
            Some(flag) => format!("unknown option {flag}"),
            None => "too many arguments".to_owned(),
        },
        ErrorKind::InvalidSubcommand => match named(ContextKind::InvalidSubcommand).filter(|name| is_word(name)) {
            Some(name) => format!("unknown command {name}"),
            None => "unknown command".to_owned(),
        },
        ErrorKind::MissingSubcommand => "a command is required".to_owned(),
        // Where one of two would do, the parser names the first alone.
        ErrorKind::MissingRequiredArgument if arg.starts_with("--with ") => format!("{arg} or --public is required"),
        ErrorKind::MissingRequiredArgument => format!("{arg} is required"),
        ErrorKind::InvalidValue if named(ContextKind::InvalidValue).is_none() => {
            format!("{arg} needs a value")
        }
        ErrorKind::InvalidValue => match named(ContextKind::ValidValue) {
            Some(valid) => format!("{arg} must be one of: {valid}"),
            None => format!("invalid value for {arg}"),
        },
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(why) => format!("invalid value for {arg}: {why}"),
            None => format!("invalid value for {arg}"),
        },
        ErrorKind::ArgumentConflict => match named(ContextKind::PriorArg).filter(|prior| *prior != arg) {
            Some(prior) => format!("{arg} and {prior} cannot be given together"),
            None => format!("{arg} was given more than once or against another option"),
        },
        ErrorKind::InvalidUtf8 => "an argument is not valid UTF-8".to_owned(),
        _ => "the arguments are not valid".to_owned(),
    };
    let suggestion = named(ContextKind::SuggestedArg).or_else(|| named(ContextKind::SuggestedSubcommand));
    let next_step = match suggestion {
        Some(similar) => format!("did you mean {similar}? run {help}"),
        None => format!("run {help}"),
    };
    CliError::Usage { cause, next_step }
}

/// What the parser knows of the error, as text.
fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    }
}

/// `--flag` or `-f`, without a value that hangs on it.
fn flag_name(arg: &str) -> Option<&str> {
    let name = arg.split_once('=').map_or(arg, |(name, _)| name);
    let letters = name.strip_prefix("--").or_else(|| name.strip_prefix('-'))?;
    (is_word(letters) && letters.len() <= 40).then_some(name)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
