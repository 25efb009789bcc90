//! The grammar of the two inputs that client and server both check: parsed once, valid ever after.

use std::{fmt, str::FromStr};

use url::{Host, Url};

/// A branch name that git takes for `refs/heads/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Branch(String);

/// Why a branch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BranchError {
    #[error("branch is required")]
    Missing,
    #[error("invalid branch name")]
    Invalid,
}

const BRANCH_MAX_BYTES: usize = 255;

impl Branch {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name of the reference.
    #[must_use]
    pub fn full_ref(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl FromStr for Branch {
    type Err = BranchError;

    /// The rules of `git check-ref-format --branch`, and a bound on the length.
    fn from_str(name: &str) -> Result<Self, BranchError> {
        if name.is_empty() {
            return Err(BranchError::Missing);
        }
        let forbidden = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
        let bad_component = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
        let invalid = name.len() > BRANCH_MAX_BYTES
            || name.starts_with('-')
            || name.ends_with('.')
            || name == "@"
            || name == "HEAD"
            || name.contains("..")
            || name.contains("@{")
            || name.chars().any(forbidden)
            || name.split('/').any(bad_component);
        if invalid { Err(BranchError::Invalid) } else { Ok(Self(name.to_owned())) }
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Https,
    Ssh,
}

/// A repository URL without any credential in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RepoUrl {
    text: String,
    scheme: Scheme,
    host: String,
    port: u16,
}

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

    fn https(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = split_authority(text, "https://")?;
        if authority.contains('@') {
            return Err(RepoUrlError::UserInfo);
        }
        check_path(path)?;
        let url = Url::parse(text).map_err(|_| RepoUrlError::Malformed)?;
        let port = url.port_or_known_default().ok_or(RepoUrlError::Malformed)?;
        let host = host_text(url.host().ok_or(RepoUrlError::Malformed)?)?;
        Ok(Self { text: url.into(), scheme: Scheme::Https, host, port })
    }

    fn ssh(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = split_authority(text, "ssh://")?;
        let host_port = ssh_user(authority)?;
        check_path(path)?;
        let url = Url::parse(&format!("ssh://{host_port}{path}")).map_err(|_| RepoUrlError::Malformed)?;
        let host = host_text(url.host().ok_or(RepoUrlError::Malformed)?)?;
        let port = url.port().unwrap_or(22);
        Ok(Self { text: text.to_owned(), scheme: Scheme::Ssh, host, port })
    }

    /// `git@host:path`.
    fn scp_like(text: &str) -> Result<Self, RepoUrlError> {
        let (authority, path) = text.split_once(':').ok_or(RepoUrlError::Scheme)?;
        if !authority.contains('@') || authority.contains('/') {
            return Err(RepoUrlError::Scheme);
        }
        let host = ssh_user(authority)?;
        check_path(&format!("/{}", path.strip_prefix('/').unwrap_or(path)))?;
        let host = host_text(Host::parse(host).map_err(|_| RepoUrlError::Malformed)?)?;
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

/// The user that an SSH remote names; a password in it is a credential.
fn ssh_user(authority: &str) -> Result<&str, RepoUrlError> {
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

fn host_text(host: Host<impl AsRef<str> + fmt::Display>) -> Result<String, RepoUrlError> {
    match host {
        // `Url` takes odd hosts (`%`, a leading `-`) that ssh would read as an option.
        Host::Domain(name) => {
            let name = name.as_ref();
            let label =
                |l: &str| !l.is_empty() && !l.starts_with('-') && l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            let whole = name.strip_suffix('.').unwrap_or(name);
            if whole.split('.').all(label) { Ok(name.to_ascii_lowercase()) } else { Err(RepoUrlError::Malformed) }
        }
        Host::Ipv4(ip) => Ok(ip.to_string()),
        Host::Ipv6(ip) => Ok(ip.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_follow_gits_rules() {
        for good in ["main", "feature/x", "a.b", "a-b", "ünïcode", "refs/heads/main", "v1.0", "@x", "HEAD2"] {
            assert!(good.parse::<Branch>().is_ok(), "{good}");
        }
        assert_eq!("".parse::<Branch>(), Err(BranchError::Missing));
        for bad in [
            "bad branch",
            "-x",
            "a..b",
            "a~b",
            "a^b",
            "a:b",
            "a?b",
            "a*b",
            "a[b",
            "a\\b",
            "a/",
            "a.",
            "a.lock",
            ".a",
            "/a",
            "a//b",
            "@",
            "a@{b",
            "a\nb",
            "a\tb",
            "a\u{7f}b",
            "a\0",
            "HEAD",
            " ",
            "a/.b",
            "a.lock/b",
        ] {
            assert_eq!(bad.parse::<Branch>(), Err(BranchError::Invalid), "{bad:?}");
        }
        assert_eq!("x".repeat(256).parse::<Branch>(), Err(BranchError::Invalid));
    }

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
        ] {
            assert!(good.parse::<RepoUrl>().is_ok(), "{good}");
        }
        for bad in [
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
        ] {
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
        assert_eq!((url.host(), url.port(), url.scheme()), ("github.com", 22, Scheme::Ssh));
    }

    proptest::proptest! {
        #[test]
        fn no_input_makes_the_parsers_panic_and_what_they_take_is_harmless(text in "\\PC*") {
            if let Ok(branch) = text.parse::<Branch>() {
                assert!(!branch.as_str().starts_with('-'));
            }
            if let Ok(url) = text.parse::<RepoUrl>() {
                assert!(!url.as_str().starts_with('-'));
            }
        }
    }
}
