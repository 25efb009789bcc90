//! Where a repository's host may be: on public addresses, unless configuration says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{PhaseError, git::GitSettings};
use crate::domain::repo::RepoUrl;

/// The addresses that git is to connect to; none when a rewrite or the allow-list vouches for the host, or
/// when a proxy makes the connection and has the say over where it may lead.
pub async fn check(settings: &GitSettings, url: &RepoUrl) -> Result<Vec<IpAddr>, PhaseError> {
    if settings.rewrite(url).is_some()
        || !settings.proxies.is_empty()
        || settings.allow_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host()))
    {
        return Ok(Vec::new());
    }
    let found = tokio::net::lookup_host((url.host(), url.port())).await;
    let found: Vec<IpAddr> = found
        .map_err(|error| PhaseError::transient("resolve", format!("the host cannot be looked up: {error}")))?
        .map(|a| a.ip())
        .collect();
    if found.is_empty() {
        return Err(PhaseError::transient("resolve", "the host has no address"));
    }
    if found.iter().any(|ip| !is_public(*ip)) {
        return Err(PhaseError::permanent(
            "resolve",
            "the host is not on the public internet; an operator may allow it (ALPINE_GIT_ALLOW_HOSTS)",
        ));
    }
    Ok(found)
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().or_else(|| translated(ip)) {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

/// The IPv4 address inside a NAT64 or 6to4 address.
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, .., g, h] = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        (0x64, 0xff9b) => Some(join(g, h)),
        (0x2002, _) => Some(join(b, c)),
        _ => None,
    }
}

const fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (b & 0xc0) == 64;
    let benchmark = a == 198 && (b & 0xfe) == 18;
    let protocol = a == 192 && b == 0 && c == 0;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_documentation())
        && !(shared || benchmark || protocol || a == 0 || a >= 240)
}

const fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let global = (a & 0xe000) == 0x2000;
    let documentation = a == 0x2001 && b == 0xdb8;
    let teredo = a == 0x2001 && b == 0;
    global && !documentation && !teredo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_in_any_dress_are_not_public() {
        for private in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "ff02::1",
            "2001:db8::1",
            "192.0.0.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "140.82.112.3", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
