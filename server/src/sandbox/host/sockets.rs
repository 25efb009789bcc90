//! Who listens on a port.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::diag;

/// Sockets that are bound to no address in particular, as /proc/net writes them.
const ANY_V4: &str = "00000000";
const ANY_V6: &str = "00000000000000000000000000000000";
/// Before an address of the fourth version in one of the sixth.
const MAPPED: &str = "0000000000000000FFFF0000";
const LISTEN: &str = "0A";

/// The sockets that accept connections to this address and port, as the links of /proc/pid/fd name them, in the network that a
/// process is in: a container's is not the host's. A loopback address is one of this process's own network, in whichever the other is.
pub(super) fn listening_on(pid: i32, address: &str, port: u16) -> io::Result<HashSet<PathBuf>> {
    let address: Ipv4Addr = address.parse().unwrap_or(Ipv4Addr::LOCALHOST);
    let pid = if address.is_loopback() { std::process::id().cast_signed() } else { pid };
    // Where the kernel does not say, or may not be asked, its tables do.
    let asked = is_in_own_network(pid).then(|| asked(address, port).ok()).flatten();
    asked.map_or_else(|| in_tables(pid, address, port), Ok)
}

fn is_in_own_network(pid: i32) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network("self").is_some_and(|own| network(&pid.to_string()) == Some(own))
}

fn asked(address: Ipv4Addr, port: u16) -> io::Result<HashSet<PathBuf>> {
    let reached = |bound: IpAddr| bound.is_unspecified() || bound.to_canonical() == IpAddr::V4(address);
    let listening = diag::listening(port)?.into_iter().filter(|(bound, _)| reached(*bound));
    Ok(listening.map(|(_, inode)| link(&inode.to_string())).collect())
}

fn link(inode: &str) -> PathBuf {
    PathBuf::from(format!("socket:[{inode}]"))
}

fn in_tables(pid: i32, address: Ipv4Addr, port: u16) -> io::Result<HashSet<PathBuf>> {
    let own = address.octets().iter().rev().map(|octet| format!("{octet:02X}")).collect::<String>();
    let mapped = format!("{MAPPED}{own}");
    let mut found = HashSet::new();
    for (file, reached) in [("tcp", [ANY_V4, &own]), ("tcp6", [ANY_V6, &mapped])] {
        let table = match fs::read_to_string(format!("/proc/{pid}/net/{file}")) {
            Ok(table) => table,
            // No IPv6, no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        found.extend(table.lines().skip(1).filter_map(|line| socket(line, port, &reached)));
    }
    Ok(found)
}

fn socket(line: &str, port: u16, reached: &[&str]) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (address, hex_port) = fields.get(1)?.split_once(':')?;
    let listens = *fields.get(3)? == LISTEN && reached.contains(&address) && u16::from_str_radix(hex_port, 16) == Ok(port);
    listens.then(|| fields.get(9).map(|inode| link(inode)))?
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
        time::Duration,
    };

    use super::*;

    #[test]
    fn only_listening_sockets_on_the_port_count() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ways: [fn(i32, u16) -> HashSet<PathBuf>; 3] = [
            |pid, port| listening_on(pid, "127.0.0.1", port).unwrap(),
            |pid, port| in_tables(pid, Ipv4Addr::LOCALHOST, port).unwrap(),
            |_, port| asked(Ipv4Addr::LOCALHOST, port).unwrap(),
        ];
        for (listening, address) in ways.into_iter().flat_map(|way| ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"].map(|address| (way, address))) {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
            assert_eq!(listening(own, port), HashSet::from([link]), "{address}");
            assert!(listening(own, stream.local_addr().unwrap().port()).is_empty(), "a connection is not a listener");
            drop(listener);
            // A child that another test makes just now holds it too until it runs its own program.
            let mut tries = 0;
            while !listening(own, port).is_empty() {
                assert!(tries < 500, "{address}");
                std::thread::sleep(Duration::from_millis(10));
                tries += 1;
            }
        }
    }

    #[test]
    fn who_listens_at_another_address_of_the_machine_is_not_meant() {
        for address in ["127.0.0.2:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(asked(Ipv4Addr::LOCALHOST, port).unwrap().is_empty(), "{address}");
            assert_eq!(asked(Ipv4Addr::new(127, 0, 0, 2), port).unwrap().len(), usize::from(address.contains('.')), "{address}");
        }
    }

    #[test]
    fn the_sockets_that_share_a_port_are_all_told() {
        let first = shared(None);
        let port = first.local_addr().unwrap().port();
        let more: Vec<TcpListener> = (0..200).map(|_| shared(Some(port))).collect();
        assert_eq!(asked(Ipv4Addr::LOCALHOST, port).unwrap().len(), 201, "in more than one message");
        assert_eq!(in_tables(i32::try_from(std::process::id()).unwrap(), Ipv4Addr::LOCALHOST, port).unwrap().len(), 1 + more.len());
    }

    fn shared(port: Option<u16>) -> TcpListener {
        use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, listen, socket, sockopt::set_socket_reuseport};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        set_socket_reuseport(&socket, true).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port.unwrap_or_default())).unwrap();
        listen(&socket, 1).unwrap();
        TcpListener::from(socket)
    }
}
