//! The profiles of `config.toml`: which there are, and which one counts where none is named.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{ConfigError, DEFAULT_SERVER, DEV_PROFILE, Environment, File, read, server_url};
use crate::{args::Globals, login::replace};

/// A profile, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Known {
    pub name: String,
    /// None where what is written is no server's address.
    pub server: Option<String>,
    /// The one that commands use as things are.
    pub current: bool,
}

/// As much of the file as is changed.
#[derive(Deserialize)]
struct Head {
    default_profile: Option<Spanned<String>>,
}

/// All profiles, by name.
pub fn profiles(globals: &Globals, env: &Environment) -> Result<Vec<Known>, ConfigError> {
    let file = path(env).map(|path| read(&path)).transpose()?.flatten().unwrap_or_default();
    let current = file.current(globals, env).to_owned();
    let known = |name: &String, server: Option<&str>| {
        let server = server_url(server.unwrap_or(DEFAULT_SERVER)).ok().map(String::from);
        Known { name: name.clone(), server, current: *name == current }
    };
    let mut all: Vec<Known> = file.profiles.iter().map(|(name, profile)| known(name, profile.server.as_deref())).collect();
    if current == DEV_PROFILE && !file.profiles.contains_key(DEV_PROFILE) {
        // It is used without being written anywhere.
        all.push(known(&current, None));
    }
    Ok(all)
}

/// From now on this profile counts where none is named. The rest of the file stays as it is.
pub fn use_profile(name: &str, env: &Environment) -> Result<Known, ConfigError> {
    let no_profile = |known| ConfigError::NoProfile { name: name.to_owned(), known };
    let path = path(env).ok_or_else(|| no_profile(Vec::new()))?;
    let file = read(&path)?.unwrap_or_default();
    let Some(profile) = file.profiles.get(name) else { return Err(no_profile(file.profiles.into_keys().collect())) };
    let server = server_url(profile.server.as_deref().unwrap_or(DEFAULT_SERVER)).ok().map(String::from);
    if file.default_profile.as_deref() != Some(name) {
        // A link to where somebody keeps it stays one.
        let place = fs::canonicalize(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let text = fs::read_to_string(&place).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let text = with_default(&text, name).ok_or_else(|| ConfigError::Form { path: path.clone(), line: 1 })?;
        replace(&place, &text).map_err(|source| ConfigError::Write { path, source })?;
    }
    Ok(Known { name: name.to_owned(), server, current: true })
}

/// The text with this default; none if it is not valid.
fn with_default(text: &str, name: &str) -> Option<String> {
    let value = toml::Value::from(name).to_string();
    match toml::from_str::<Head>(text).ok()?.default_profile {
        Some(old) => {
            let (before, after) = (text.get(..old.span().start)?, text.get(old.span().end..)?);
            Some(format!("{before}{value}{after}"))
        }
        // At the top it is in no table.
        None => Some(format!("default_profile = {value}\n{text}")),
    }
}

fn path(env: &Environment) -> Option<PathBuf> {
    env.config_dir().map(|dir| dir.join("config.toml"))
}

impl File {
    /// The name of the profile that is used: flag over environment over file.
    pub fn current<'a>(&'a self, globals: &'a Globals, env: &'a Environment) -> &'a str {
        let named = globals.profile.as_deref().or(env.get("ALPINE_PROFILE")).or(self.default_profile.as_deref());
        named.unwrap_or(DEV_PROFILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const TEXT: &str = "# mine\n[profiles.dev]\nserver = \"https://127.0.0.1:9443\" # here\n[profiles.team]\ntoken = \"t\"\nother = 1\n";

    fn written(text: &str) -> (tempfile::TempDir, Environment) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let env = Environment::of(&[("ALPINE_CONFIG_DIR", dir.path().to_str().unwrap())]);
        (dir, env)
    }

    #[test]
    fn the_chosen_profile_counts_and_the_rest_of_the_file_stays() {
        let (dir, env) = written(TEXT);
        let text = || fs::read_to_string(dir.path().join("config.toml")).unwrap();
        let current = || Settings::load(&Globals::default(), &env).unwrap().profile;
        assert_eq!(current(), "dev");
        use_profile("team", &env).unwrap();
        assert_eq!((current().as_str(), text()), ("team", format!("default_profile = \"team\"\n{TEXT}")));
        use_profile("dev", &env).unwrap();
        assert_eq!((current().as_str(), text()), ("dev", format!("default_profile = \"dev\"\n{TEXT}")));
        let names = |known: Vec<Known>| known.into_iter().map(|one| (one.name, one.current)).collect::<Vec<_>>();
        let flag = Globals { profile: Some("team".to_owned()), ..Globals::default() };
        assert_eq!(names(profiles(&flag, &env).unwrap()), [("dev".to_owned(), false), ("team".to_owned(), true)]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_profile_that_is_not_there_is_told_with_those_that_are_and_changes_nothing() {
        let (dir, env) = written(TEXT);
        let report = use_profile("nope", &env).unwrap_err().report();
        assert_eq!((report.error_code.to_string().as_str(), report.exit_code), ("ERR_INVALID_REQUEST", 1));
        assert_eq!((report.cause.as_str(), report.next_step.as_str()), ("there is no profile \"nope\"", "use one of: dev, team"));
        assert_eq!(fs::read_to_string(dir.path().join("config.toml")).unwrap(), TEXT);
    }

    #[test]
    fn a_default_that_leads_nowhere_is_mended() {
        let (_dir, env) = written(&format!("default_profile = 'gone' # once\n{TEXT}"));
        assert!(Settings::load(&Globals::default(), &env).is_err());
        use_profile("team", &env).unwrap();
        assert_eq!(Settings::load(&Globals::default(), &env).unwrap().profile, "team");
    }

    #[test]
    fn a_machine_without_a_file_has_the_profile_that_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let env = Environment::of(&[("ALPINE_CONFIG_DIR", dir.path().to_str().unwrap())]);
        let dev = Known { name: "dev".to_owned(), server: Some("https://127.0.0.1:8443/".to_owned()), current: true };
        assert_eq!(profiles(&Globals::default(), &env).unwrap(), [dev]);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_stays_its_owners_alone_and_a_link_stays_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, env) = written(TEXT);
        let (link, kept) = (dir.path().join("config.toml"), dir.path().join("kept.toml"));
        fs::rename(&link, &kept).unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).unwrap();
        use_profile("team", &env).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&kept).unwrap().starts_with("default_profile = \"team\"\n"));
    }
}
