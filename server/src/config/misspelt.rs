//! Variables that are named almost as a setting is.

use clap::CommandFactory;

use super::Cli;

/// So many letters apart at most: further off it is another program's, as Kubernetes names the services it knows.
const APART: usize = 2;

/// Of these names, those that are no setting, each with the one that was meant.
pub fn misspelt<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let cli = Cli::command();
    let variable = |arg: &clap::Arg| arg.get_env().map(|name| name.to_string_lossy().into_owned());
    let settings: Vec<String> = cli.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(variable).collect();
    let meant = |name: &str| settings.iter().map(|setting| (strsim::damerau_levenshtein(name, setting), setting)).min();
    names
        .filter(|name| name.starts_with("ALPINE_"))
        .filter_map(|name| match meant(name)? {
            (1..=APART, setting) => Some((name.to_owned(), setting.clone())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_almost_a_setting_is_one_misspelt() {
        let given = ["ALPINE_LEASE_SECOND", "ALPINE_LEASE_SECONDS", "ALPINE_PORT_8080_TCP", "ALPINE_TOKEN", "ALPINE_SERVER", "PATH"];
        assert_eq!(misspelt(given.into_iter()), [("ALPINE_LEASE_SECOND".to_owned(), "ALPINE_LEASE_SECONDS".to_owned())]);
    }
}
