//! Configuration: flag over environment over profile file. The only reader of the environment.

mod profiles;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use alpine_api::{ErrorCode, is_loopback};
use etcetera::BaseStrategy;
use serde::Deserialize;
use url::Url;

pub use self::profiles::{Known, profiles, use_profile};
use crate::{
    args::Globals,
    clock::Now,
    error::Report,
    login::{Keep, LoginError, Saved, Store},
    token::Credential,
};

const DEFAULT_SERVER: &str = "https://127.0.0.1:8443";
/// The profile that `alpine-server dev` writes, and the only one in which tokens are signed here.
pub const DEV_PROFILE: &str = "dev";

const VARIABLES: &[&str] = &[
    "ALPINE_ADMIN",
    "ALPINE_CA_FILE",
    "ALPINE_COMPLETE",
    "ALPINE_CONFIG_DIR",
    "ALPINE_CREDENTIAL_STORE",
    "ALPINE_PRINCIPAL_ID",
    "ALPINE_PROFILE",
    "ALPINE_ROLES",
    "ALPINE_SERVER",
    "ALPINE_TENANT",
    "ALPINE_TOKEN",
    "BROWSER",
    "CI",
    "GH_TOKEN",
    "GITHUB_TOKEN",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "NO_COLOR",
    "SHELL",
    "TERM",
    "TRACEPARENT",
    "USER",
];

/// The variables that matter here, read once at the start.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<&'static str, String>,
    /// The platform's directory for configuration.
    platform_dir: Option<PathBuf>,
    /// Where shells keep what is theirs: `$XDG_DATA_HOME`, `$XDG_CONFIG_HOME` or what stands for them.
    shell_dirs: Option<(PathBuf, PathBuf)>,
    home: Option<PathBuf>,
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place where the command line reads its environment")]
    pub fn of_process() -> Self {
        let read = |name: &&'static str| std::env::var(name).ok().map(|value| (*name, value));
        let platform_dir = etcetera::base_strategy::choose_base_strategy().ok().map(|dirs| dirs.config_dir());
        let shell_dirs = etcetera::base_strategy::Xdg::new().ok().map(|dirs| (dirs.data_dir(), dirs.config_dir()));
        let home = etcetera::home_dir().ok();
        Self { variables: VARIABLES.iter().filter_map(read).collect(), platform_dir, shell_dirs, home }
    }

    #[cfg(test)]
    pub fn of(variables: &[(&'static str, &str)]) -> Self {
        Self { variables: variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), ..Self::default() }
    }

    /// A variable as it is, blank too.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable with something in it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.get("TERM") == Some("dumb")
    }

    /// A terminal that cannot go back to what it has written, as far as is known.
    pub fn is_dumb(&self) -> bool {
        self.get("TERM").map_or(cfg!(unix), |term| term == "dumb")
    }

    /// Whether the locale says that letters are more than ASCII.
    pub fn is_unicode(&self) -> bool {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| self.get(name)).unwrap_or_default().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    }

    /// The token with which the repository is read.
    pub fn repo_token(&self) -> Option<String> {
        self.get("GITHUB_TOKEN").or_else(|| self.get("GH_TOKEN")).map(str::to_owned)
    }

    pub fn data_dir(&self) -> Option<PathBuf> {
        self.shell_dirs.as_ref().map(|(data, _)| data.clone())
    }

    pub fn shell_config_dir(&self) -> Option<PathBuf> {
        self.shell_dirs.as_ref().map(|(_, config)| config.clone())
    }

    /// Where the predecessor kept its ledger.
    pub fn predecessors_ledger(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(".alpine").join("sessions.json"))
    }

    fn config_dir(&self) -> Option<PathBuf> {
        let own = self.get("ALPINE_CONFIG_DIR").map(PathBuf::from);
        own.or_else(|| Some(self.platform_dir.as_ref()?.join("alpine")))
    }
}

/// The names only: values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

