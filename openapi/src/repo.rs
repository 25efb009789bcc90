//! The grammar of repository URLs, which client and server both check: parsed once, valid ever after.

use std::{fmt, str::FromStr};

use url::{Host, Url};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Https,
    Ssh,
}

/// A repository URL: `https://host/path`, `ssh://git@host/path` or `git@host:path`, without a credential, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoUrl {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

/// `https://host/path`, `ssh://git@host/path` or `git@host:path`, without a credential, query or fragment. The pattern says most of
/// the rules, not all.
#[derive(ToSchema)]
#[schema(
    as = RepoUrl, examples("https://github.com/org/repo.git", "git@github.com:org/repo.git"), min_length = 1, max_length = 2048,
    pattern = r"^(https://[A-Za-z0-9_.:\[\]-]+/|ssh://([A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9_.:\[\]-]+/|[A-Za-z0-9_.][A-Za-z0-9_.-]*@[A-Za-z0-9_.:\[\]-]+:)[!$-;=@-\[\]_a-z~]+$"
)]
#[expect(dead_code, reason = "only its schema is used")]
struct Documented(String);

impl PartialSchema for RepoUrl {
    fn schema() -> RefOr<Schema> {
        Documented::schema()
    }
}

impl ToSchema for RepoUrl {}

/// Why a repository URL was refused. Never carries the URL: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepoUrlError {
    #[error("repository URL is required")]
    Missing,
    #[error("repository URL must be https:// or ssh (git@host:path)")]
    Scheme,
    #[error("repository URL must not carry user info; give credentials apart from it")]
    UserInfo,
    #[error("repository URL must not have a query or fragment")]
    QueryOrFragment,
    #[error("repository URL is malformed")]
    Malformed,
}

const URL_MAX_BYTES: usize = 2048;

impl RepoUrl {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whom an SSH remote is reached as.
    #[must_use]
    pub fn ssh_user(&self) -> &str {
        let rest = self.text.strip_prefix("ssh://").unwrap_or(&self.text);
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        authority.split_once('@').map_or("git", |(user, _)| user)
    }

    fn https(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = split_authority(text, "https://")?;
        if authority.contains('@') {
            return Err(RepoUrlError::UserInfo);
        }
        check_path(path)?;
        let (host, port) = host_and_port(authority)?;
        let url = Url::parse(text).map_err(|_| RepoUrlError::Malformed)?;
        Ok(Self { text: url.into(), scheme: Scheme::Https, host, port: port.unwrap_or(443) })
    }

    fn ssh(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = split_authority(text, "ssh://")?;
        check_path(path)?;
        let (host, port) = host_and_port(without_user(authority)?)?;
        Ok(Self { text: text.to_owned(), scheme: Scheme::Ssh, host, port: port.unwrap_or(22) })
    }

    /// `git@host:path`. Without a user it could not be told from `transport::address`.
    fn scp_like(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = text.split_once(':').ok_or(RepoUrlError::Scheme)?;
        if !authority.contains('@') || authority.contains('/') {
            return Err(RepoUrlError::Scheme);
        }
        let host = host_text(without_user(authority)?)?;
        check_path(&format!("/{}", path.strip_prefix('/').unwrap_or(path)))?;
        Ok(Self { text: text.to_owned(), scheme: Scheme::Ssh, host, port: 22 })
    }
}

impl FromStr for RepoUrl {
    type Err = RepoUrlError;

    fn from_str(text: &str) -> Result<Self, RepoUrlError> {
        if text.is_empty() {
            return Err(RepoUrlError::Missing);
        }
        // The URL parser repairs what it can (drops newlines, turns `\` round); a repaired URL is not
        // the one that was asked for, so anything it would repair is refused first.
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^');
        if text.len() > URL_MAX_BYTES || !text.bytes().all(plain) || text.starts_with('-') {
            return Err(RepoUrlError::Malformed);
        }
        if text.contains(['?', '#']) {
            return Err(RepoUrlError::QueryOrFragment);
        }
        if text.starts_with("https://") {
            Self::https(text)
        } else if text.starts_with("ssh://") {
            Self::ssh(text)
        } else if text.contains("://") {
            Err(RepoUrlError::Scheme)
        } else {
            Self::scp_like(text)
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_authority<'a>(text: &'a str, scheme: &str) -> Result<(&'a str, &'a str), RepoUrlError> {
    let rest = text.strip_prefix(scheme).ok_or(RepoUrlError::Scheme)?;
    let slash = rest.find('/').filter(|at| *at > 0).ok_or(RepoUrlError::Malformed)?;
    Ok(rest.split_at(slash))
}

/// An SSH remote may name a user; a password in it is a credential.
fn without_user(authority: &str) -> Result<&str, RepoUrlError> {
    let Some((user, host)) = authority.split_once('@') else { return Ok(authority) };
    if user.contains(':') || host.contains('@') {
        return Err(RepoUrlError::UserInfo);
    }
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if user.is_empty() || user.starts_with('-') || !user.bytes().all(word) {
        return Err(RepoUrlError::Malformed);
    }
    Ok(host)
}

fn check_path(path: &str) -> Result<(), RepoUrlError> {
    let trimmed = path.strip_prefix('/').ok_or(RepoUrlError::Malformed)?;
    let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.starts_with('-') || !percent_ok(part);
    if trimmed.split('/').any(bad) { Err(RepoUrlError::Malformed) } else { Ok(()) }
}

/// Every `%` begins an escape, and none hides a separator or a control character.
fn percent_ok(part: &str) -> bool {
    part.split('%').skip(1).all(|rest| {
        let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.is_some_and(|b| b > 0x20 && !matches!(b, b'/' | b'\\' | b'.' | b'@' | b'?' | b'#' | 0x7f))
    })
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), RepoUrlError> {
    let end = if authority.starts_with('[') { authority.find(']').map(|at| at + 1) } else { authority.find(':') };
    let (host, rest) = authority.split_at(end.unwrap_or(authority.len()));
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(RepoUrlError::Malformed)?)
        }
        _ => return Err(RepoUrlError::Malformed),
    };
    Ok((host_text(host)?, port))
}

