//! The settings, shown: by `check-config` as they apply, in the documentation as they are.

use clap::CommandFactory;

use super::Cli;

const SECRET: &[&str] = &["database_url", "otlp_headers"];

/// Every setting of `serve` with the value that applies, a line each, secrets redacted.
#[must_use]
pub fn describe(matches: &clap::ArgMatches) -> Vec<String> {
    let command = Cli::command();
    let Some(command) = command.find_subcommand("check-config") else { return Vec::new() };
    let line = |arg: &clap::Arg| {
        let id = arg.get_id().as_str();
        let variable = arg.get_env()?.to_string_lossy().into_owned();
        let values = matches.get_raw(id).map(|raw| raw.map(|v| v.to_string_lossy().into_owned()).collect::<Vec<_>>().join(","));
        let value = match values {
            Some(_) if SECRET.contains(&id) => "[redacted]".to_owned(),
            Some(value) => value,
            None => "(unset)".to_owned(),
        };
        let source = match matches.value_source(id) {
            Some(clap::parser::ValueSource::CommandLine) => " (flag)",
            Some(clap::parser::ValueSource::EnvVariable) => " (environment)",
            _ => "",
        };
        Some(format!("{variable}={value}{source}"))
    };
    command.get_arguments().filter_map(line).collect()
}

/// Every setting of `serve` as a Markdown table, as it stands in docs/configuration.md.
#[cfg(all(test, not(feature = "faults")))]
fn table() -> String {
    let command = Cli::command();
    let mut text = String::from("| variable | flag | default | meaning |\n|---|---|---|---|\n");
    let arguments = command.find_subcommand("serve").into_iter().flat_map(clap::Command::get_arguments);
    for arg in arguments {
        let (Some(variable), Some(flag), Some(help)) = (arg.get_env(), arg.get_long(), arg.get_help()) else { continue };
        let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if arg.is_required_set() { "required".to_owned() } else { format!("`{}`", default.join(",")).replace("``", "") };
        text.push_str(&format!("| `{}` | `--{flag}` | {default} | {help} |\n", variable.to_string_lossy()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(feature = "faults"))]
    fn the_configuration_page_has_every_setting() {
        let page = include_str!("../../../docs/configuration.md");
        assert!(page.contains(&table()), "put this into docs/configuration.md:\n{}", table());
    }

    #[test]
    fn every_setting_has_a_variable_and_a_help_line() {
        Cli::command().debug_assert();
        for name in ["serve", "dev"] {
            let cli = Cli::command();
            for arg in cli.find_subcommand(name).unwrap().get_arguments().filter(|a| a.get_id() != "help") {
                assert!(arg.get_env().is_some(), "{name} {} has no variable", arg.get_id());
                assert!(arg.get_help().is_some(), "{name} {} has no help", arg.get_id());
            }
        }
    }

    #[test]
    fn check_config_shows_no_secret() {
        let arguments = [
            "alpine-server",
            "check-config",
            "--database-url",
            "postgres://u:s3cret@h/d",
            "--otlp-headers",
            "authorization=Bearer s3cret",
            "--jwt-issuer",
            "i",
            "--jwt-algorithm",
            "RS256",
            "--jwt-key-file",
            "/k",
            "--credential-key-file",
            "/c",
        ];
        let matches = Cli::command().get_matches_from(arguments);
        let text = describe(matches.subcommand_matches("check-config").unwrap()).join("\n");
        assert!(
            text.contains("DATABASE_URL=[redacted] (flag)")
                && text.contains("ALPINE_JWT_ISSUER=i")
                && text.contains("ALPINE_LEASE_SECONDS=30")
        );
        assert!(!text.contains("s3cret"));
    }
}