/// Where requests go, and in whose name.
#[derive(Debug)]
pub struct Settings {
    pub profile: String,
    /// Ends in `/`, so that paths can be joined to it.
    pub server: Url,
    pub ca_file: Option<PathBuf>,
    pub credential: Credential,
    /// Where logins are kept; none where there is no directory for them.
    pub logins: Option<Store>,
    /// What `alpine login` need not ask the server for.
    pub issuer: IssuerChoice,
    /// The trace that this command is a part of.
    pub traceparent: Option<String>,
    pub warnings: Vec<String>,
}

/// An issuer, and what a login there asks for, as far as it is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerChoice {
    pub issuer: Option<String>,
    pub client_id: Option<String>,
    pub scope: Option<String>,
    pub resource: Option<String>,
}

#[derive(Default, Deserialize)]
struct File {
    default_profile: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Default, Deserialize)]
struct Profile {
    server: Option<String>,
    ca_file: Option<PathBuf>,
    dev_signing_key_file: Option<PathBuf>,
    token: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    login_scope: Option<String>,
    login_resource: Option<String>,
    credential_store: Option<String>,
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The parser's own message may quote a line with a token in it, so only the place is told.
    #[error("the configuration {} is not valid (line {line})", .path.display())]
    Form { path: PathBuf, line: usize },
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no profile {name:?}")]
    NoProfile { name: String, known: Vec<String> },
    #[error("invalid credential store")]
    Keep,
    #[error("invalid server address")]
    Server { why: &'static str },
}

impl ConfigError {
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::Read { path, source } => format!("make {} readable ({source}) or set ALPINE_CONFIG_DIR", path.display()),
            Self::Form { path, .. } => format!("mend {} or move it away and run alpine-server dev again", path.display()),
            Self::Write { source, .. } => format!("make it writable ({source}) or set ALPINE_CONFIG_DIR"),
            Self::NoProfile { known, .. } if known.is_empty() => "run alpine-server dev, which writes the profile dev".to_owned(),
            Self::NoProfile { known, .. } => format!("use one of: {}", known.join(", ")),
            Self::Keep => "ALPINE_CREDENTIAL_STORE and credential_store are one of: auto, keyring, file".to_owned(),
            Self::Server { why } => format!("{why}, for example {DEFAULT_SERVER}"),
        };
        Report::new(ErrorCode::InvalidRequest, self, next_step)
    }
}

impl Settings {
    pub fn load(globals: &Globals, env: &Environment) -> Result<Self, ConfigError> {
        let dir = env.config_dir();
        let path = dir.as_ref().map(|dir| dir.join("config.toml"));
        let file = path.as_deref().map(read).transpose()?.flatten().unwrap_or_default();
        let name = file.current(globals, env).to_owned();
        let profile = match file.profiles.get(&name) {
            Some(profile) => profile.clone(),
            // Nothing names it and nothing is written yet: the defaults of a development machine.
            None if name == DEV_PROFILE => Profile::default(),
            None => return Err(ConfigError::NoProfile { name, known: file.profiles.into_keys().collect() }),
        };
        let chosen = globals.server.as_deref().or(env.get("ALPINE_SERVER"));
        let own = profile.server.as_deref();
        let server = server_url(chosen.or(own).unwrap_or(DEFAULT_SERVER))?;
        let mut warnings = Vec::new();
        if profile.token.is_some()
            && let Some(path) = path.as_deref().filter(|path| readable_by_others(path))
        {
            warnings.push(format!("{} holds a token and others can read it: chmod 600 {0}", path.display()));
        }
        // A stored token is for the server it stands beside, not for whichever one a flag names.
        let elsewhere = own.is_some_and(|own| server_url(own).map_or(true, |own| own.origin() != server.origin()));
        let stored = profile.token.as_deref().map(str::trim).filter(|token| !token.is_empty() && !elsewhere);
        let given = env.get("ALPINE_TOKEN");
        let credential = Credential {
            token: given.or(stored).map(str::to_owned),
            token_from: if given.is_some() { "ALPINE_TOKEN" } else { "the profile's token" },
            key_file: profile.dev_signing_key_file.clone().filter(|_| name == DEV_PROFILE),
            principal: principal(env),
            tenant: env.get("ALPINE_TENANT").unwrap_or("dev").to_owned(),
            roles: roles(env),
        };
        let ca_file = env.get("ALPINE_CA_FILE").map(PathBuf::from).or(profile.ca_file.clone());
        let keep: Keep = match env.get("ALPINE_CREDENTIAL_STORE").or(profile.credential_store.as_deref()) {
            Some(word) => word.parse().map_err(|()| ConfigError::Keep)?,
            None => Keep::Auto,
        };
        let Profile { issuer, client_id, login_scope: scope, login_resource: resource, .. } = profile;
        let issuer = IssuerChoice { issuer, client_id, scope, resource };
        let traceparent = env.get("TRACEPARENT").map(str::to_owned);
        Ok(Self { profile: name, server, ca_file, credential, logins: dir.map(|dir| Store::new(dir, keep)), issuer, traceparent, warnings })
    }
}

