//! Who listens on a port.

use std::{collections::HashSet, fs, net::Ipv4Addr, path::PathBuf};

/// Sockets that are bound to no address in particular, as /proc/net writes them.
const ANY_V4: &str = "00000000";
const ANY_V6: &str = "00000000000000000000000000000000";
/// Before an address of the fourth version in one of the sixth.
const MAPPED: &str = "0000000000000000FFFF0000";
const LISTEN: &str = "0A";

/// The sockets that accept connections to this address and port, as the links of /proc/pid/fd name them, in the network that a
/// process is in: a container's is not the host's.
pub(super) fn listening_on(pid: i32, address: &str, port: u16) -> HashSet<PathBuf> {
    let octets = address.parse::<Ipv4Addr>().unwrap_or(Ipv4Addr::LOCALHOST).octets();
    let own = octets.iter().rev().map(|octet| format!("{octet:02X}")).collect::<String>();
    let mapped = format!("{MAPPED}{own}");
    let mut found = HashSet::new();
    for (file, reached) in [("tcp", [ANY_V4, &own]), ("tcp6", [ANY_V6, &mapped])] {
        // No IPv6, no such file.
        let table = fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(|line| socket(line, port, &reached)));
    }
    found
}

fn socket(line: &str, port: u16, reached: &[&str]) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, hex_port) = fields.get(1)?.split_once(':')?;
    let listens = *fields.get(3)? == LISTEN && reached.contains(&address) && u16::from_str_radix(hex_port, 16) == Ok(port);
    listens.then(|| fields.get(9).map(|inode| PathBuf::from(format!("socket:[{inode}]"))))?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_listening_sockets_on_the_port_count() {
        let own = i32::try_from(std::process::id()).unwrap();
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            assert_eq!(listening_on(own, "127.0.0.1", port).len(), 1, "{address}");
            assert!(listening_on(own, "127.0.0.1", stream.local_addr().unwrap().port()).is_empty(), "a connection is not a listener");
            drop(listener);
            assert!(listening_on(own, "127.0.0.1", port).is_empty());
        }
    }
}
