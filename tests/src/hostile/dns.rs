//! A name server that lies: names that lead to private addresses, and names that do so from the second time on.

use std::{
    collections::HashMap,
    net::{IpAddr, UdpSocket},
};

use super::{HOSTILE, PUBLIC, PUBLIC_V6, RESOLVER};

/// What `pN.private.test` is, and `rN.rebind.test` becomes.
pub const HIDDEN: &[&str] = &[
    "127.0.0.1",
    "10.0.0.5",
    "172.16.0.5",
    "192.168.0.5",
    "169.254.169.254",
    "100.64.0.5",
    "198.18.0.5",
    "0.0.0.0",
    "224.0.0.1",
    "168.63.129.16",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.5",
    "fd00:ec2::254",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
];

const A: u16 = 1;
const AAAA: u16 = 28;

/// Serves as long as the process lives.
pub fn start() {
    let socket = UdpSocket::bind((RESOLVER, 53)).unwrap();
    std::thread::spawn(move || {
        let (mut buffer, mut asked) = ([0; 1500], HashMap::new());
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..length], &mut asked) {
                let _ = socket.send_to(&reply, from);
            }
        }
    });
}

/// `None`: there is no such name.
fn addresses(name: &str, kind: u16, asked: &mut HashMap<(String, u16), usize>) -> Option<Vec<IpAddr>> {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let hidden = |label: &str| HIDDEN.get(label.get(1..)?.parse::<usize>().ok()?).map(|text| ip(text));
    let (label, domain) = name.split_once('.')?;
    Some(match (label, domain) {
        ("good", "test") => vec![ip(PUBLIC)],
        ("six", "test") => vec![ip(PUBLIC_V6)],
        ("evil", "hostile.test") => vec![ip(HOSTILE)],
        ("mixed", "private.test") => vec![ip(PUBLIC), ip("10.0.0.5")],
        (_, "private.test") => vec![hidden(label)?],
        (_, "rebind.test") => {
            let hidden = hidden(label)?;
            let times = asked.entry((name.to_owned(), kind)).or_insert(0);
            *times += 1;
            let public = if hidden.is_ipv4() { ip(PUBLIC) } else { ip(PUBLIC_V6) };
            vec![if *times == 1 { public } else { hidden }]
        }
        _ => return None,
    })
}

fn reply(query: &[u8], asked: &mut HashMap<(String, u16), usize>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let found = addresses(&labels.join("."), kind, asked);
    let fits = |ip: &IpAddr| (kind == A && ip.is_ipv4()) || (kind == AAAA && ip.is_ipv6());
    let answers: Vec<IpAddr> = found.iter().flatten().copied().filter(fits).collect();
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, if found.is_some() { 0x80 } else { 0x83 }, 0, 1, 0, u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    reply.extend(&query[12..at + 5]);
    for ip in answers {
        // The name of the question, this kind, IN, for no time at all.
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 0]);
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        reply.extend(u16::try_from(octets.len()).unwrap().to_be_bytes());
        reply.extend(octets);
    }
    Some(reply)
}
