//! Why there is no login, or none any more.

use alpine_api::ErrorCode;
use url::Url;

use super::StoreError;
use crate::{error::Report, http::HttpError};

const AGAIN: &str = "run alpine login";

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("the server names no issuer at which alpine could log in")]
    NoIssuer,
    #[error("the server names no such issuer")]
    OtherIssuer { known: Vec<String> },
    #[error("the server trusts several issuers")]
    Several { known: Vec<String> },
    #[error("invalid issuer address")]
    Address,
    #[error("the issuer {asked} does not describe itself under that name")]
    Imposter { asked: String },
    #[error("the issuer {issuer} lets no device log in")]
    NoDevices { issuer: String },
    #[error("cannot reach the issuer at {at}")]
    Unreachable { at: Url, untrusted: bool },
    #[error("the answer of the issuer at {at} could not be read")]
    Unreadable { at: Url },
    #[error("the login was refused")]
    Denied,
    #[error("the code expired before anybody entered it")]
    Expired,
    /// An error code of OAuth that nothing better is known of.
    #[error("the issuer refused: {code}")]
    Refused { code: String },
    /// The issuer does not refresh it any more.
    #[error("the login is over")]
    Over,
    #[error("another alpine has held the login for too long")]
    Busy,
    #[error("this profile signs its own tokens")]
    SignsItself,
    #[error("there is no directory in which a login could be kept")]
    NoDirectory,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl LoginError {
    /// Whether the same may go well in a moment.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { untrusted: false, .. } | Self::Busy)
    }

    pub fn report(&self) -> Report {
        use ErrorCode as C;
        let (code, next_step) = match self {
            Self::NoIssuer => (C::InvalidRequest, "name one with --issuer and --client-id, or set ALPINE_TOKEN".to_owned()),
            Self::OtherIssuer { known } | Self::Several { known } => {
                (C::InvalidRequest, format!("name one with --issuer: {}", known.join(", ")))
            }
            Self::Address => (C::InvalidRequest, "give the issuer's address as it stands in its tokens, https://…".to_owned()),
            Self::Imposter { .. } => (C::InvalidRequest, "give the issuer's address exactly as its discovery document does".to_owned()),
            Self::NoDevices { .. } => (C::InvalidRequest, "have the device flow (RFC 8628) enabled there, or set ALPINE_TOKEN".to_owned()),
            Self::Unreachable { untrusted: true, .. } => {
                let next =
                    "its certificate is not trusted; name the authority's PEM file with ALPINE_CA_FILE, or as ca_file in the profile";
                return Report { retryable: false, ..Report::new(C::Unavailable, self, next) };
            }
            Self::Unreachable { .. } => (C::Unavailable, "try again in a moment".to_owned()),
            Self::Unreadable { .. } => (C::Unavailable, "try again; check that it is an OpenID issuer's address".to_owned()),
            Self::Denied => (C::CallerIdentityRequired, "run alpine login again and agree".to_owned()),
            Self::Expired => (C::CallerIdentityRequired, "run alpine login again and enter the code in time".to_owned()),
            Self::Refused { .. } => {
                (C::CallerIdentityRequired, format!("{AGAIN}; if it happens again, check client and scope with the issuer"))
            }
            Self::Over => (C::CallerIdentityRequired, AGAIN.to_owned()),
            Self::Busy => (C::Unavailable, "try again in a moment".to_owned()),
            Self::SignsItself => (C::InvalidRequest, "name the profile of a hosted server with --profile".to_owned()),
            Self::NoDirectory => (C::InvalidRequest, "set ALPINE_CONFIG_DIR or HOME".to_owned()),
            Self::Store(error) => return error.report(),
            Self::Http(error) => return error.report(),
        };
        Report::new(code, self, next_step)
    }
}
