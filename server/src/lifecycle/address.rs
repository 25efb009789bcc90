//! The way to a repository's host: looked up once, checked, and then the only one that git may take.

use std::{net::IpAddr, time::Duration};

use super::{
    PhaseError,
    git::{GitSettings, Transport},
};
use crate::domain::{Fault, hosts::Reach, repo::RepoUrl};

const STEP: &str = "resolve";
/// Where a proxy finds the hosts, there need be no DNS, and waiting for it is waste.
const LOOK_UP_BESIDE_A_PROXY: Duration = Duration::from_secs(3);
const LOOK_UP: Duration = Duration::from_secs(15);
const CHECK: &str = "check the host in the repository's URL";

/// How git gets to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To one of these addresses, which were checked.
    Pinned(Vec<IpAddr>),
    /// To where a rewrite of the operator's leads.
    Rewritten,
    /// Through the proxy, which alone can look the host up.
    Proxied,
}

/// Judges the host once more, and then each of its addresses: one that is refused refuses all.
pub async fn check(settings: &GitSettings, url: &RepoUrl) -> Result<Route, PhaseError> {
    let reach = settings.hosts.judge(url).map_err(refused)?;
    if reach == Reach::Rewritten {
        return Ok(Route::Rewritten);
    }
    let proxied = !settings.proxies.is_empty() && settings.transport(url) == Transport::Https;
    let found = match look_up(url, proxied).await {
        Ok(found) => found,
        // Where it leads is the proxy's to decide then: only for hosts that the operator has named.
        Err(_) if proxied && (reach == Reach::Anywhere || settings.hosts.is_closed()) => return Ok(Route::Proxied),
        Err(error) => return Err(error),
    };
    for ip in &found {
        settings.hosts.admits(reach, *ip).map_err(refused)?;
    }
    Ok(Route::Pinned(found))
}

async fn look_up(url: &RepoUrl, proxied: bool) -> Result<Vec<IpAddr>, PhaseError> {
    let looked = tokio::net::lookup_host((url.host(), url.port()));
    let late = |_| PhaseError::transient(STEP, "the host cannot be looked up in time").first(CHECK);
    let found = tokio::time::timeout(if proxied { LOOK_UP_BESIDE_A_PROXY } else { LOOK_UP }, looked).await.map_err(late)?;
    let found =
        found.map_err(|error| PhaseError::transient(STEP, format!("the host {} cannot be looked up: {error}", url.host())).first(CHECK))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    if addresses.is_empty() { Err(PhaseError::transient(STEP, "the host has no address").first(CHECK)) } else { Ok(addresses) }
}

fn refused(fault: Fault) -> PhaseError {
    let hint = if fault == Fault::HostPrivate { "; an operator may allow it (ALPINE_GIT_ALLOW_HOSTS)" } else { "" };
    PhaseError::permanent(STEP, format!("{fault}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hosts::HostPolicy;

    fn settings(allow: &[&str], deny: &[&str], proxy: bool) -> GitSettings {
        let list = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>();
        let hosts = HostPolicy::new(&list(allow), &[], &list(deny), vec!["https://mirrored/".into()]).unwrap();
        let proxies = if proxy { vec![("https_proxy".to_owned(), "http://192.0.2.1:3128".to_owned())] } else { vec![] };
        GitSettings { proxies, ..GitSettings::with_hosts(hosts) }
    }

    async fn route(settings: &GitSettings, url: &str) -> Result<Route, String> {
        check(settings, &url.parse().unwrap()).await.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_host_is_judged_by_its_name_and_by_every_address() {
        let open = settings(&[], &[], false);
        assert_eq!(route(&open, "https://1.1.1.1/r").await, Ok(Route::Pinned(vec!["1.1.1.1".parse().unwrap()])));
        assert_eq!(route(&open, "https://mirrored/r").await, Ok(Route::Rewritten));
        for url in ["https://10.0.0.1/r", "ssh://git@[::1]/r", "https://localhost/r", "git@localhost:r"] {
            assert!(route(&open, url).await.unwrap_err().contains("not on the public internet"), "{url}");
        }
        let allowed = settings(&["localhost"], &[], false);
        let Ok(Route::Pinned(addresses)) = route(&allowed, "https://localhost/r").await else { panic!("localhost is allowed") };
        assert!(addresses.iter().all(IpAddr::is_loopback));
        let denied = settings(&["localhost"], &["127.0.0.1", "::1"], false);
        assert!(route(&denied, "https://localhost/r").await.unwrap_err().contains("not taken here"), "by its address");
    }

    #[tokio::test]
    async fn a_proxy_may_find_a_named_host_that_cannot_be_looked_up_here_and_lifts_no_refusal() {
        let proxied = settings(&["no-such-host.invalid"], &[], true);
        assert_eq!(route(&proxied, "https://no-such-host.invalid/r").await, Ok(Route::Proxied));
        assert!(route(&proxied, "https://another.invalid/r").await.is_err(), "nobody has named it");
        for url in ["https://10.0.0.1/r", "https://localhost/r", "https://169.254.169.254/r"] {
            assert!(route(&proxied, url).await.is_err(), "{url}");
        }
        assert!(route(&proxied, "ssh://no-such-host.invalid/r").await.is_err(), "ssh knows no proxy");
        assert!(route(&settings(&[], &[], false), "https://no-such-host.invalid/r").await.is_err());
    }
}
