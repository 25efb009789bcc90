//! The CLI's profile `dev`, so that `alpine up` works with nothing configured.

use std::path::Path;

use toml::{Table, Value};

use super::{error::DevError, files};

#[derive(Debug)]
pub struct DevProfile<'a> {
    pub server: &'a str,
    pub ca_file: &'a Path,
    pub signing_key_file: &'a Path,
}

/// Write or update it in `<config_dir>/config.toml`; other profiles and a chosen default stay as they are.
pub fn ensure(config_dir: &Path, profile: &DevProfile<'_>) -> Result<(), DevError> {
    files::private_dir(config_dir)?;
    let path = config_dir.join("config.toml");
    let broken = |detail: String| DevError::Profile { path: path.clone(), detail };
    let before = files::read_optional(&path)?;
    let text = String::from_utf8(before.clone().unwrap_or_default()).map_err(|_| broken("it is not UTF-8".to_owned()))?;
    let mut config: Table = text.parse().map_err(|error: toml::de::Error| broken(error.message().to_owned()))?;
    let original = config.clone();

    config.entry("default_profile").or_insert_with(|| Value::from("dev"));
    let profiles = config.entry("profiles").or_insert_with(|| Value::Table(Table::new()));
    let profiles = profiles.as_table_mut().ok_or_else(|| broken("`profiles` is not a table".to_owned()))?;
    let dev = profiles.entry("dev").or_insert_with(|| Value::Table(Table::new()));
    let dev = dev.as_table_mut().ok_or_else(|| broken("`profiles.dev` is not a table".to_owned()))?;
    dev.insert("server".to_owned(), Value::from(profile.server));
    dev.insert("ca_file".to_owned(), Value::from(profile.ca_file.to_string_lossy().into_owned()));
    dev.insert("dev_signing_key_file".to_owned(), Value::from(profile.signing_key_file.to_string_lossy().into_owned()));

    // Nothing new: do not rewrite, a person's comments would be lost.
    if before.is_some() && config == original {
        return Ok(());
    }
    let text = toml::to_string_pretty(&config).map_err(|error| broken(error.to_string()))?;
    files::write_atomic(&path, text.as_bytes(), files::PRIVATE)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;

    fn profile(server: &str) -> DevProfile<'_> {
        DevProfile { server, ca_file: Path::new("/d/dev-ca.pem"), signing_key_file: Path::new("/d/jwt-hs256.key") }
    }

    #[test]
    fn a_first_start_writes_a_private_default_profile() {
        let base = tempfile::tempdir().unwrap();
        ensure(&base.path().join("alpine"), &profile("https://127.0.0.1:8443")).unwrap();
        let path = base.path().join("alpine/config.toml");
        let config: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let expected: Table = "default_profile = 'dev'\n[profiles.dev]\nserver = 'https://127.0.0.1:8443'\n\
                               ca_file = '/d/dev-ca.pem'\ndev_signing_key_file = '/d/jwt-hs256.key'"
            .parse()
            .unwrap();
        assert_eq!(config, expected);
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn other_profiles_and_the_chosen_default_stay() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("config.toml");
        let before = "default_profile = 'work'\n[profiles.work]\nserver = 'https://a.example'\n[profiles.dev]\nserver = 'x'\nextra = 1\n";
        fs::write(&path, before).unwrap();
        ensure(base.path(), &profile("https://127.0.0.1:9443")).unwrap();
        let config: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        assert_eq!(config["default_profile"].as_str(), Some("work"));
        assert_eq!(config["profiles"]["work"]["server"].as_str(), Some("https://a.example"));
        assert_eq!(config["profiles"]["dev"]["server"].as_str(), Some("https://127.0.0.1:9443"));
        assert_eq!(config["profiles"]["dev"]["extra"].as_integer(), Some(1));
    }

    #[test]
    fn an_unchanged_profile_is_not_rewritten() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("config.toml");
        ensure(base.path(), &profile("https://127.0.0.1:8443")).unwrap();
        let commented = format!("# mine\n{}", fs::read_to_string(&path).unwrap());
        fs::write(&path, &commented).unwrap();
        ensure(base.path(), &profile("https://127.0.0.1:8443")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), commented);
    }

    #[test]
    fn a_broken_file_is_named_and_kept() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("config.toml");
        fs::write(&path, "default_profile = ").unwrap();
        let error = ensure(base.path(), &profile("https://127.0.0.1:8443")).unwrap_err();
        assert!(error.next_step().contains(&path.display().to_string()), "{}", error.next_step());
        assert_eq!(fs::read_to_string(&path).unwrap(), "default_profile = ");
    }
}
