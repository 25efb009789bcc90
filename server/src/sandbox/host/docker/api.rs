//! Docker's API, and what becomes of a call that it does not answer as it should.

use std::{ops::Deref, path::Path, sync::Arc};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};

use crate::sandbox::ProviderError;

/// Seconds for one answer. A container's start waits for other containers' starts.
const PATIENCE: u64 = 60;

/// It knows where it asks, for whoever has to be told that nobody answers there.
#[derive(Debug, Clone)]
pub(super) struct Api {
    docker: Docker,
    socket: Arc<Path>,
}

impl Api {
    pub async fn connect(socket: &Path) -> Result<Self, Call> {
        let failed = |error| Call { what: "asking for its version".to_owned(), socket: socket.into(), error };
        let docker = Docker::connect_with_unix(&socket.display().to_string(), PATIENCE, API_DEFAULT_VERSION).map_err(failed)?;
        Ok(Self { docker: docker.negotiate_version().await.map_err(failed)?, socket: socket.into() })
    }

    pub async fn ask<T>(&self, what: &str, call: impl Future<Output = Result<T, Error>>) -> Result<T, Call> {
        call.await.map_err(|error| Call { what: what.to_owned(), socket: Arc::clone(&self.socket), error })
    }
}

impl Deref for Api {
    type Target = Docker;

    fn deref(&self) -> &Docker {
        &self.docker
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{}", self.said())]
pub(super) struct Call {
    what: String,
    socket: Arc<Path>,
    error: Error,
}

impl Call {
    fn said(&self) -> String {
        let Self { what, socket, error } = self;
        let nobody = matches!(
            error,
            Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. } | Error::SocketNotFoundError(_)
        );
        if nobody {
            return format!("Docker does not answer at {}: {what}: {}", socket.display(), innermost(error));
        }
        if matches!(error, Error::RequestTimeoutError) {
            return format!("{what}: Docker did not answer within {PATIENCE} s");
        }
        format!("{what}: {error}")
    }

    fn status(&self) -> Option<u16> {
        match &self.error {
            Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
            _ => None,
        }
    }

    /// There is no such thing.
    pub fn is_absent(&self) -> bool {
        self.status() == Some(404)
    }

    /// The name is taken, or the container is not in the state that this needs.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Docker does not do that: a network whose bridge another one has, say.
    pub fn is_forbidden(&self) -> bool {
        self.status() == Some(403)
    }

    /// There is none, or it does not run.
    pub fn is_of_none(&self) -> bool {
        self.is_absent() || self.is_conflict()
    }
}

/// What the layers above it have no words for: refused, no such file.
fn innermost(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

impl From<Call> for ProviderError {
    fn from(call: Call) -> Self {
        let what = call.to_string();
        // What it does not understand it will not understand the next time.
        if call.status() == Some(400) { Self::Permanent { what, source: None } } else { Self::Transient { what, source: None } }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::unix::net::UnixListener, thread};

    use super::*;

    const VERSION: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{\"ApiVersion\":\"1.41\"}";
    const ERROR: &[u8] =
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\ncontent-length: 18\r\nconnection: close\r\n\r\n{\"message\":\"full\"}";

    /// One answer a connection, then nobody is there any more.
    fn answer(socket: &Path, answers: &'static [&'static [u8]]) -> thread::JoinHandle<()> {
        let listener = UnixListener::bind(socket).unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                stream.write_all(answer).unwrap();
            }
        })
    }

    async fn told(api: &Api) -> String {
        ProviderError::from(api.ask("listing containers", api.list_containers(None)).await.unwrap_err()).to_string()
    }

    #[tokio::test]
    async fn nobody_who_answers_is_told_as_such_at_the_start_and_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let silent = format!("Docker does not answer at {}: ", socket.display());
        let started = ProviderError::from(Api::connect(&socket).await.unwrap_err()).to_string();
        assert!(started.starts_with(&silent), "{started}");

        // The third is a daemon that ends in the middle of it.
        let answering = answer(&socket, &[VERSION, ERROR, b""]);
        let api = Api::connect(&socket).await.unwrap();
        assert_eq!(told(&api).await, "listing containers: Docker responded with status code 500: full", "it has answered");
        let broken = told(&api).await;
        assert!(broken.starts_with(&format!("{silent}listing containers: ")), "{broken}");
        answering.join().unwrap();
        let refused = told(&api).await;
        assert_eq!(refused, format!("{silent}listing containers: Connection refused (os error 111)"));
        std::fs::remove_file(&socket).unwrap();
        let gone = told(&api).await;
        assert_eq!(gone, format!("{silent}listing containers: No such file or directory (os error 2)"));
    }
}
