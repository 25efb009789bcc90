//! What a session may reach: the outside, and of this host and its neighbours nothing. Rules within the container's own network, which
//! nobody in it may change, and which no reload of the host's rules can take away.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    str::FromStr,
};

use super::{
    super::{
        environment::program,
        settings::{DockerSettings, STANDARD_PATH},
    },
    known::Known,
    permanent,
};
use crate::sandbox::ProviderError;

/// Not the public Internet: private networks, this host, link-local (with the clouds' metadata), carriers', tests', multicast.
const INSIDE: [&str; 10] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];

/// The second is where those are that systemd's, on the loopback interface, asks.
const HOSTS_RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// A network, or one port of it, that sessions may reach although it is not the public Internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    address: Ipv4Addr,
    bits: u8,
    port: Option<u16>,
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS[/BITS][:PORT]");
        let (network, port) = match text.split_once(':') {
            Some((network, port)) => (network, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (address, bits) = match network.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(wrong)?),
            None => (network, 32),
        };
        Ok(Self { address: address.parse().map_err(|_| wrong())?, bits, port })
    }
}

#[derive(Debug)]
pub(super) struct Firewall {
    nsenter: PathBuf,
    restore: PathBuf,
    allowed: Vec<Allowed>,
    resolvers: Vec<Ipv4Addr>,
}

impl Firewall {
    pub fn new(settings: &DockerSettings) -> Result<Self, ProviderError> {
        let find = |name: &str, package: &str| {
            let next = format!("sessions in containers need {name} to close their network (apt-get install {package})");
            program(STANDARD_PATH, name).ok_or_else(|| permanent(next))
        };
        let hosts =
            || HOSTS_RESOLVERS.iter().map(|file| resolvers(&fs::read_to_string(file).unwrap_or_default())).find(|found| !found.is_empty());
        let resolvers = if settings.resolvers.is_empty() { hosts().unwrap_or_default() } else { settings.resolvers.clone() };
        if resolvers.is_empty() {
            return Err(permanent("no name server is known that sessions could ask: set ALPINE_DOCKER_RESOLVERS".to_owned()));
        }
        Ok(Self {
            nsenter: find("nsenter", "util-linux")?,
            restore: find("iptables-restore", "iptables")?,
            allowed: settings.allowed.clone(),
            resolvers,
        })
    }

    pub fn resolvers(&self) -> &[Ipv4Addr] {
        &self.resolvers
    }

    /// All rules at once, whatever was there.
    pub fn close(&self, container: &Known) -> Result<(), ProviderError> {
        let why =
            |what: String| ProviderError::Transient { what: format!("the session's network could not be closed: {what}"), source: None };
        self.restore(container).map_err(|error| why(error.to_string()))?.map_err(why)
    }

