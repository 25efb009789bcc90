//! Who listens on a port.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    path::PathBuf,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

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
    let asked = if is_in_own_network(pid) { diag::listening(port) } else { asked_in_network_of(pid, port) };
    // Where the kernel does not say, or may not be asked, its tables do.
    asked.map_or_else(|_| in_tables(pid, address, port), |found| Ok(reached_at(address, found)))
}

fn is_in_own_network(pid: i32) -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    network("self").is_some_and(|own| network(&pid.to_string()) == Some(own))
}

/// On a thread that ends with it: who has gone into another network stays there.
fn asked_in_network_of(pid: i32, port: u16) -> io::Result<Vec<(IpAddr, u32)>> {
    let network = fs::File::open(format!("/proc/{pid}/ns/net"))?;
    let ask = move || {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
        diag::listening(port)
    };
    thread::Builder::new().spawn(ask)?.join().map_err(|_| io::Error::other("the look at another network panicked"))?
}

fn reached_at(address: Ipv4Addr, listening: Vec<(IpAddr, u32)>) -> HashSet<PathBuf> {
    let reached = |bound: IpAddr| bound.is_unspecified() || bound.to_canonical() == IpAddr::V4(address);
    listening.into_iter().filter(|(bound, _)| reached(*bound)).map(|(_, inode)| link(&inode.to_string())).collect()
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

    fn asked(address: Ipv4Addr, port: u16) -> HashSet<PathBuf> {
        reached_at(address, diag::listening(port).unwrap())
    }

    #[test]
    fn only_listening_sockets_on_the_port_count() {
        let own = i32::try_from(std::process::id()).unwrap();
        let ways: [fn(i32, u16) -> HashSet<PathBuf>; 3] = [
            |pid, port| listening_on(pid, "127.0.0.1", port).unwrap(),
            |pid, port| in_tables(pid, Ipv4Addr::LOCALHOST, port).unwrap(),
            |_, port| asked(Ipv4Addr::LOCALHOST, port),
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
            assert!(asked(Ipv4Addr::LOCALHOST, port).is_empty(), "{address}");
            assert_eq!(asked(Ipv4Addr::new(127, 0, 0, 2), port).len(), usize::from(address.contains('.')), "{address}");
        }
    }

    /// Only root makes another network, and goes there.
    #[test]
    fn another_network_is_asked_as_its_tables_say_and_this_thread_stays_where_it_is() {
        const LISTEN: &str = "import socket, sys
own, all = socket.socket(), socket.socket(socket.AF_INET6)
own.bind(('127.0.0.1', 0)); all.bind(('::', 0)); own.listen(); all.listen()
print(own.getsockname()[1], all.getsockname()[1], flush=True)
sys.stdin.read()";
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut there = std::process::Command::new("unshare")
            .args(["--net", "python3", "-c", LISTEN])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(there.stdout.take().unwrap()), &mut line).unwrap();
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        let pid = i32::try_from(there.id()).unwrap();
        let address = Ipv4Addr::new(10, 0, 0, 1);
        assert!(!is_in_own_network(pid));
        for (port, listeners) in [(ports[0], 0), (ports[1], 1)] {
            let found = reached_at(address, asked_in_network_of(pid, port).unwrap());
            assert_eq!(found.len(), listeners, "at 127.0.0.1 nobody reaches it from elsewhere");
            assert_eq!(found, in_tables(pid, address, port).unwrap());
            assert_eq!(listening_on(pid, "10.0.0.1", port).unwrap(), found);
        }
        let here = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(asked(Ipv4Addr::LOCALHOST, here.local_addr().unwrap().port()).len(), 1);
        there.kill().unwrap();
        there.wait().unwrap();
        assert!(asked_in_network_of(pid, ports[1]).is_err(), "it has ended");
    }

    #[test]
    fn the_sockets_that_share_a_port_are_all_told() {
        let first = shared(None);
        let port = first.local_addr().unwrap().port();
        let more: Vec<TcpListener> = (0..200).map(|_| shared(Some(port))).collect();
        assert_eq!(asked(Ipv4Addr::LOCALHOST, port).len(), 201, "in more than one message");
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
