//! `alpine completion`: the shells' scripts, and where shells look for them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde::Serialize;

use crate::{
    Context, complete,
    error::CliError,
    login::replace,
    ui::{Answer, Style},
};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];
/// The line by which a file is known to be ours.
const MARK: &str = "# Written by alpine completion install.";

/// Complete commands, options, session ids and profiles in your shell
///
/// alpine completion install puts the script where your shell looks for it. To try it out first, in bash or zsh:
/// eval "$(alpine completion bash)"; in fish: alpine completion fish | source.
#[derive(Debug, Args)]
pub struct Completion {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the script for bash
    Bash,
    /// Print the script for zsh
    Zsh,
    /// Print the script for fish
    Fish,
    Install(Install),
}

/// Put the script where your shell looks for it
///
/// In your own directories only, and never into a file that you wrote. Doing it twice is doing it once.
#[derive(Debug, Args)]
struct Install {
    /// bash, zsh or fish [default: yours, by $SHELL]
    #[arg(long, value_name = "S", hide_possible_values = true, value_parser = PossibleValuesParser::new(SHELLS))]
    shell: Option<String>,
}

impl Completion {
    pub fn run(&self, context: &Context) -> Result<(), CliError> {
        match &self.command {
            Command::Bash => print(context, "bash"),
            Command::Zsh => print(context, "zsh"),
            Command::Fish => print(context, "fish"),
            Command::Install(install) => install.run(context),
        }
    }
}

fn print(context: &Context, shell: &'static str) -> Result<(), CliError> {
    let mut script = Vec::new();
    if let Some(completer) = complete::shell(shell) {
        completer
            .write_registration(complete::VARIABLE, "alpine", "alpine", "alpine", &mut script)
            .map_err(|source| CliError::File { path: "the script".into(), source })?;
    }
    let script = String::from_utf8_lossy(&script).trim().to_owned();
    context.ui.answer(&Script { shell, script });
    Ok(())
}

#[derive(Debug, Serialize)]
struct Script {
    shell: &'static str,
    script: String,
}

impl Answer for Script {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        self.script.clone()
    }
}

impl Install {
    fn run(&self, context: &Context) -> Result<(), CliError> {
        let env = &context.env;
        let own =
            || env.get("SHELL").and_then(|path| path.rsplit('/').next()).and_then(|name| SHELLS.into_iter().find(|shell| *shell == name));
        let given = self.shell.as_deref().and_then(|name| SHELLS.into_iter().find(|shell| *shell == name));
        let shell = given.or_else(own).ok_or_else(|| CliError::Usage {
            cause: "your shell is not known".to_owned(),
            next_step: "name it: alpine completion install --shell bash, zsh or fish".to_owned(),
        })?;
        let nowhere = || CliError::Usage {
            cause: "there is no home directory".to_owned(),
            next_step: format!("set HOME, or keep the output of alpine completion {shell} where your shell finds it"),
        };
        let path = place(shell, env.data_dir(), env.shell_config_dir()).ok_or_else(nowhere)?;
        let loader = loader(shell);
        let changed = write(&path, loader).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => CliError::Usage {
                cause: format!("{} is not a file that alpine completion install wrote", path.display()),
                next_step: format!("move it away and run this again, or put the output of alpine completion {shell} there yourself"),
            },
            _ => CliError::File { path: path.clone(), source: error },
        })?;
        context.ui.answer(&Installed { shell, path, changed });
        Ok(())
    }
}

/// A directory of the user's from which the shell loads by itself what it needs; zsh must be told of its own.
fn place(shell: &str, data: Option<PathBuf>, config: Option<PathBuf>) -> Option<PathBuf> {
    Some(match shell {
        "bash" => data?.join("bash-completion/completions/alpine"),
        "zsh" => data?.join("zsh/site-functions/_alpine"),
        _ => config?.join("fish/completions/alpine.fish"),
    })
}

/// The script comes from the program each time, so that it is never older than it.
fn loader(shell: &str) -> &'static str {
    match shell {
        "bash" => "# Written by alpine completion install.\neval \"$(alpine completion bash 2>/dev/null)\"\n",
        "zsh" => {
            "#compdef alpine\n# Written by alpine completion install.\neval \"$(alpine completion zsh 2>/dev/null)\"\n\
             (( $+functions[_clap_dynamic_completer_alpine] )) && _clap_dynamic_completer_alpine \"$@\"\n"
        }
        _ => "# Written by alpine completion install.\nalpine completion fish 2>/dev/null | source\n",
    }
}

/// Whether it was not there yet. Only what was written here before is written over: anything else is there already.
fn write(path: &Path, text: &str) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) => {
            let before = if meta.is_file() { fs::read(path)? } else { Vec::new() };
            let before = String::from_utf8_lossy(&before);
            if before == text {
                return Ok(false);
            }
            if !before.lines().any(|line| line == MARK) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
        }
        Err(error) => return Err(error),
    }
    replace(path, text)?;
    Ok(true)
}

#[derive(Debug, Serialize)]
struct Installed {
    shell: &'static str,
    path: PathBuf,
    /// It was not there yet, or not like this.
    changed: bool,
}

impl Answer for Installed {
    fn for_people(&self, _: Style, _: DateTime<Utc>) -> String {
        let path = self.path.display();
        let did = if self.changed { format!("Wrote {path}.") } else { format!("{path} is there already.") };
        let then = match self.shell {
            "bash" => "New shells load it by themselves where the package bash-completion is installed.".to_owned(),
            "zsh" => {
                let dir = self.path.parent().unwrap_or(&self.path).display();
                format!(
                    "Nothing else was changed: zsh finds it once this stands in your ~/.zshrc:\n  fpath=({dir} $fpath)\n  autoload -Uz compinit && compinit"
                )
            }
            _ => "New shells load it by themselves.".to_owned(),
        };
        format!("{did}\n{then}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json_of, people_of};

    #[test]
    fn the_answer_for_scripts_and_for_people() {
        let said: Vec<String> = SHELLS
            .into_iter()
            .map(|shell| {
                let path = place(shell, Some("/home/ann/.local/share".into()), Some("/home/ann/.config".into())).unwrap();
                let installed = Installed { shell, path, changed: shell != "fish" };
                format!("{}\n{}\n", json_of(&installed), people_of(&installed))
            })
            .collect();
        insta::assert_snapshot!("completion_install", said.join("\n"));
    }

    #[test]
    fn only_what_was_written_here_is_written_over() {
        let dir = tempfile::tempdir().unwrap();
        for shell in SHELLS {
            let path = place(shell, Some(dir.path().join("data")), Some(dir.path().join("config"))).unwrap();
            assert!(loader(shell).lines().any(|line| line == MARK), "{shell}");
            assert!(write(&path, loader(shell)).unwrap(), "{shell}");
            assert!(!write(&path, loader(shell)).unwrap(), "twice is once");
            fs::write(&path, format!("{MARK}\nof an older version\n")).unwrap();
            assert!(write(&path, loader(shell)).unwrap());
            for theirs in ["# mine\n", "", &format!("echo {MARK}")] {
                fs::write(&path, theirs).unwrap();
                assert_eq!(write(&path, loader(shell)).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{theirs:?}");
                assert_eq!(fs::read_to_string(&path).unwrap(), theirs);
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("alpine"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for there in [None, Some(format!("{MARK}\nold\n"))] {
            there.iter().for_each(|text| fs::write(&target, text).unwrap());
            assert_eq!(write(&link, loader("bash")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&target).ok(), there);
        }
    }
}