    /// What `iptables-restore` says if it does not do it.
    fn restore(&self, container: &Known) -> io::Result<Result<(), String>> {
        let network = File::open(format!("/proc/{}/ns/net", container.pid))?;
        // Held by now: if it is still the container's, it stays so, and is not the host's.
        let inode = network.metadata()?.ino();
        // Of the first process it cannot be seen everywhere.
        let is_hosts = ["/proc/self/ns/net", "/proc/1/ns/net"].iter().any(|of| fs::metadata(of).is_ok_and(|of| of.ino() == inode));
        if !container.is_alive() || is_hosts {
            return Ok(Err("the container has ended".to_owned()));
        }
        let own = own_addresses(&fs::read_to_string("/proc/1/net/fib_trie")?);
        let rules = self.rules(&container.gateway, &container.subnet, &own);
        let descriptor = network.as_raw_fd();
        let mut restore = Command::new(&self.nsenter)
            .args([&format!("--net=/proc/{}/fd/{descriptor}", std::process::id()), "--"])
            .arg(&self.restore)
            .args(["--wait", "5"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        // If it ends before it has read them it says why.
        let written = restore.stdin.take().map(|mut stdin| stdin.write_all(rules.as_bytes()));
        let output = restore.wait_with_output()?;
        if !output.status.success() {
            return Ok(Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        written.transpose()?;
        Ok(Ok(()))
    }

    fn rules(&self, gateway: &str, subnet: &str, own: &[Ipv4Addr]) -> String {
        let mut rules = String::from("*filter\n:INPUT DROP\n:FORWARD DROP\n:OUTPUT ACCEPT\n");
        let mut rule = |text: &str| {
            rules.push_str("-A ");
            rules.push_str(text);
            rules.push('\n');
        };
        rule("INPUT -i lo -j ACCEPT");
        rule("INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        // The control plane comes from there.
        rule(&format!("INPUT -s {gateway} -j ACCEPT"));
        // Docker's own name server knows all containers.
        rule("OUTPUT -d 127.0.0.11 -j REJECT");
        rule("OUTPUT -o lo -j ACCEPT");
        rule("OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
        let (single, wide): (Vec<_>, Vec<_>) = self.allowed.iter().partition(|allowed| allowed.bits == 32);
        let allow = |Allowed { address, bits, port }: &Allowed| {
            let port = port.map(|port| format!(" -p tcp --dport {port}")).unwrap_or_default();
            format!("OUTPUT -d {address}/{bits}{port} -j ACCEPT")
        };
        single.into_iter().for_each(|allowed| rule(&allow(allowed)));
        for (resolver, protocol) in self.resolvers.iter().flat_map(|resolver| [(resolver, "udp"), (resolver, "tcp")]) {
            rule(&format!("OUTPUT -d {resolver} -p {protocol} --dport 53 -j ACCEPT"));
        }
        // A network that is allowed is not this host and its containers for that.
        own.iter().for_each(|address| rule(&format!("OUTPUT -d {address} -j REJECT")));
        rule(&format!("OUTPUT -d {subnet} -j REJECT"));
        wide.into_iter().for_each(|allowed| rule(&allow(allowed)));
        INSIDE.iter().for_each(|network| rule(&format!("OUTPUT -d {network} -j REJECT")));
        rules.push_str("COMMIT\n");
        rules
    }
}

/// Those that answer a container: a loopback interface is its own.
fn resolvers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    let all = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    all.filter(|address: &Ipv4Addr| !address.is_loopback()).collect()
}

/// This host's public ones among them, by the kernel's own table: an address, and below it what it is.
fn own_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in fib_trie.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_place_is_an_address_a_network_or_a_port() {
        let allowed = |text: &str| text.parse::<Allowed>();
        assert_eq!(allowed("10.1.2.3").unwrap(), Allowed { address: [10, 1, 2, 3].into(), bits: 32, port: None });
        assert_eq!(allowed("10.0.0.0/8:443").unwrap(), Allowed { address: [10, 0, 0, 0].into(), bits: 8, port: Some(443) });
        for wrong in ["", "10.0.0", "10.0.0.0/33", "10.0.0.1:x", "host:1", "10.0.0.1:70000"] {
            assert!(allowed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_hosts_own_addresses_are_read_from_the_kernels_table() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 203.0.113.9\n        /32 host LOCAL\n\
                    Local:\n     |-- 203.0.113.9\n        /32 host LOCAL\n     |-- 203.0.113.255\n        /32 link BROADCAST\n";
        assert_eq!(own_addresses(trie), [Ipv4Addr::from([203, 0, 113, 9])]);
    }

    #[test]
    fn only_resolvers_that_a_container_reaches_are_asked() {
        assert_eq!(
            resolvers("# a\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nnameserver fe80::1\noptions x\n"),
            [Ipv4Addr::from([9, 9, 9, 9])]
        );
    }

    /// What becomes of a new connection: the target of the first rule that it meets.
    fn verdict(rules: &str, to: &str, port: u16) -> String {
        let to: Ipv4Addr = to.parse().unwrap();
        let meets = |option: &str, value: &str| match option {
            "-d" => {
                let (network, bits) = value.split_once('/').unwrap_or((value, "32"));
                let network = network.parse::<Ipv4Addr>().unwrap();
                let apart = u32::from(network) ^ u32::from(to);
                apart.checked_shr(32 - bits.parse::<u32>().unwrap()).unwrap_or_default() == 0
            }
            "-p" => value == "tcp",
            "--dport" => value == port.to_string(),
            "-j" => true,
            // Another interface, or a connection that is there.
            _ => false,
        };
        for rule in rules.lines().filter_map(|line| line.strip_prefix("-A OUTPUT ")) {
            let words: Vec<&str> = rule.split(' ').collect();
            if words.chunks(2).all(|option| meets(option[0], option[1])) {
                return (*words.last().unwrap()).to_owned();
            }
        }
        "outside".to_owned()
    }

    #[test]
    fn what_is_not_the_public_internet_is_refused_but_for_what_is_allowed() {
        let allowed = ["10.7.0.0/16", "192.168.3.4:443"].map(|allowed| allowed.parse().unwrap());
        let firewall =
            Firewall { nsenter: PathBuf::new(), restore: PathBuf::new(), allowed: allowed.into(), resolvers: vec![[172, 16, 0, 2].into()] };
        let rules = firewall.rules("10.7.1.1", "10.7.1.1/24", &[[203, 0, 113, 9].into(), [10, 7, 9, 9].into()]);
        let inside = [
            ("0.1.2.3", "this network"),
            ("10.255.255.255", "private"),
            ("100.100.100.200", "a cloud's metadata"),
            ("127.0.0.11", "Docker's name server"),
            ("169.254.169.254", "the clouds' metadata"),
            ("169.254.170.2", "a cloud's metadata for containers"),
            ("172.31.255.255", "private"),
            ("192.0.0.192", "a cloud's metadata"),
            ("192.168.255.255", "private"),
            ("198.19.255.255", "tests'"),
            ("224.0.0.251", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("203.0.113.9", "this host's public address"),
            ("10.7.9.9", "this host, in a network that is allowed"),
            ("10.7.1.1", "this host, as the containers see it"),
            ("10.7.1.77", "a neighbour"),
            ("192.168.3.5", "beside what is allowed"),
        ];
        for (address, what) in inside {
            assert_eq!(verdict(&rules, address, 443), "REJECT", "{what}: {address}");
        }
        for (address, port) in [("10.7.2.2", 5432), ("192.168.3.4", 443), ("172.16.0.2", 53)] {
            assert_eq!(verdict(&rules, address, port), "ACCEPT", "{address}:{port}");
        }
        for (address, port) in [("192.168.3.4", 80), ("172.16.0.2", 443)] {
            assert_eq!(verdict(&rules, address, port), "REJECT", "{address}:{port}");
        }
        for address in ["1.1.1.1", "11.0.0.1", "100.128.0.1", "169.253.1.1", "172.32.0.1", "192.0.1.1", "198.20.0.1", "223.255.255.255"] {
            assert_eq!(verdict(&rules, address, 443), "outside", "{address}");
        }
    }
}
