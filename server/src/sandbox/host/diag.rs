//! Who listens on a port, as the kernel tells it to those who ask for listening sockets alone (sock_diag(7)).
//!
//! /proc/net/tcp walks all connections that the machine could have, whether there are any: 5 ms a look where it has 23 GB, and longer while it
//! remembers many.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Sockets came or went while it was told.
const INTERRUPTED: u16 = 0x10;
const TCP: u8 = 6;
const LISTEN: u32 = 1 << 10;

const HEAD: usize = 16;
/// Of a message: family, state, two counters; then the port, and after the other one's the address.
const PORT: usize = HEAD + 4;
const ADDRESS: usize = HEAD + 8;
const INODE: usize = HEAD + 68;
const QUESTION: usize = HEAD + 56;

/// Inodes, and the addresses that they are bound to, of this process's own network.
pub(super) fn listening(port: u16) -> io::Result<Vec<(IpAddr, u32)>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; 32 * 1024]);
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        send(&socket, &question(family, port), SendFlags::empty())?;
        // What is told next is there before the question, or the look at what was told before, is over.
        while {
            let (_, length) = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
            read(buffer.get(..length).ok_or_else(malformed)?, port, &mut found)?
        } {}
    }
    Ok(found)
}

fn question(family: AddressFamily, port: u16) -> [u8; QUESTION] {
    let mut bytes = [0; QUESTION];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &u32::try_from(QUESTION).unwrap_or_default().to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST_DUMP.to_ne_bytes());
    put(HEAD, &[u8::try_from(family.as_raw()).unwrap_or_default(), TCP]);
    put(HEAD + 4, &LISTEN.to_ne_bytes());
    put(HEAD + 8, &port.to_be_bytes());
    bytes
}

/// Whether there is more to come.
fn read(mut bytes: &[u8], port: u16, found: &mut Vec<(IpAddr, u32)>) -> io::Result<bool> {
    while !bytes.is_empty() {
        let length = u32::from_ne_bytes(field(bytes, 0)?) as usize;
        let (kind, flags) = (u16::from_ne_bytes(field(bytes, 4)?), u16::from_ne_bytes(field(bytes, 6)?));
        let message = bytes.get(..length).filter(|message| message.len() >= HEAD).ok_or_else(malformed)?;
        if flags & INTERRUPTED != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match kind {
            // Also how it ends where it cannot go on.
            DONE => return whole(field(message, HEAD).map(i32::from_ne_bytes)?),
            ERROR => return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(field(message, HEAD)?))),
            BY_FAMILY => found.extend(listener(message, port)?),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn whole(end: i32) -> io::Result<bool> {
    if end < 0 { Err(io::Error::from_raw_os_error(-end)) } else { Ok(false) }
}

fn listener(message: &[u8], port: u16) -> io::Result<Option<(IpAddr, u32)>> {
    let address = match AddressFamily::from_raw(u8::from_ne_bytes(field(message, HEAD)?).into()) {
        AddressFamily::INET => IpAddr::V4(Ipv4Addr::from(field::<4>(message, ADDRESS)?)),
        AddressFamily::INET6 => IpAddr::V6(Ipv6Addr::from(field::<16>(message, ADDRESS)?)),
        _ => return Err(malformed()),
    };
    let inode = u32::from_ne_bytes(field(message, INODE)?);
    Ok((u16::from_be_bytes(field(message, PORT)?) == port).then_some((address, inode)))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes.get(at..at + N).and_then(|field| field.try_into().ok()).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_no_answer() {
        let mut whole = question(AddressFamily::INET, 80).to_vec();
        whole.extend(question(AddressFamily::INET, 81));
        let mut found = Vec::new();
        assert!(read(&whole, 80, &mut found).is_err(), "a question is too short for an answer of its own");
        for end in 1..QUESTION {
            assert!(read(&whole[..end], 80, &mut Vec::new()).is_err(), "{end}");
        }
    }

    #[test]
    fn an_answer_that_broke_off_is_none() {
        for (end, good) in [(0_i32, true), (-2, false)] {
            let mut bytes = [0; HEAD + 4];
            bytes[..4].copy_from_slice(&20_u32.to_ne_bytes());
            bytes[4..6].copy_from_slice(&DONE.to_ne_bytes());
            bytes[HEAD..].copy_from_slice(&end.to_ne_bytes());
            assert_eq!(read(&bytes, 80, &mut Vec::new()).is_ok_and(|more| !more), good, "{end}");
        }
    }

    #[test]
    fn a_length_that_leads_nowhere_ends() {
        for length in [0_u32, 1, 15, 17, u32::MAX] {
            let mut bytes = [0; 40];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
            assert!(read(&bytes, 80, &mut Vec::new()).is_err(), "{length}");
        }
    }
}
