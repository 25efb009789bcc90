//! The names under which sessions are served: one host a session below one domain.

use std::{fmt, str::FromStr};

pub use alpine_api::App;

/// With this name and, in the environment of what is served, this variable's value opencode lets the gateway in, and nobody else.
pub const USER: &str = "opencode";
pub const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";

/// On a session's host, without its first `/`: where a code is changed for a cookie. What begins so is never the session's own.
pub const OPEN_PATH: &str = ".alpine/open";

/// On the API's host: what comes behind it is a session's, where there is a way by path.
pub const APPS_PATH: &str = "/apps/";

/// A label and its dot come before it.
const DOMAIN_MAX: usize = 253 - App::MAX_BYTES - 1;

/// The domain below which each session has a host, and the port if it is not 443: `apps.example.com`, `apps.localhost:8443`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppsDomain {
    domain: String,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a domain of two labels or more is needed, as in apps.example.com or apps.localhost:8443")]
pub struct BadDomain;

/// What a host at or below the domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    App(App),
    /// Nobody's.
    Nothing,
}

impl FromStr for AppsDomain {
    type Err = BadDomain;

    fn from_str(text: &str) -> Result<Self, BadDomain> {
        let (domain, port) = match text.split_once(':') {
            Some((domain, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (domain, Some(port.parse().map_err(|_| BadDomain)?)),
            Some(_) => return Err(BadDomain),
            None => (text, None),
        };
        let label = |label: &str| {
            let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
        };
        let labels: Vec<&str> = domain.split('.').collect();
        let numeric = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if labels.len() < 2 || numeric || domain.len() > DOMAIN_MAX || !labels.into_iter().all(label) || port == Some(0) {
            return Err(BadDomain);
        }
        Ok(Self { domain: domain.to_ascii_lowercase(), port: port.filter(|port| *port != 443) })
    }
}

impl fmt::Display for AppsDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.domain)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl AppsDomain {
    /// For a certificate.
    #[must_use]
    pub fn wildcard(&self) -> String {
        format!("*.{}", self.domain)
    }

    /// Where it is served.
    #[must_use]
    pub fn url(&self, app: App) -> String {
        format!("https://{app}.{self}/")
    }

    /// What this host is, by its name without a port; `None`: it is not of this domain.
    #[must_use]
    pub fn named(&self, host: &str) -> Option<Named> {
        // A name may end with the root's dot, and means the same.
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let below = host.strip_suffix(&self.domain)?;
        if below.is_empty() {
            return Some(Named::Nothing);
        }
        Some(below.strip_suffix('.')?.parse().map_or(Named::Nothing, Named::App))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use alpine_api::SessionId;

    use super::*;

    #[test]
    fn a_domain_is_two_labels_or_more_and_perhaps_a_port() {
        for (text, shown) in [("apps.example.com", "apps.example.com"), ("Apps.localhost:8443", "apps.localhost:8443"), ("a.b:443", "a.b")]
        {
            assert_eq!(text.parse::<AppsDomain>().map(|domain| domain.to_string()), Ok(shown.to_owned()));
        }
        let long = format!("{}.example", ["a"; 120].join("."));
        for bad in [
            "",
            "localhost",
            "a..b",
            ".a.b",
            "a.b.",
            "a.b:",
            "a.b:0",
            "a.b:65536",
            "a.b:x",
            "a.b/",
            "*.a.b",
            "a_b.c",
            "-a.b",
            "a-.b",
            "127.0.0.1",
            "127.0.0.1:8443",
            "[::1]",
            "https://a.b",
            "a b.c",
            "ä.b",
            &long,
        ] {
            assert_eq!(bad.parse::<AppsDomain>(), Err(BadDomain), "{bad}");
        }
    }

    #[test]
    fn each_session_has_a_host_of_its_own_and_reads_back_from_it() {
        let domain: AppsDomain = "apps.example.com:8443".parse().unwrap();
        let session = SessionId::generate();
        let url = domain.url(App::of(session));
        let host = url.strip_prefix("https://").and_then(|rest| rest.strip_suffix(":8443/")).unwrap();
        assert_eq!(domain.named(host), Some(Named::App(App::of(session))));
        assert_eq!(App::at(&url), Some(App::of(session)));
        assert_eq!(domain.named(&format!("{}.", host.to_uppercase())), Some(Named::App(App::of(session))), "names have no case");
        for port in [1, 3000, 65_535] {
            let app = App { session, port: NonZeroU16::new(port) };
            let url = domain.url(app);
            assert_eq!(url, format!("https://{}--{port}.apps.example.com:8443/", App::of(session)));
            assert_eq!(domain.named(url.strip_prefix("https://").unwrap().strip_suffix(":8443/").unwrap()), Some(Named::App(app)));
        }
    }

    #[test]
    fn whatever_else_is_of_the_domain_is_nobodys_and_what_is_not_is_not() {
        let domain: AppsDomain = "apps.example.com".parse().unwrap();
        let own = App::of(SessionId::generate());
        for nothing in
            ["apps.example.com", "x.apps.example.com", ".apps.example.com", &format!("x.{own}.apps.example.com"), "ses-.apps.example.com"]
        {
            assert_eq!(domain.named(nothing), Some(Named::Nothing), "{nothing}");
        }
        for port in ["", "0", "03000", "+1", "65536", "3000--1", "-3000", "x", "3000.x"] {
            assert_eq!(domain.named(&format!("{own}--{port}.apps.example.com")), Some(Named::Nothing), "{port}");
        }
        for other in ["example.com", "127.0.0.1", "apps.example.com.evil", "xapps.example.com", &format!("{own}-apps.example.com"), ""] {
            assert_eq!(domain.named(other), None, "{other}");
        }
    }
}
