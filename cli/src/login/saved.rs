//! A login that is there, as the source of tokens for requests.

use std::path::PathBuf;

use chrono::TimeDelta;
use tokio::sync::Mutex;

use super::{Issuer, LoginError, Store, Tokens, file::Entry};
use crate::clock::Now;

/// A token is renewed this long before its end.
const RENEWAL: TimeDelta = TimeDelta::seconds(60);

/// The login of one profile.
#[derive(Debug)]
pub struct Saved {
    store: Store,
    profile: String,
    entry: Entry,
    ca_file: Option<PathBuf>,
    now: Now,
    held: Mutex<Option<Tokens>>,
}

impl Saved {
    pub fn new(store: Store, profile: String, entry: Entry, ca_file: Option<PathBuf>, now: Now) -> Self {
        Self { store, profile, entry, ca_file, now, held: Mutex::new(None) }
    }

    /// An access token that is good for a while yet, if one can be had.
    pub async fn bearer(&self) -> Result<String, LoginError> {
        let mut held = self.held.lock().await;
        let tokens = match held.take() {
            Some(tokens) => tokens,
            None => self.store.tokens(&self.entry).await?.ok_or(LoginError::Over)?,
        };
        if !self.ends_within(&tokens, RENEWAL) || tokens.refresh_token.is_none() && !self.ends_within(&tokens, TimeDelta::zero()) {
            return Ok(held.insert(tokens).access_token.clone());
        }
        match self.refreshed(&tokens.access_token).await {
            Ok(fresh) => Ok(held.insert(fresh).access_token.clone()),
            // The issuer is away, and the token good for a moment yet.
            Err(error) if error.is_transient() && !self.ends_within(&tokens, TimeDelta::zero()) => {
                Ok(held.insert(tokens).access_token.clone())
            }
            Err(error) => {
                *held = Some(tokens);
                Err(error)
            }
        }
    }

    /// Another token in place of one that the server refused.
    pub async fn renew(&self, refused: &str) -> Result<String, LoginError> {
        let mut held = self.held.lock().await;
        let fresh = self.refreshed(refused).await?;
        Ok(held.insert(fresh).access_token.clone())
    }

    /// Refreshes, unless another process has while this one waited for its turn: an issuer that rotates refresh tokens
    /// takes a second use of one as theft, and ends the login.
    async fn refreshed(&self, stale: &str) -> Result<Tokens, LoginError> {
        let locked = self.store.lock().await?;
        let entry = self.store.entry(&self.profile)?.filter(|entry| entry.about.server == self.entry.about.server);
        let entry = entry.ok_or(LoginError::Over)?;
        let current = self.store.tokens(&entry).await?.ok_or(LoginError::Over)?;
        if current.access_token != stale && !self.ends_within(&current, RENEWAL) {
            return Ok(current);
        }
        let refresh_token = current.refresh_token.as_deref().ok_or(LoginError::Over)?;
        let issuer = Issuer::new(&entry.about.issuer, self.ca_file.as_deref(), self.now)?;
        let fresh = issuer.refresh(&entry.about, refresh_token).await?;
        locked.renew(&self.profile, &entry, fresh.clone()).await?;
        Ok(fresh)
    }

    fn ends_within(&self, tokens: &Tokens, span: TimeDelta) -> bool {
        tokens.expires_at.is_some_and(|end| (self.now)() + span >= end)
    }
}
