//! Which addresses are on the public internet, in any dress.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Public: not private, loopback, link-local, shared (CGNAT), multicast, reserved, for documentation or
/// benchmarks, and no cloud's metadata service; nor an IPv6 address that leads to such an IPv4 one.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped().or_else(|| nat64(ip)) {
            Some(ip) => is_public_v4(ip),
            None => is_public_v6(ip),
        },
    }
}

/// The IPv4 address inside an address of NAT64's well-known prefix, 64:ff9b::/96.
fn nat64(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, g, h] => Some(Ipv4Addr::from((u32::from(g) << 16) | u32::from(h))),
        _ => None,
    }
}

const fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, d] = ip.octets();
    let shared = a == 100 && (b & 0xc0) == 64;
    let benchmark = a == 198 && (b & 0xfe) == 18;
    let protocol = a == 192 && b == 0 && c == 0;
    let relay = a == 192 && b == 88 && c == 99;
    // Azure's metadata and DNS, on an address that is public by its number only.
    let azure = a == 168 && b == 63 && c == 129 && d == 16;
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_documentation())
        && !(shared || benchmark || protocol || relay || azure || a == 0 || a >= 240)
}

const fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, _, _, e, f, ..] = ip.segments();
    let global = (a & 0xe000) == 0x2000;
    // Teredo, ORCHID, benchmarks and the like: 2001::/23.
    let protocols = a == 0x2001 && b < 0x200;
    let documentation = (a == 0x2001 && b == 0xdb8) || (a == 0x3fff && b < 0x1000);
    let six_to_four = a == 0x2002;
    let isatap = (e & !0x200) == 0 && f == 0x5efe;
    global && !(protocols || documentation || six_to_four || isatap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE: &[&str] = &[
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "0.0.0.0",
        "0.1.2.3",
        "192.0.0.192",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "168.63.129.16",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "::127.0.0.1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "3fff::1",
        "2606:4700::5efe:7f00:1",
        "100::1",
        "ff02::1",
        "4000::1",
    ];

    #[test]
    fn private_addresses_in_any_dress_are_not_public() {
        for private in PRIVATE {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "140.82.112.3",
            "172.32.0.1",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
