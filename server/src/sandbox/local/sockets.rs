//! Who listens on a port of the loopback interface.

use std::{collections::HashSet, fs, path::PathBuf};

/// A connection to 127.0.0.1 reaches a socket bound to any of these (as /proc/net writes them).
const REACHED_V4: [&str; 2] = ["00000000", "0100007F"];
const REACHED_V6: [&str; 2] = ["00000000000000000000000000000000", "0000000000000000FFFF00000100007F"];
const LISTEN: &str = "0A";

/// The sockets that accept connections to 127.0.0.1 on this port, as the links of /proc/pid/fd name them.
pub(super) fn listening_on(port: u16) -> HashSet<PathBuf> {
    let mut found = HashSet::new();
    for (file, reached) in [("/proc/net/tcp", &REACHED_V4), ("/proc/net/tcp6", &REACHED_V6)] {
        // No IPv6, no such file.
        let table = fs::read_to_string(file).unwrap_or_default();
        found.extend(table.lines().skip(1).filter_map(|line| socket(line, port, reached)));
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
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            assert_eq!(listening_on(port).len(), 1, "{address}");
            assert!(listening_on(stream.local_addr().unwrap().port()).is_empty(), "a connection is not a listener");
            drop(listener);
            assert!(listening_on(port).is_empty());
        }
    }
}