/// A host has one spelling (its case aside): what is judged, looked up, pinned and connected to is one text.
/// `0x7f.1`, `2130706433`, `example.com.` and `%31` are none; nor is what ssh would read as an option.
fn host_text(text: &str) -> Result<String, RepoUrlError> {
    let label = |l: &str| {
        let word = l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        word && !l.is_empty() && l.len() <= 63 && !l.starts_with('-') && !l.ends_with('-')
    };
    match Host::parse(text).map_err(|_| RepoUrlError::Malformed)? {
        Host::Domain(name) if name.eq_ignore_ascii_case(text) && name.len() <= 253 && name.split('.').all(label) => Ok(name),
        Host::Ipv4(ip) if ip.to_string() == text => Ok(text.to_owned()),
        Host::Ipv6(ip) => Ok(ip.to_string()),
        _ => Err(RepoUrlError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: &[&str] = &[
        "",
        "http://github.com/org/repo.git",
        "git://github.com/org/repo.git",
        "/srv/repo",
        "./repo",
        "repo",
        "file:///srv/repo",
        "https://",
        "https:///x",
        "https://host",
        "https://host/",
        "git@:",
        "git@host:",
        "git@:x",
        "ext::sh -c id",
        "https://user:pw@host/x",
        "https://user@host/x",
        "https://@host/x",
        "https://host/x?token=1",
        "https://host/x#frag",
        "https://host/x?",
        "https://host/x#",
        "https://host/%ZZ",
        "https://host/a%2fb",
        "https://host/../x",
        "https://host/a/%2e%2e/b",
        "https://host//x",
        "https://host/a b",
        "https://host/a\nb",
        "https://host/a\\b",
        "-uhttps://host/x",
        "https://-oProxy/x",
        "ssh://-oProxyCommand=x/y",
        "git@-oProxy:x",
        "ssh://git:pw@host/x",
        "host:x",
        "https://host:99999/x",
        "HTTPS://host/x",
        "https://host/-x",
        "https://host:0/x",
        "https://host:/x",
        "https://host:+1/x",
        "ssh://host:/x",
        "ssh://host:0/x",
        "https://host./x",
        "git@host.:x",
        "https://a..b/x",
        "https://host-/x",
        "https://0x7f.1/x",
        "https://2130706433/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "ssh://0x7f.1/x",
        "git@2130706433:x",
        "https://%31%32%37.0.0.1/x",
        "https://h%6fst/x",
        "https://[fe80::1%25eth0]/x",
        "https://[::1/x",
        "https://::1/x",
        "https://xn--a/x",
        "git@[::1]:x",
    ];

    #[test]
    fn only_https_and_ssh_urls_without_secrets_are_taken() {
        for good in [
            "https://github.com/org/repo.git",
            "https://github.com/org/repo",
            "https://host:8443/a/b.git",
            "https://127.0.0.1:1/r.git",
            "https://[::1]:9/r.git",
            "https://host/a/b.git/",
            "https://host/a%20b".replace("%20", "%2B").as_str(),
            "git@github.com:org/repo.git",
            "ssh://git@github.com/org/repo.git",
            "ssh://host:2222/x",
            "https://host:65535/a/b.git",
            "https://xn--bcher-kva.example/a/b.git",
            "ssh://git@[::1]:2222/x",
        ] {
            assert!(good.parse::<RepoUrl>().is_ok(), "{good}");
        }
        for bad in BAD {
            assert!(bad.parse::<RepoUrl>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refusal_never_repeats_the_url() {
        let error = "https://user:s3cr3t@host/x".parse::<RepoUrl>().unwrap_err();
        assert_eq!(error, RepoUrlError::UserInfo);
        assert!(!format!("{error} {error:?}").contains("s3cr3t"));
    }

    #[test]
    fn a_url_knows_where_it_leads() {
        let url: RepoUrl = "https://GitHub.com/Org/Repo.git".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.as_str()), ("github.com", 443, "https://github.com/Org/Repo.git"));
        let url: RepoUrl = "git@github.com:org/repo.git".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.scheme(), url.ssh_user()), ("github.com", 22, Scheme::Ssh, "git"));
        let url: RepoUrl = "ssh://Host:2222/x@y".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.ssh_user()), ("host", 2222, "git"));
        let url: RepoUrl = "ssh://deploy@[0:0::1]/x".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.ssh_user()), ("::1", 22, "deploy"));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_the_parser_panic_and_what_it_takes_is_harmless(text in "\\PC*") {
            if let Ok(url) = text.parse::<RepoUrl>() {
                assert!(!url.as_str().starts_with('-'));
            }
        }
    }
}
