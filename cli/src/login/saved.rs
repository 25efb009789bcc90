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
        let (store, profile, server) = (self.store.clone(), self.profile.clone(), self.entry.about.server.clone());
        let (ca_file, now, stale) = (self.ca_file.clone(), self.now, stale.to_owned());
        // In a task of its own: who asked may be dropped when something else is done first, and what the issuer has
        // given in place of the old token must be kept all the same.
        let refreshing = async move {
            let locked = store.lock().await?;
            let entry = store.entry(&profile)?.filter(|entry| entry.about.server == server).ok_or(LoginError::Over)?;
            let current = store.tokens(&entry).await?.ok_or(LoginError::Over)?;
            if current.access_token != stale && !ends_within(&current, RENEWAL, now) {
                return Ok(current);
            }
            let refresh_token = current.refresh_token.as_deref().ok_or(LoginError::Over)?;
            let issuer = Issuer::new(&entry.about.issuer, ca_file.as_deref(), now)?;
            let fresh = issuer.refresh(&entry.about, refresh_token).await?;
            locked.renew(&profile, &entry, fresh.clone()).await?;
            Ok(fresh)
        };
        tokio::spawn(refreshing).await.unwrap_or(Err(LoginError::Over))
    }

    fn ends_within(&self, tokens: &Tokens, span: TimeDelta) -> bool {
        ends_within(tokens, span, self.now)
    }
}

fn ends_within(tokens: &Tokens, span: TimeDelta, now: Now) -> bool {
    tokens.expires_at.is_some_and(|end| now() + span >= end)
}
