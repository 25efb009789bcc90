//! The system's keyring, which may be away, locked, or waiting for a person.

use std::time::Duration;

/// To find out that there is one.
const FIND: Duration = Duration::from_secs(2);
/// For one request, as a person may have to unlock it.
const ANSWER: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("there is no keyring")]
    None,
    #[error("the keyring does not answer")]
    Silent,
    #[error("the keyring refused")]
    Refused,
}

pub async fn set(name: String, secret: String) -> Result<(), KeyringError> {
    find().await?;
    bounded(ANSWER, move || system::set(&name, &secret)).await
}

/// The secret under that name, if there is one.
pub async fn get(name: String) -> Result<Option<String>, KeyringError> {
    find().await?;
    bounded(ANSWER, move || system::get(&name)).await
}

pub async fn remove(name: String) -> Result<(), KeyringError> {
    find().await?;
    bounded(ANSWER, move || system::remove(&name)).await
}

async fn find() -> Result<(), KeyringError> {
    bounded(FIND, system::find).await
}

/// On a thread of its own, which nobody waits for when the time is up, not even at the program's end.
async fn bounded<T, F>(limit: Duration, ask: F) -> Result<T, KeyringError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, KeyringError> + Send + 'static,
{
    let (tell, told) = tokio::sync::oneshot::channel();
    let asking = std::thread::Builder::new().name("keyring".to_owned()).spawn(move || tell.send(ask()));
    if asking.is_err() {
        return Err(KeyringError::Silent);
    }
    match tokio::time::timeout(limit, told).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(KeyringError::Silent),
    }
}

#[cfg(feature = "keyring")]
mod system {
    use keyring::{Entry, Error};

    use super::KeyringError;

    const SERVICE: &str = "alpine";

    pub fn find() -> Result<(), KeyringError> {
        if Entry::store_status().is_ok() { Ok(()) } else { Err(KeyringError::None) }
    }

    pub fn set(name: &str, secret: &str) -> Result<(), KeyringError> {
        entry(name)?.set_password(secret).map_err(|_| KeyringError::Refused)
    }

    pub fn get(name: &str) -> Result<Option<String>, KeyringError> {
        match entry(name)?.get_password() {
            Ok(secret) => Ok(Some(secret)),
            Err(Error::NoEntry) => Ok(None),
            Err(_) => Err(KeyringError::Refused),
        }
    }

    pub fn remove(name: &str) -> Result<(), KeyringError> {
        match entry(name)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(_) => Err(KeyringError::Refused),
        }
    }

    fn entry(name: &str) -> Result<Entry, KeyringError> {
        Entry::new(SERVICE, name).map_err(|_| KeyringError::None)
    }
}

/// A build that knows no keyring.
#[cfg(not(feature = "keyring"))]
mod system {
    use super::KeyringError;

    pub fn find() -> Result<(), KeyringError> {
        Err(KeyringError::None)
    }

    pub fn set(_: &str, _: &str) -> Result<(), KeyringError> {
        find()
    }

    pub fn get(_: &str) -> Result<Option<String>, KeyringError> {
        find().map(|()| None)
    }

    pub fn remove(_: &str) -> Result<(), KeyringError> {
        find()
    }
}
