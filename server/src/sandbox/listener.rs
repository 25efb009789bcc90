//! The way to a session's own program, and to nobody else who may come to its port.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{net::TcpStream, time::timeout};

use super::{Endpoint, Provider, ProviderError};
use crate::domain::apps::USER;

const CONNECT: Duration = Duration::from_secs(5);

/// The sockets at which a session's own program accepts connections, as they were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub endpoint: Endpoint,
    /// All that there are at that address, each of them held by a process of the session.
    pub held: Vec<HeldSocket>,
}

impl Listener {
    /// The very same sockets, whichever process holds them.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let sockets = |of: &Self| of.held.iter().map(|held| held.socket.clone()).collect::<BTreeSet<_>>();
        self.endpoint == other.endpoint && sockets(self) == sockets(other)
    }
}

/// A socket in a process's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSocket {
    pub pid: i32,
    /// When that process began, by which a reused pid is told.
    pub start: u64,
    /// Among its descriptors.
    pub descriptor: PathBuf,
    pub socket: PathBuf,
}

/// A connection to that program: made while its own sockets were listening, which is looked for before it was made (by whoever has the
/// `listener`) and after, so that it leads to no other. Nothing has been sent on it.
pub async fn connect(provider: &dyn Provider, listener: &Listener) -> Result<TcpStream, ProviderError> {
    let Endpoint { host, port } = &listener.endpoint;
    let failed = |source| ProviderError::Transient { what: "the session's server cannot be connected to".to_owned(), source };
    let connected = timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await.map_err(|_| failed(None))?;
    let stream = connected.map_err(|error| failed(Some(error)))?;
    if provider.is_still(listener).await { Ok(stream) } else { Err(ProviderError::Gone) }
}

/// What lets in at a session's own program, as a header that is never shown.
#[must_use]
pub fn basic(password: &SecretString) -> Option<HeaderValue> {
    let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{}", password.expose_secret())));
    // Base64 is what a header can hold.
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
