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
        // What the tracer is just writing is not read.
        let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = text.lines().filter_map(|line| line.trim_start().split_once(' ').map(|(pid, call)| (pid, call.trim_start())));
        // What a process runs now: its own program, or its parent's. Process ids come again, so the order counts.
        let (mut trace, mut running) = (Self::default(), HashMap::<String, String>::new());
        // A child may be seen before its parent's call has returned.
        let mut early: HashMap<String, Vec<usize>> = HashMap::new();
        for (pid, call) in lines {
            if let Some(child) = forked(call) {
                let program = running.get(pid).cloned().unwrap_or_default();
                for at in early.remove(child).unwrap_or_default() {
                    trace.connections[at].program.clone_from(&program);
                }
                running.entry(child.to_owned()).or_insert(program);
            } else if let Some(rest) = call.strip_prefix("execve(") {
                let (program, rest) = quoted(rest).unwrap_or_else(|| panic!("not understood: {call}"));
                let argv = array(rest.trim_start_matches(", "));
                // A try that finds no such program is followed by one that does, or by none.
                if !call.ends_with("(No such file or directory)") {
                    running.insert(pid.to_owned(), program.rsplit('/').next().unwrap_or_default().to_owned());
                }
                trace.runs.push(Run { program, argv });
            } else if let Some(rest) = call.strip_prefix("connect(")
                && let Some(to) = address(rest)
            {
                let tcp = rest.split('>').next().is_some_and(|socket| socket.contains("<TCP"));
                let program = running.get(pid).cloned().unwrap_or_else(|| {
                    early.entry(pid.to_owned()).or_default().push(trace.connections.len());
                    String::new()
                });
                trace.connections.push(Connection { program, tcp, to });
            } else if call.starts_with("+++ ") {
                running.remove(pid);
            }
        }
        trace
    }

    /// Tries of git's and ssh's programs, and of those whose program is not known.
    pub fn by_git(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| connection.is_gits())
    }
}

impl Connection {
    pub fn is_gits(&self) -> bool {
        self.program.is_empty() || self.program.starts_with("git") || self.program.starts_with("ssh")
    }
}

/// The child that a call has made.
fn forked(call: &str) -> Option<&str> {
    let name = call.trim_start_matches("<... ");
    if !["clone", "fork", "vfork"].iter().any(|fork| name.starts_with(fork)) {
        return None;
    }
    let child = call.rsplit_once(" = ")?.1.split([' ', '<']).next()?;
    child.parse::<u32>().is_ok().then_some(child)
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
