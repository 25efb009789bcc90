//! What `strace` saw: which programs were run with which arguments, and who connected to where.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// A program that was run.
#[derive(Debug, Clone)]
pub struct Run {
    pub program: String,
    pub argv: Vec<String>,
}

/// A connection that was tried, and the name of the program that did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub program: String,
    pub tcp: bool,
    pub to: SocketAddr,
}

#[derive(Debug, Default)]
pub struct Trace {
    pub runs: Vec<Run>,
    pub connections: Vec<Connection>,
}

impl Trace {
    pub fn read(file: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(file).unwrap())
    }

    pub fn parse(text: &str) -> Self {
        let lines = || text.lines().filter_map(|line| line.trim_start().split_once(' ').map(|(pid, call)| (pid, call.trim_start())));
        let mut parents: HashMap<&str, &str> = HashMap::new();
        for (pid, call) in lines()
            .filter(|(_, call)| ["clone", "fork", "vfork", "<... clone", "<... fork", "<... vfork"].iter().any(|f| call.starts_with(f)))
        {
            if let Some((_, child)) = call.rsplit_once(" = ")
                && let Some(child) = child.split([' ', '<']).next().filter(|child| child.parse::<u32>().is_ok())
            {
                parents.insert(child, pid);
            }
        }
        let (mut trace, mut own) = (Self::default(), HashMap::new());
        for (pid, call) in lines() {
            if let Some(rest) = call.strip_prefix("execve(") {
                let (program, rest) = quoted(rest).unwrap_or_else(|| panic!("not understood: {call}"));
                let argv = array(rest.trim_start_matches(", "));
                let name = program.rsplit('/').next().unwrap_or_default().to_owned();
                // A try that finds no such program is followed by one that does, or by none.
                if !call.ends_with("(No such file or directory)") {
                    own.insert(pid.to_owned(), name);
                }
                trace.runs.push(Run { program, argv });
            } else if let Some(rest) = call.strip_prefix("connect(")
                && let Some(to) = address(rest)
            {
                let mut who = pid;
                while !own.contains_key(who) {
                    who = parents.get(who).copied().unwrap_or_else(|| panic!("nobody started {pid}: {call}"));
                }
                let tcp = rest.split('>').next().is_some_and(|socket| socket.contains("<TCP"));
                trace.connections.push(Connection { program: own[who].clone(), tcp, to });
            }
        }
        trace
    }

    /// Tries of git's and ssh's programs.
    pub fn by_git(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| connection.program.starts_with("git") || connection.program.starts_with("ssh"))
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(found, _)| found)
}

fn address(call: &str) -> Option<SocketAddr> {
    let port = between(call, "_port=htons(", ")")?.parse().ok()?;
    let ip = between(call, "inet_addr(\"", "\"").or_else(|| between(call, "inet_pton(AF_INET6, \"", "\""))?;
    Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port))
}

/// The string in C's quotes that the text begins with, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('"')?;
    let (mut bytes, mut at) = (Vec::new(), 0);
    let raw = text.as_bytes();
    while *raw.get(at)? != b'"' {
        if raw[at] != b'\\' {
            bytes.push(raw[at]);
            at += 1;
            continue;
        }
        let digits = raw[at + 1..].iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if digits > 0 {
            bytes.push(u8::from_str_radix(&text[at + 1..=at + digits], 8).ok()?);
            at += 1 + digits;
        } else {
            bytes.push(match raw[at + 1] {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                other => other,
            });
            at += 2;
        }
    }
    Some((String::from_utf8_lossy(&bytes).into_owned(), &text[at + 1..]))
}

fn array(text: &str) -> Vec<String> {
    let (mut rest, mut all) = (text.strip_prefix('[').unwrap_or_default(), Vec::new());
    while let Some((string, after)) = quoted(rest) {
        assert!(!after.starts_with("..."), "a string was cut: {string}");
        all.push(string);
        rest = after.trim_start_matches(", ");
    }
    all
}
