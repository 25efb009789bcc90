//! Which hosts repositories may be on. Judged when an `up` is accepted and once more when git is about to run.

use std::{net::IpAddr, str::FromStr};

use url::Host;

use super::{Fault, addresses::is_public, repo::RepoUrl};

/// One host of a list: a name, an address, or `*.` and a name for all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Below(String),
    Address(IpAddr),
}

/// Neither a host nor `*.` and a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a host nor *. and a domain")]
pub struct NotAHost(String);

impl FromStr for Pattern {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        let refused = || NotAHost(text.to_owned());
        let (below, host) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if let Ok(ip) = host.parse::<IpAddr>() {
            return if below { Err(refused()) } else { Ok(Self::Address(ip.to_canonical())) };
        }
        // As it is in a URL: lower case, IDNA, odd numbers read as what they are.
        match (Host::parse(host.trim_end_matches('.')).map_err(|_| refused())?, below) {
            (Host::Domain(name), _) if name.contains(['*', '/']) || name.starts_with('.') => Err(refused()),
            (Host::Domain(name), true) => Ok(Self::Below(format!(".{name}"))),
            (Host::Domain(name), false) => Ok(Self::Name(name)),
            (Host::Ipv4(ip), false) => Ok(Self::Address(ip.into())),
            (Host::Ipv6(ip), false) => Ok(Self::Address(IpAddr::from(ip).to_canonical())),
            (_, true) => Err(refused()),
        }
    }
}

impl Pattern {
    fn takes(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Address(ip) => host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical() == *ip),
        }
    }
}

/// How far a repository's host is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A rewrite leads it to where the operator wants it.
    Rewritten,
    /// Its addresses may be private.
    Anywhere,
    /// Its addresses must be public.
    Public,
}

/// The operator's lists. `deny` counts before all.
#[derive(Debug, Clone, Default)]
pub struct HostPolicy {
    allow: Vec<Pattern>,
    only: Vec<Pattern>,
    deny: Vec<Pattern>,
    rewritten: Vec<String>,
}

/// An empty setting is none.
fn hosts_are_blank(hosts: &[String]) -> bool {
    !hosts.join(",").is_empty() && hosts.iter().all(|host| host.trim().is_empty())
}

impl HostPolicy {
    /// `allow`: may be private. `only`: no others, unless it is empty. `deny`: never. `rewritten`: what URLs
    /// that are led elsewhere begin with.
    pub fn new(allow: &[String], only: &[String], deny: &[String], rewritten: Vec<String>) -> Result<Self, NotAHost> {
        let list = |hosts: &[String]| -> Result<Vec<Pattern>, NotAHost> {
            hosts.iter().map(|host| host.trim()).filter(|host| !host.is_empty()).map(str::parse).collect()
        };
        // A list that is given and names nobody would let everybody in.
        if hosts_are_blank(only) {
            return Err(NotAHost(String::new()));
        }
        Ok(Self { allow: list(allow)?, only: list(only)?, deny: list(deny)?, rewritten })
    }

