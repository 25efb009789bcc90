//! Where logins are kept: tokens in the system's keyring where there is one, else in a file of the owner's alone.

use std::{fmt, fs, io, path::PathBuf, str::FromStr, time::Duration};

use alpine_api::ErrorCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{
    LoginError,
    file::{self, Entry},
    keyring::{self, KeyringError},
};
use crate::error::Report;

/// Who refreshes asks an issuer while holding the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(40);
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Which of the two is used for a new login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The keyring if it answers, else the file.
    Auto,
    Keyring,
    File,
}

impl FromStr for Keep {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "auto" => Ok(Self::Auto),
            "keyring" => Ok(Self::Keyring),
            "file" => Ok(Self::File),
            _ => Err(()),
        }
    }
}

/// Where the tokens of a login are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Keyring,
    File,
}

/// What is known of a login beside its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The server that the tokens are for, and no other.
    pub server: Url,
    pub issuer: String,
    pub client_id: String,
    pub token_endpoint: Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    pub access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// Of the access token, if the issuer told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot read the logins in {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not of its form", .path.display())]
    Form { path: PathBuf },
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the login could not be kept: {0}")]
    Set(KeyringError),
    #[error("the login could not be read: {0}")]
    Get(KeyringError),
}

impl StoreError {
    pub fn report(&self) -> Report {
        let next_step = match self {
            Self::Read { path, source } => format!("make {} readable ({source}) or set ALPINE_CONFIG_DIR", path.display()),
            Self::Form { path } => format!("move {} away and run alpine login", path.display()),
            Self::Write { source, .. } => format!("make it writable ({source}) or set ALPINE_CONFIG_DIR"),
            Self::Set(_) => "set ALPINE_CREDENTIAL_STORE=file and run alpine login".to_owned(),
            Self::Get(_) => "unlock the system's keyring, or set ALPINE_CREDENTIAL_STORE=file and run alpine login".to_owned(),
        };
        Report::new(ErrorCode::InvalidRequest, self, next_step)
    }
}

/// The logins of a configuration directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    keep: Keep,
}

/// The right to change logins; other processes wait for it to be dropped.
#[derive(Debug)]
pub struct Locked<'a> {
    store: &'a Store,
    _file: fs::File,
}

impl Store {
    pub fn new(dir: PathBuf, keep: Keep) -> Self {
        Self { dir, keep }
    }

    /// The profile's login, if it has one. No keyring is asked.
    pub fn entry(&self, profile: &str) -> Result<Option<Entry>, StoreError> {
        Ok(file::read(&self.dir)?.logins.remove(profile))
    }

    /// The tokens of that login; none if the keyring has lost them.
    pub async fn tokens(&self, entry: &Entry) -> Result<Option<Tokens>, StoreError> {
        let Some(name) = &entry.keyring else { return Ok(entry.tokens.clone()) };
        let secret = keyring::get(name.clone()).await.map_err(StoreError::Get)?;
        Ok(secret.and_then(|secret| serde_json::from_str(&secret).ok()))
    }

    pub async fn lock(&self) -> Result<Locked<'_>, LoginError> {
        let file = file::lock_file(&self.dir)?;
        let held = async {
            while file.try_lock().is_err() {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
        };
        tokio::time::timeout(LOCK_PATIENCE, held).await.map_err(|_| LoginError::Busy)?;
        Ok(Locked { store: self, _file: file })
    }
}

impl Locked<'_> {
    /// A new login in place of any other of that profile.
    pub async fn save(&self, profile: &str, about: About, tokens: Tokens) -> Result<Place, StoreError> {
        let (place, entry) = self.placed(profile, about, tokens).await?;
        let replaced = self.put(profile, Some(entry))?;
        self.forget(replaced).await;
        Ok(place)
    }

    /// New tokens of a login that is there. Nothing waits between having and keeping them in a file: an old
    /// refresh token may be worth nothing any more.
    pub async fn renew(&self, profile: &str, entry: &Entry, tokens: Tokens) -> Result<(), StoreError> {
        let Some(name) = &entry.keyring else {
            self.put(profile, Some(Entry { tokens: Some(tokens), ..entry.clone() }))?;
            return Ok(());
        };
        match keyring::set(name.clone(), secret(&tokens)).await {
            Ok(()) => Ok(()),
            Err(_) if self.store.keep == Keep::Auto => {
                self.put(profile, Some(Entry { keyring: None, tokens: Some(tokens), about: entry.about.clone() }))?;
                Ok(())
            }
            Err(error) => Err(StoreError::Set(error)),
        }
    }

    /// The profile has no login any more; whether it had one.
    pub async fn remove(&self, profile: &str) -> Result<bool, StoreError> {
        let removed = self.put(profile, None)?;
        let had = removed.is_some();
        self.forget(removed).await;
        Ok(had)
    }

    async fn placed(&self, profile: &str, about: About, tokens: Tokens) -> Result<(Place, Entry), StoreError> {
        if self.store.keep != Keep::File {
            // A name of its own: the same profile of another directory is another login.
            let name = format!("{profile} {}", Uuid::new_v4().simple());
            match keyring::set(name.clone(), secret(&tokens)).await {
                Ok(()) => return Ok((Place::Keyring, Entry { keyring: Some(name), about, tokens: None })),
                Err(error) if self.store.keep == Keep::Keyring => return Err(StoreError::Set(error)),
                Err(_) => {}
            }
        }
        Ok((Place::File, Entry { keyring: None, about, tokens: Some(tokens) }))
    }

    /// What was there before.
    fn put(&self, profile: &str, entry: Option<Entry>) -> Result<Option<Entry>, StoreError> {
        let mut credentials = file::read(&self.store.dir)?;
        let before = match entry {
            Some(entry) => credentials.logins.insert(profile.to_owned(), entry),
            None => credentials.logins.remove(profile),
        };
        file::write(&self.store.dir, &credentials)?;
        Ok(before)
    }

    /// A keyring that does not answer now keeps what nothing leads to any more.
    async fn forget(&self, entry: Option<Entry>) {
        if let Some(name) = entry.and_then(|entry| entry.keyring) {
            let _ = keyring::remove(name).await;
        }
    }
}

/// Three fields of text are always JSON.
fn secret(tokens: &Tokens) -> String {
    serde_json::json!(tokens).to_string()
}
