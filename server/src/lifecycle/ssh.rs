//! SSH for git: one key, from an agent of its own that lives as long as the git process; one host, at the
//! address that was checked, with a pinned host key. The key is in no argument, no file and no environment.

use std::net::IpAddr;

use super::address::Route;
use crate::domain::repo::RepoUrl;

pub const KNOWN_HOSTS_VARIABLE: &str = "ALPINE_GIT_KNOWN_HOSTS";

/// `$@` is git. The key comes on standard input and goes to the agent. The agent stays in this process group,
/// and ends with it.
pub const WITH_AGENT: &str = r#"set -eu
umask 077
dir=$(mktemp -d)
agent=
trap 'test -z "$agent" || kill "$agent" 2>/dev/null || true; rm -rf "$dir"' EXIT
ssh-agent -D -a "$dir/agent" >/dev/null 2>&1 &
agent=$!
tries=0
export SSH_AUTH_SOCK="$dir/agent"
# 1: it answers, and has no keys. That its socket is there says nothing: it is before anybody is let in.
until ssh-add -l </dev/null >/dev/null 2>&1 || test $? = 1; do
  tries=$((tries + 1))
  test "$tries" -lt 200 || { echo "ssh-agent does not start" >&2; exit 1; }
  sleep 0.02
done
ssh-add -q -t 900 - 2>/dev/null || {
  test $? = 1 || { echo "ssh-agent has ended" >&2; exit 1; }
  echo "the deploy key cannot be read" >&2
  exit 1
}
"$@" </dev/null"#;

/// Nothing of a user's or the system's configuration, nobody asked, nothing forwarded, nothing run.
const OPTIONS: &[&str] = &[
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UserKnownHostsFile=none",
    "GlobalKnownHostsFile=none",
    "KnownHostsCommand='/usr/bin/printenv ALPINE_GIT_KNOWN_HOSTS'",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "VerifyHostKeyDNS=no",
    "CanonicalizeHostname=no",
    "IdentityFile=none",
    "AddKeysToAgent=no",
    "PreferredAuthentications=publickey",
    "PubkeyAuthentication=yes",
    "ProxyCommand=none",
    "ProxyJump=none",
    "ControlMaster=no",
    "ControlPath=none",
    "PermitLocalCommand=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "RequestTTY=no",
    "EscapeChar=none",
    "LogLevel=ERROR",
    "ConnectTimeout=15",
    "ConnectionAttempts=1",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];

/// The variables that make git use ssh so. All that is not fixed is of the URL's grammar or an address, and
/// holds nothing that a shell would read otherwise.
pub fn environment(url: &RepoUrl, route: &Route, known_hosts: &str) -> Vec<(String, String)> {
    let mut command = String::from("ssh -F none");
    for option in OPTIONS {
        command.push_str(&format!(" -o {option}"));
    }
    if *route != Route::Rewritten {
        command.push_str(&format!(" -o User={}", url.ssh_user()));
    }
    if let Route::Pinned(addresses) = route
        && let Some(address) = addresses.first()
    {
        command.push_str(&format!(" -o HostName={address} -o 'HostKeyAlias={}'", alias(url)));
    }
    [
        ("GIT_SSH_COMMAND", command.as_str()),
        ("GIT_SSH_VARIANT", "ssh"),
        ("SSH_ASKPASS_REQUIRE", "never"),
        (KNOWN_HOSTS_VARIABLE, known_hosts),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The host as `known_hosts` names it.
fn alias(url: &RepoUrl) -> String {
    match (url.port(), url.host().parse::<IpAddr>()) {
        (22, _) => url.host().to_owned(),
        (port, _) => format!("[{}]:{port}", url.host()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(url: &str, route: &Route) -> String {
        let environment = environment(&url.parse().unwrap(), route, "h ssh-ed25519 AAAA");
        assert!(environment.contains(&("GIT_SSH_VARIANT".into(), "ssh".into())));
        environment.into_iter().find(|(name, _)| name == "GIT_SSH_COMMAND").unwrap().1
    }

    #[test]
    fn ssh_goes_to_the_checked_address_and_expects_the_key_of_the_named_host() {
        let pinned = Route::Pinned(vec!["192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        for url in ["git@h.example:o/r", "ssh://h.example/o/r"] {
            assert!(command(url, &pinned).ends_with(" -o User=git -o HostName=192.0.2.7 -o 'HostKeyAlias=h.example'"), "{url}");
        }
        let other = command("ssh://me@h.example:2222/o/r", &pinned);
        assert!(other.ends_with(" -o User=me -o HostName=192.0.2.7 -o 'HostKeyAlias=[h.example]:2222'"));
        assert!(other.starts_with("ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes"));
        assert!(!command("git@h:o/r", &Route::Rewritten).contains("HostName"));
    }
}
