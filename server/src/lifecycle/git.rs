//! Git as Alpine runs it: fixed arguments, no configuration but ours, no prompt, no redirect, and the
//! credential only in the environment of the one process that needs it.

use std::{net::IpAddr, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::domain::repo::{RepoUrl, Scheme};

/// `from` at the start of a URL is read as `to` (git's `insteadOf`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    pub from: String,
    pub to: String,
}

#[derive(Debug, Clone)]
pub struct GitSettings {
    /// The server's own git, for `ls-remote`.
    pub program: PathBuf,
    pub path: String,
    pub rewrites: Vec<Rewrite>,
    /// The bundle that git trusts: the system's and the configured extra CA, together.
    pub ca_bundle: Option<PathBuf>,
    /// Hosts that may be private addresses.
    pub allow_hosts: Vec<String>,
    /// Proxy settings, for the server's own git; sandboxes get theirs from their provider.
    pub proxies: Vec<(String, String)>,
    /// Rewrites may lead to `file://` (development only).
    pub allow_file: bool,
}

/// Answers git's credential request from the environment, on a pipe.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=x-access-token\npassword=%s\n' "$ALPINE_GIT_TOKEN"; }; f"#;
/// A mirror on this host is another user's; git serves it only if told that this is meant.
pub const SERVE_ANY_OWNER: &str = "--upload-pack=git -c safe.directory=* upload-pack";
pub const TOKEN_VARIABLE: &str = "ALPINE_GIT_TOKEN";

impl GitSettings {
    /// The rewrite that applies: the longest, as git has it.
    #[must_use]
    pub fn rewrite(&self, url: &RepoUrl) -> Option<&Rewrite> {
        self.rewrites.iter().filter(|r| url.as_str().starts_with(&r.from)).max_by_key(|r| r.from.len())
    }

    /// Whether this repository is read from a local path.
    #[must_use]
    pub fn is_file(&self, url: &RepoUrl) -> bool {
        self.allow_file && self.rewrite(url).is_some_and(|r| r.to.starts_with("file://"))
    }

    /// The environment of a git process that talks to the remote. `resolved`: the addresses that were
    /// checked, which git must use.
    #[must_use]
    pub fn environment(&self, url: &RepoUrl, resolved: &[IpAddr], has_token: bool) -> Vec<(String, String)> {
        let mut config = vec![
            ("credential.helper".to_owned(), String::new()),
            ("http.followRedirects".to_owned(), "false".to_owned()),
            ("core.hooksPath".to_owned(), "/dev/null".to_owned()),
            ("submodule.recurse".to_owned(), "false".to_owned()),
            ("transfer.credentialsInUrl".to_owned(), "die".to_owned()),
            ("protocol.version".to_owned(), "2".to_owned()),
            ("advice.detachedHead".to_owned(), "false".to_owned()),
            ("safe.directory".to_owned(), "*".to_owned()),
        ];
        if has_token {
            config.push(("credential.helper".to_owned(), HELPER.to_owned()));
        }
        config.extend(self.rewrites.iter().map(|r| (format!("url.{}.insteadOf", r.to), r.from.clone())));
        if !resolved.is_empty() {
            config.push(("http.curloptResolve".to_owned(), pin(url, resolved)));
        }
        let mut variables = vec![
            ("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned()),
            ("GIT_CONFIG_NOSYSTEM".to_owned(), "1".to_owned()),
            ("GIT_CONFIG_GLOBAL".to_owned(), "/dev/null".to_owned()),
            ("GIT_ALLOW_PROTOCOL".to_owned(), self.protocols(url).to_owned()),
            ("GIT_LFS_SKIP_SMUDGE".to_owned(), "1".to_owned()),
            ("GIT_CONFIG_COUNT".to_owned(), config.len().to_string()),
        ];
        for (index, (key, value)) in config.into_iter().enumerate() {
            variables.push((format!("GIT_CONFIG_KEY_{index}"), key));
            variables.push((format!("GIT_CONFIG_VALUE_{index}"), value));
        }
        if let Some(bundle) = &self.ca_bundle {
            variables.push(("GIT_SSL_CAINFO".to_owned(), bundle.display().to_string()));
        }
        variables
    }

    fn protocols(&self, url: &RepoUrl) -> &'static str {
        match (self.is_file(url), url.scheme()) {
            (true, _) => "file",
            (false, Scheme::Https) => "https",
            (false, Scheme::Ssh) => "ssh",
        }
    }
}

/// All addresses in one entry: of several entries for a host only the last would count.
fn pin(url: &RepoUrl, addresses: &[IpAddr]) -> String {
    let address = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let addresses: Vec<String> = addresses.iter().map(address).collect();
    format!("{}:{}:{}", url.host(), url.port(), addresses.join(","))
}

/// Text that a remote or a tool wrote, fit to be shown: the last lines, without control characters and
/// without the token, should it have been echoed.
#[must_use]
pub fn printable(text: &str, token: Option<&SecretString>) -> String {
    const LIMIT: usize = 600;
    let text = match token {
        Some(token) if !token.expose_secret().is_empty() => text.replace(token.expose_secret(), "***"),
        _ => text.to_owned(),
    };
    let lines: Vec<String> = text
        .split(['\n', '\r'])
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>().trim_end().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let joined = lines[lines.len().saturating_sub(6)..].join("; ");
    let skip = joined.chars().count().saturating_sub(LIMIT);
    joined.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> GitSettings {
        GitSettings {
            program: "git".into(),
            path: String::new(),
            rewrites: vec![
                Rewrite { from: "https://github.com/".into(), to: "https://mirror/".into() },
                Rewrite { from: "https://github.com/org/".into(), to: "file:///srv/".into() },
            ],
            ca_bundle: None,
            proxies: vec![],
            allow_hosts: vec![],
            allow_file: true,
        }
    }

    #[test]
    fn the_longest_rewrite_applies_and_files_only_where_allowed() {
        let url: RepoUrl = "https://github.com/org/r.git".parse().unwrap();
        assert_eq!(settings().rewrite(&url).unwrap().to, "file:///srv/");
        assert!(settings().is_file(&url));
        assert!(!GitSettings { allow_file: false, ..settings() }.is_file(&url));
        let strict = GitSettings { allow_file: false, ..settings() }.environment(&url, &[], false);
        assert!(strict.contains(&("GIT_ALLOW_PROTOCOL".into(), "https".into())));
    }

    #[test]
    fn a_token_never_stands_in_the_plain_environment() {
        let url: RepoUrl = "https://h/r.git".parse().unwrap();
        let plain = settings().environment(&url, &["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()], true);
        assert!(plain.iter().any(|(_, value)| value == "h:443:192.0.2.1,[2001:db8::1]"));
        assert!(plain.iter().all(|(key, _)| key != TOKEN_VARIABLE));
    }

    #[test]
    fn what_is_shown_is_the_end_without_control_characters_or_the_token() {
        let token: SecretString = "t0ken".into();
        assert_eq!(printable("a\n\x1b[31mfatal: t0ken\r\n", Some(&token)), "a; [31mfatal: ***");
        assert!(printable(&"x".repeat(5000), None).len() <= 600);
    }
}
