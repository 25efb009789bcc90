//! Git as Alpine runs it: fixed arguments, no configuration but ours, no prompt, no redirect, no other host
//! than the one that was checked.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use super::address::Route;
use crate::domain::{
    hosts::HostPolicy,
    repo::{RepoUrl, Scheme},
};

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
    pub hosts: Arc<HostPolicy>,
    /// Proxy settings that apply to https.
    pub proxies: Vec<(String, String)>,
    /// Rewrites may lead to `file://` (development only).
    pub allow_file: bool,
}

/// How git speaks to the remote, after rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Https,
    Ssh,
    File,
}

/// Answers git's credential request from the environment, on a pipe.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=x-access-token\npassword=%s\n' "$ALPINE_GIT_TOKEN"; }; f"#;
/// A mirror on this host is another user's; git serves it only if told that this is meant.
pub const SERVE_ANY_OWNER: &str = "--upload-pack=git -c safe.directory=* upload-pack";
pub const TOKEN_VARIABLE: &str = "ALPINE_GIT_TOKEN";

/// What a remote or a repository could use to send git elsewhere, or to have it run something: off, also
/// where that is git's default today.
const ALWAYS: &[(&str, &str)] = &[
    ("credential.helper", ""),
    ("core.askPass", ""),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("http.followRedirects", "false"),
    ("http.sslVerify", "true"),
    ("http.delegation", "none"),
    ("transfer.bundleURI", "false"),
    ("transfer.credentialsInUrl", "die"),
    ("fetch.uriProtocols", ""),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("protocol.version", "2"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("safe.directory", "*"),
];

impl GitSettings {
    /// The rewrite that applies: the longest, as git has it.
    #[must_use]
    pub fn rewrite(&self, url: &RepoUrl) -> Option<&Rewrite> {
        self.rewrites.iter().filter(|r| url.as_str().starts_with(&r.from)).max_by_key(|r| r.from.len())
    }

    /// What git says, with the addresses as they were before rewriting.
    #[must_use]
    pub fn as_asked(&self, said: &str) -> String {
        let host = |address: &str| address.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default().to_owned();
        let mut said = said.to_owned();
        for Rewrite { from, to } in &self.rewrites {
            // Git names files by their path alone, and hosts without what follows.
            said = said.replace(to, from);
            if let Some(path) = to.strip_prefix("file://").filter(|path| path.len() > 1) {
                said = said.replace(path, from);
            } else if !host(to).is_empty() {
                said = said.replace(&host(to), if host(from).is_empty() { from.clone() } else { host(from) }.as_str());
            }
        }
        said
    }

    #[must_use]
    pub fn transport(&self, url: &RepoUrl) -> Transport {
        let to = self.rewrite(url).map(|rewrite| rewrite.to.as_str());
        match (to, url.scheme()) {
            (Some(to), _) if to.starts_with("file://") && self.allow_file => Transport::File,
            (Some(to), _) if to.starts_with("https://") => Transport::Https,
            (Some(to), _) if to.starts_with("ssh://") || !to.contains("://") => Transport::Ssh,
            (_, Scheme::Https) => Transport::Https,
            (_, Scheme::Ssh) => Transport::Ssh,
        }
    }

    /// Scheme, host and port that git will speak to, after rewriting.
    fn origin(&self, url: &RepoUrl) -> String {
        let text = match self.rewrite(url) {
            Some(rewrite) => url.as_str().replacen(&rewrite.from, &rewrite.to, 1),
            None => url.as_str().to_owned(),
        };
        let after = text.find("://").map_or(0, |at| at + 3);
        let end = text[after..].find('/').map_or(text.len(), |at| after + at);
        text[..end].to_owned()
    }

    /// The environment of a git process that stays in the workspace: it may speak to no remote at all.
    #[must_use]
    pub fn local(&self) -> Vec<(String, String)> {
        Self::variables(String::new(), Vec::new())
    }

    /// The environment of a git process that talks to the remote, by this way alone.
    #[must_use]
    pub fn remote(&self, url: &RepoUrl, route: &Route, has_token: bool) -> Vec<(String, String)> {
        let mut config: Vec<(String, String)> = Vec::new();
        if has_token {
            // For this host alone: a proxy that wants a password must not be given the repository's token.
            config.push((format!("credential.{}.helper", self.origin(url)), HELPER.to_owned()));
        }
        config.extend(self.rewrites.iter().map(|r| (format!("url.{}.insteadOf", r.to), r.from.clone())));
        if let Route::Pinned(addresses) = route
            && url.host().parse::<IpAddr>().is_err()
        {
            config.push(("http.curloptResolve".to_owned(), pin(url, addresses)));
        }
        if self.proxies.is_empty() {
            // Not even one that the sandbox's environment names.
            config.push(("http.proxy".to_owned(), String::new()));
        }
        let protocol = match self.transport(url) {
            Transport::Https => "https",
            Transport::Ssh => "ssh",
            Transport::File => "file",
        };
        let mut variables = Self::variables(protocol.to_owned(), config);
        variables.extend(self.proxies.iter().cloned());
        if *route == Route::Proxied {
            // What could not be looked up to be checked must not be looked up by git.
            variables.extend(["no_proxy", "NO_PROXY"].map(|name| (name.to_owned(), String::new())));
        }
        if let Some(bundle) = &self.ca_bundle {
            variables.push(("GIT_SSL_CAINFO".to_owned(), bundle.display().to_string()));
        }
        variables
    }

    fn variables(protocol: String, more: Vec<(String, String)>) -> Vec<(String, String)> {
        // With a name git does not look this host's up, to make an address of it for its logs.
        let mut variables: Vec<(String, String)> = [
            ("GIT_AUTHOR_NAME", "alpine"),
            ("GIT_AUTHOR_EMAIL", "alpine@localhost"),
            ("GIT_COMMITTER_NAME", "alpine"),
            ("GIT_COMMITTER_EMAIL", "alpine@localhost"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_ALLOW_PROTOCOL", protocol.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let config = ALWAYS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).chain(more);
        let mut count = 0;
        for (key, value) in config {
            variables.push((format!("GIT_CONFIG_KEY_{count}"), key));
            variables.push((format!("GIT_CONFIG_VALUE_{count}"), value));
            count += 1;
        }
        variables.push(("GIT_CONFIG_COUNT".to_owned(), count.to_string()));
        variables
    }

    /// Nothing but these lists, for tests.
    #[cfg(test)]
    pub(super) fn with_hosts(hosts: HostPolicy) -> Self {
        Self {
            program: "git".into(),
            path: "/usr/local/bin:/usr/bin:/bin".into(),
            rewrites: vec![],
            ca_bundle: None,
            hosts: Arc::new(hosts),
            proxies: vec![],
            allow_file: false,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> GitSettings {
        let rewrites = [
            ("https://github.com/", "https://mirror/"),
            ("https://github.com/org/", "file:///srv/"),
            ("git@bitbucket.org:", "https://mirror/"),
            ("https://gitlab.com/", "git@mirror:"),
        ];
        GitSettings {
            rewrites: rewrites.map(|(from, to)| Rewrite { from: from.into(), to: to.into() }).to_vec(),
            allow_file: true,
            ..GitSettings::with_hosts(HostPolicy::default())
        }
    }

    #[test]
    fn what_git_says_of_an_address_is_said_of_the_one_that_was_asked_for() {
        let asked = |from: &str, to: &str, said: &str| {
            let rewrites = vec![Rewrite { from: from.into(), to: to.into() }];
            GitSettings { rewrites, ..GitSettings::with_hosts(HostPolicy::default()) }.as_asked(said)
        };
        assert_eq!(asked("https://h/org/", "https://h/", "no 'https://h/x'"), "no 'https://h/org/x'", "once");
        assert_eq!(asked("https://h/", "file:///srv/m/", "no '/srv/m/x'"), "no 'https://h/x'");
        assert_eq!(asked("https://h/", "file:///", "a / stays"), "a / stays");
        assert_eq!(asked("git@h:", "https://mirror/", "no host: mirror"), "no host: git@h:");
    }

    fn url(text: &str) -> RepoUrl {
        text.parse().unwrap()
    }

    /// What the variables configure, the last word of each key.
    fn config(variables: &[(String, String)], key: &str) -> Option<String> {
        let value = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let count: usize = value("GIT_CONFIG_COUNT")?.parse().unwrap();
        (0..count)
            .rev()
            .find(|n| value(&format!("GIT_CONFIG_KEY_{n}")).as_deref() == Some(key))
            .and_then(|n| value(&format!("GIT_CONFIG_VALUE_{n}")))
    }

    #[test]
    fn the_longest_rewrite_applies_and_files_only_where_allowed() {
        let github = url("https://github.com/org/r.git");
        assert_eq!(settings().rewrite(&github).unwrap().to, "file:///srv/");
        assert_eq!(settings().transport(&github), Transport::File);
        let strict = GitSettings { allow_file: false, ..settings() };
        assert_eq!(strict.transport(&github), Transport::Https);
        assert!(strict.remote(&github, &Route::Rewritten, false).contains(&("GIT_ALLOW_PROTOCOL".into(), "https".into())));
        assert_eq!(settings().transport(&url("git@bitbucket.org:o/r")), Transport::Https);
        assert_eq!(settings().transport(&url("https://gitlab.com/o/r")), Transport::Ssh);
        assert_eq!(settings().transport(&url("ssh://h/o/r")), Transport::Ssh);
    }

    #[test]
    fn a_token_never_stands_in_the_plain_environment() {
        let route = Route::Pinned(vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        let plain = settings().remote(&url("https://h/r.git"), &route, true);
        assert_eq!(config(&plain, "http.curloptResolve").as_deref(), Some("h:443:192.0.2.1,[2001:db8::1]"));
        assert_eq!(config(&plain, "credential.https://h.helper").as_deref(), Some(HELPER), "for nobody but the host");
        assert_eq!(config(&plain, "credential.helper").as_deref(), Some(""));
        let rewritten = GitSettings { allow_file: false, ..settings() }.remote(&url("https://github.com/o/r"), &Route::Rewritten, true);
        assert_eq!(config(&rewritten, "credential.https://mirror.helper").as_deref(), Some(HELPER));
        assert!(plain.iter().all(|(key, _)| key != TOKEN_VARIABLE));
    }

    #[test]
    fn git_in_the_workspace_speaks_no_protocol() {
        let local = settings().local();
        assert!(local.contains(&("GIT_ALLOW_PROTOCOL".into(), String::new())));
        assert_eq!(config(&local, "credential.helper").as_deref(), Some(""));
        assert!(local.iter().all(|(_, value)| !value.contains("mirror")));
    }

    #[test]
    fn proxies_are_the_configured_ones_or_none() {
        let none = settings().remote(&url("https://h/r"), &Route::Pinned(vec![]), false);
        assert_eq!(config(&none, "http.proxy").as_deref(), Some(""));
        let proxies = vec![("https_proxy".to_owned(), "http://p:1".to_owned()), ("no_proxy".to_owned(), "h".to_owned())];
        let proxied = GitSettings { proxies, ..settings() }.remote(&url("https://h/r"), &Route::Proxied, false);
        assert_eq!(config(&proxied, "http.proxy"), None);
        assert_eq!(proxied.iter().rfind(|(name, _)| name == "no_proxy").unwrap().1, "", "the last word is that there is no exception");
    }
}
