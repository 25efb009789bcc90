//! What a repository says of itself: `.alpine.toml`, and the lock files at its top.

use serde::Deserialize;

/// `.alpine.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// A shell command in place of the one that the lock file suggests.
    pub install: Option<String>,
    /// A shell command that serves the workspace on `$HOST:$PORT`.
    pub serve: Option<String>,
    /// The port that `serve` insists on.
    pub port: Option<u16>,
}

/// Lock files, and the command that installs what they pin. The first that is there counts.
const BY_LOCK_FILE: &[(&str, &str)] = &[
    ("package-lock.json", "npm ci --no-audit --no-fund"),
    ("npm-shrinkwrap.json", "npm ci --no-audit --no-fund"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn install --frozen-lockfile"),
    ("Cargo.lock", "cargo fetch --locked"),
    ("go.sum", "go mod download"),
    ("uv.lock", "uv sync --frozen"),
    ("poetry.lock", "poetry install --no-interaction"),
    (
        "requirements.txt",
        "python3 -m venv .venv && .venv/bin/python -m pip install --disable-pip-version-check --no-input -r requirements.txt",
    ),
    ("Gemfile.lock", "BUNDLE_PATH=vendor/bundle bundle install"),
    ("composer.lock", "composer install --no-interaction --no-progress"),
];

/// How the dependencies are installed; `None` when there is nothing to install.
#[must_use]
pub fn install_command(project: &Project, files: &[&str]) -> Option<(String, &'static str)> {
    if let Some(command) = &project.install {
        return Some((command.clone(), ".alpine.toml"));
    }
    let (file, command) = BY_LOCK_FILE.iter().find(|(file, _)| files.contains(file))?;
    Some(((*command).to_owned(), file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repositorys_own_word_comes_before_its_lock_files() {
        let project: Project = toml::from_str("install = \"make deps\"\nserve = \"./serve\"\nport = 3000").unwrap();
        assert_eq!(install_command(&project, &["Cargo.lock"]), Some(("make deps".into(), ".alpine.toml")));
        assert_eq!(install_command(&Project::default(), &["README", "Cargo.lock", "package-lock.json"]).unwrap().1, "package-lock.json");
        assert_eq!(install_command(&Project::default(), &["README"]), None);
        assert!(toml::from_str::<Project>("instal = \"typo\"").is_err());
    }
}