impl Settings {
    /// The names of all profiles, as far as they can be read.
    pub fn profiles(env: &Environment) -> Vec<String> {
        let file = env.config_dir().and_then(|dir| read(&dir.join("config.toml")).ok().flatten()).unwrap_or_default();
        file.profiles.into_keys().collect()
    }

    /// The access token of the profile's login, as far as it is at hand: kept in the file, and good for a while yet. Nothing
    /// is renewed and no keyring is asked.
    pub fn token_at_hand(&self, now: Now) -> Option<String> {
        let entry = self.logins.as_ref()?.entry(&self.profile).ok()??;
        let (tokens, now) = (entry.tokens.filter(|_| entry.keyring.is_none())?, now());
        let good = entry.about.server.origin() == self.server.origin() && tokens.expires_at.is_none_or(|end| now < end);
        good.then_some(tokens.access_token)
    }

    /// The profile's login, if it is one for this server.
    pub fn saved_login(&self, now: Now) -> Result<Option<Saved>, LoginError> {
        let Some(store) = &self.logins else { return Ok(None) };
        let entry = store.entry(&self.profile)?.filter(|entry| entry.about.server.origin() == self.server.origin());
        Ok(entry.map(|entry| Saved::new(store.clone(), self.profile.clone(), entry, self.ca_file.clone(), now)))
    }
}

fn read(path: &Path) -> Result<Option<File>, ConfigError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
    };
    toml::from_str(&text).map(Some).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::Form { path: path.to_owned(), line: before.matches('\n').count() + 1 }
    })
}

/// A blank `ALPINE_PRINCIPAL_ID` is a refusal to be anybody, not a request to guess.
fn principal(env: &Environment) -> Option<String> {
    match env.raw("ALPINE_PRINCIPAL_ID") {
        Some(_) => env.get("ALPINE_PRINCIPAL_ID"),
        None => env.get("USER").or_else(|| env.get("LOGNAME")),
    }
    .map(str::to_owned)
}

fn roles(env: &Environment) -> Vec<String> {
    let admin = (env.get("ALPINE_ADMIN") == Some("1")).then_some("alpine.admin");
    let listed = env.get("ALPINE_ROLES").unwrap_or_default().split([',', ' ']).map(str::trim).filter(|role| !role.is_empty());
    let mut roles: Vec<String> = admin.into_iter().chain(listed).map(str::to_owned).collect();
    roles.sort();
    roles.dedup();
    roles
}

fn server_url(text: &str) -> Result<Url, ConfigError> {
    let wrong = |why| ConfigError::Server { why };
    let mut url = Url::parse(text).map_err(|_| wrong("give an address that begins with https://"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("give the address without user info, query or fragment"));
    }
    match url.scheme() {
        "https" if url.host().is_some() => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err(wrong("http is for this machine only; give an address that begins with https://")),
        _ => return Err(wrong("give an address that begins with https://")),
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> bool {
    false
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
