//! What one host of a session serves, and how that host is named.

use std::{fmt, num::NonZeroU16, str::FromStr};

use crate::SessionId;

/// Of an id, `ses_`; an underscore cannot stand in a host's name.
const ID: &str = "ses_";
const LABEL: &str = "ses-";
/// Between a session's label and a port.
const PORT: &str = "--";

/// A session's own program, or what listens on another of the session's ports. Each has a host, and so an origin, of its own, of whose name
/// this is the first label: `ses-<digits>`, `ses-<digits>--<port>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct App {
    pub session: SessionId,
    pub port: Option<NonZeroU16>,
}

/// A host's first label that is none of a session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session's host is `ses-` and 32 hexadecimal digits, and perhaps `--` and a port")]
pub struct AppError;

impl App {
    /// As many bytes as its label may have.
    pub const MAX_BYTES: usize = LABEL.len() + 32 + PORT.len() + 5;

    /// A session's own program.
    #[must_use]
    pub const fn of(session: SessionId) -> Self {
        Self { session, port: None }
    }

    /// Which one an address leads to, below whichever domain.
    #[must_use]
    pub fn at(url: &str) -> Option<Self> {
        url.strip_prefix("https://")?.split_once('.')?.0.parse().ok()
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.session.to_string().replacen(ID, LABEL, 1))?;
        self.port.map_or(Ok(()), |port| write!(f, "{PORT}{port}"))
    }
}

impl FromStr for App {
    type Err = AppError;

    /// A port has one spelling.
    fn from_str(label: &str) -> Result<Self, AppError> {
        let rest = label.strip_prefix(LABEL).ok_or(AppError)?;
        let (digits, port) = rest.split_once(PORT).map_or((rest, None), |(digits, port)| (digits, Some(port)));
        let port = match port {
            Some(text) => Some(text.parse::<NonZeroU16>().ok().filter(|port| port.to_string() == text).ok_or(AppError)?),
            None => None,
        };
        Ok(Self { session: format!("{ID}{digits}").parse().map_err(|_| AppError)?, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_which_session_and_which_port() {
        let session = SessionId::generate();
        let own = App::of(session).to_string();
        assert_eq!((own.parse(), App::MAX_BYTES), (Ok(App::of(session)), own.len() + 7));
        for port in [1, 3000, 65_535] {
            let app = App { session, port: NonZeroU16::new(port) };
            assert_eq!((app.to_string(), app.to_string().parse()), (format!("{own}--{port}"), Ok(app)));
        }
        for port in ["", "0", "03000", "+1", "65536", "3000--1", "-3000", "x", "3000.x"] {
            assert_eq!(format!("{own}--{port}").parse::<App>(), Err(AppError), "{port}");
        }
    }

    #[test]
    fn an_address_leads_to_one_or_to_none() {
        let session = SessionId::generate();
        let (own, port) = (App::of(session), App { session, port: NonZeroU16::new(3000) });
        assert_eq!(App::at(&format!("https://{own}.apps.example.com/")), Some(own));
        assert_eq!(App::at(&format!("https://{port}.apps.localhost:8443/.alpine/open?share=x.y")), Some(port));
        for other in [
            "http://127.0.0.1:40123/".to_owned(),
            format!("http://{own}.apps.example.com/"),
            format!("https://{own}/"),
            format!("https://{own}/a.b"),
            format!("https://{own}@evil.example/"),
            format!("https://x.{own}.example/"),
            format!("https://example.com/{own}.apps/"),
            "https://ses-0.apps.example.com/".to_owned(),
            session.to_string(),
        ] {
            assert_eq!(App::at(&other), None, "{other}");
        }
    }
}