    /// Whether only named hosts are taken.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        !self.only.is_empty()
    }

    /// What can be said of a URL without a look-up.
    pub fn judge(&self, url: &RepoUrl) -> Result<Reach, Fault> {
        let host = url.host();
        let among = |list: &[Pattern]| list.iter().any(|pattern| pattern.takes(host));
        if among(&self.deny) || !(self.only.is_empty() || among(&self.only)) {
            return Err(Fault::HostDenied);
        }
        if self.rewritten.iter().any(|from| url.as_str().starts_with(from.as_str())) {
            return Ok(Reach::Rewritten);
        }
        if among(&self.allow) {
            return Ok(Reach::Anywhere);
        }
        let private = match host.parse::<IpAddr>() {
            Ok(ip) => !is_public(ip),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        if private { Err(Fault::HostPrivate) } else { Ok(Reach::Public) }
    }

    /// Whether git may connect to this address of a host that was judged so.
    pub fn admits(&self, reach: Reach, ip: IpAddr) -> Result<(), Fault> {
        let canonical = ip.to_canonical();
        if self.deny.iter().any(|pattern| matches!(pattern, Pattern::Address(denied) if *denied == canonical)) {
            return Err(Fault::HostDenied);
        }
        if reach == Reach::Public && !is_public(ip) { Err(Fault::HostPrivate) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allow: &str, only: &str, deny: &str) -> HostPolicy {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        HostPolicy::new(&list(allow), &list(only), &list(deny), vec!["https://mirrored.example/".into()]).unwrap()
    }

    fn judge(policy: &HostPolicy, url: &str) -> Result<Reach, Fault> {
        policy.judge(&url.parse().unwrap_or_else(|error| panic!("{url}: {error}")))
    }

    #[test]
    fn without_lists_all_but_private_hosts_are_taken() {
        let open = policy("", "", "");
        assert_eq!(judge(&open, "https://github.com/o/r"), Ok(Reach::Public));
        assert_eq!(judge(&open, "https://mirrored.example/o/r"), Ok(Reach::Rewritten));
        for private in
            ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fd00:ec2::254]", "localhost", "a.LOCALHOST"]
        {
            assert_eq!(judge(&open, &format!("https://{private}/o/r")), Err(Fault::HostPrivate), "{private}");
            assert_eq!(judge(&open, &format!("ssh://git@{private}/o/r")), Err(Fault::HostPrivate), "{private}");
        }
    }

    #[test]
    fn only_the_listed_hosts_are_taken_and_deny_counts_before_all() {
        let lists = policy("git.corp", "github.com,*.corp,1.1.1.1", "bad.corp,*.evil.corp");
        assert_eq!(judge(&lists, "https://GitHub.com/o/r"), Ok(Reach::Public));
        assert_eq!(judge(&lists, "git@github.com:o/r"), Ok(Reach::Public));
        assert_eq!(judge(&lists, "https://git.corp/o/r"), Ok(Reach::Anywhere));
        assert_eq!(judge(&lists, "https://1.1.1.1/o/r"), Ok(Reach::Public));
        let refused = [
            "corp",
            "notcorp",
            "a.github.com",
            "github.com.evil.example",
            "bad.corp",
            "BAD.corp",
            "x.evil.corp",
            "1.1.1.2",
            "mirrored.example",
        ];
        for host in refused {
            assert_eq!(judge(&lists, &format!("https://{host}/o/r")), Err(Fault::HostDenied), "{host}");
        }
        let mirror = policy("", "", "mirrored.example");
        assert_eq!(judge(&mirror, "https://mirrored.example/o/r"), Err(Fault::HostDenied), "a rewrite lifts no denial");
    }

    #[test]
    fn addresses_are_compared_as_addresses_however_they_are_listed() {
        for spelling in ["127.0.0.1", "0x7f.1", "2130706433", "0177.0.0.1", "::ffff:127.0.0.1", "[::ffff:7f00:1]", "[::FFFF:127.0.0.1]"] {
            let denied = policy("127.0.0.1", "", spelling);
            assert_eq!(judge(&denied, "https://127.0.0.1/o/r"), Err(Fault::HostDenied), "{spelling}");
            assert_eq!(judge(&denied, "ssh://[::ffff:127.0.0.1]/o/r"), Err(Fault::HostDenied), "{spelling}");
            assert_eq!(denied.admits(Reach::Anywhere, "127.0.0.1".parse().unwrap()), Err(Fault::HostDenied));
            assert_eq!(denied.admits(Reach::Anywhere, "127.0.0.2".parse().unwrap()), Ok(()));
            assert_eq!(denied.admits(Reach::Public, "127.0.0.2".parse().unwrap()), Err(Fault::HostPrivate));
        }
        let names = policy("", "", "Bücher.example,Example.COM.");
        assert_eq!(judge(&names, "https://xn--bcher-kva.example/o/r"), Err(Fault::HostDenied));
        assert_eq!(judge(&names, "https://EXAMPLE.com/o/r"), Err(Fault::HostDenied));
    }

    #[test]
    fn what_is_no_host_is_no_entry() {
        for bad in ["*.", "*", "a b", "*.1.2.3.4", "http://x/", "a.*.b", "..", "10.0.0.0/8"] {
            assert!(HostPolicy::new(&[], &[], &[bad.to_owned()], vec![]).is_err(), "{bad}");
        }
    }
}
