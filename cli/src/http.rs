//! How every connection is made: which authorities are trusted, and what is never followed.

use std::{
    error::Error as _,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use alpine_api::{ErrorCode, is_loopback};
use reqwest::redirect;
use url::Url;

use crate::error::Report;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why no connection can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot read the CA file {}", .path.display())]
    CaFile { path: PathBuf, why: String },
    #[error("the HTTP client could not be set up")]
    SetUp(#[source] reqwest::Error),
}

impl HttpError {
    pub fn report(&self) -> Report {
        match self {
            Self::CaFile { why, .. } => {
                Report::new(ErrorCode::InvalidRequest, self, format!("{why}; mend ALPINE_CA_FILE or ca_file in the profile"))
            }
            Self::SetUp(source) => {
                Report::new(ErrorCode::Internal, format!("{self}: {}", innermost(source)), "check the machine's CA certificates")
            }
        }
    }
}

/// A client for the server at this address.
pub fn client(ca_file: Option<&Path>, to: &Url) -> Result<reqwest::Client, HttpError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("alpine/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        // A redirect would carry the token, or the body, to an address that nobody named.
        .redirect(redirect::Policy::none());
    if let Some(path) = ca_file {
        let wrong = |why: String| HttpError::CaFile { path: path.to_owned(), why };
        let pem = fs::read(path).map_err(|source| wrong(source.to_string()))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| wrong("it is not PEM".to_owned()))?;
        if certificates.is_empty() {
            return Err(wrong("there is no certificate in it".to_owned()));
        }
        // No public authority vouches for an address of this machine: its own is enough, and reading the system's hundreds
        // takes longer than the rest.
        builder = if is_loopback(to) { builder.tls_certs_only(certificates) } else { builder.tls_certs_merge(certificates) };
    }
    if is_loopback(to) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(HttpError::SetUp)
}

/// Why there is no TLS; trying again would not change that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// The server's certificate was refused.
    Distrust,
    /// What came is no TLS.
    NotSpoken,
}

pub fn tls_fault(error: &reqwest::Error) -> Option<Tls> {
    let mut cause = error.source();
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => return Some(Tls::Distrust),
            Some(rustls::Error::InvalidMessage(_)) => return Some(Tls::NotSpoken),
            _ => {}
        }
        // An I/O error leaves the error that it wraps out of its sources, and one may wrap another.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|error| error as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

/// Whether an answer came that is none, and not that the connection was lost over it.
pub fn is_unreadable(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<io::Error>() {
            return false;
        }
        cause = error.source();
    }
    error.is_request() && !error.is_timeout() && innermost(error).contains("invalid HTTP")
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
