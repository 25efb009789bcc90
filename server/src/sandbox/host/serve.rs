//! The served program: started detached, so that it outlives this server, and found again by what is recorded.

use std::{collections::HashSet, fs, path::PathBuf};

use alpine_api::SessionId;

use super::{
    Inner,
    fences::{Act, Fence},
    io,
    layout::{Meta, Sandbox, Served},
    limits,
    marks::SERVE_MARK,
    process::{Process, Started, boot_id},
    processes::Which,
    slots::Slots,
    sockets, stop,
    tables::READING,
    walls::{Asked, Place, Program},
};
use crate::sandbox::{Command, Endpoint, HeldSocket, Listener, ProviderError};

const SOCKETS: &str = "looking at who listens";
/// Bytes of its log.
const SHOWN: usize = 600;

impl Served {
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { host: self.host.clone(), port: self.port }
    }
}

/// Blocks, and is not to be cancelled between starting and recording: run it where a dropped future
/// does not stop it.
pub(super) fn start(inner: &Inner, sandbox: &Sandbox, fence: &Fence, command: &Command) -> Result<Endpoint, ProviderError> {
    drop(fence.hold(Act::Run)?);
    let _lock = sandbox.lock().map_err(io("locking the sandbox"))?;
    let mut meta = sandbox.meta().map_err(io("reading the sandbox's meta.json"))?;
    if let Some(served) = &meta.served
        && served.alive().map_err(io("looking at the served program"))?
    {
        return Ok(served.endpoint());
    }
    // What a dead program left behind, or what was started and never recorded.
    inner.walls.revoke(sandbox, Asked::All);
    stop::end(&inner.tables, inner.owner_of(&meta), &Which::Served)?;
    let slots = Slots::new(sandbox.dir.parent().unwrap_or(&inner.root)).map_err(io("opening the slots"))?;
    let port = slots.free_port(meta.slot).ok_or_else(|| transient("every port of the session is taken by others".to_owned()))?;

    // Raised once already: whoever stops the session under a higher fence stops this too, or it does not begin.
    let held = fence.hold(Act::Run)?;
    let from = sandbox.log_length().unwrap_or_default();
    let place = Place { sandbox, meta: &meta };
    inner.walls.raise(place)?;
    let before = Before { log: from, kills: inner.walls.memory_kills(place.session()) };
    let host = inner.walls.address(place)?;
    let mut program = spawn(inner, place, command, port)?;
    drop(held);
    let recorded = record(inner, sandbox, &mut meta, program.as_mut(), (host, port), before);
    if recorded.is_err() {
        program.kill();
        stop::end(&inner.tables, inner.owner_of(&meta), &Which::Served)?;
    }
    program.leave(meta.label.session);
    recorded
}

/// What was so of a session when its program was about to begin.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// The log's length.
    log: u64,
    /// Processes killed for want of memory.
    kills: Option<u64>,
}

/// What became of a program that has ended, if the kernel has killed something of its session for want of memory since it began.
pub(super) fn starved(inner: &Inner, session: SessionId) -> Option<String> {
    let served = inner.meta(session).ok()??.served?;
    if served.alive().unwrap_or(true) { None } else { starved_since(inner, session, served.kills) }
}

fn starved_since(inner: &Inner, session: SessionId, before: Option<u64>) -> Option<String> {
    let limits = inner.limits_of(session);
    let killed = limits.memory > 0 && before.is_some() && inner.walls.memory_kills(session) > before;
    killed.then(|| limits::starved(&limits))
}

fn transient(what: String) -> ProviderError {
    ProviderError::Transient { what, source: None }
}

fn spawn(inner: &Inner, place: Place<'_>, command: &Command, port: u16) -> Result<Box<dyn Program>, ProviderError> {
    let (host, text) = (inner.walls.bind_address(), port.to_string());
    let command = Command { argv: command.argv.iter().map(|arg| substitute(arg, host, &text)).collect(), ..command.clone() };
    inner.enter(place.session(), place.sandbox)?;
    let marks = [("HOST", host), ("PORT", text.as_str()), (SERVE_MARK, "1")];
    inner.walls.serve(place, &command, &marks)
}

fn record(
    inner: &Inner,
    sandbox: &Sandbox,
    meta: &mut Meta,
    program: &mut dyn Program,
    (host, port): (String, u16),
    before: Before,
) -> Result<Endpoint, ProviderError> {
    let Some((process, init)) = program.find(&inner.tables)? else { return Err(ended_at_once(inner, sandbox, meta, program, before)) };
    let boot = boot_id().map_err(io("reading the boot's id"))?;
    let served = Served { host, port, boot, process, init, kills: before.kills };
    let endpoint = served.endpoint();
    meta.served = Some(served);
    sandbox.write_meta(meta).map_err(io("recording the served program"))?;
    Ok(endpoint)
}

/// Why a program that was started is not there to be recorded. Its own end is its answer, as it would be a moment later; where it
/// did not even begin, it may the next time.
fn ended_at_once(inner: &Inner, sandbox: &Sandbox, meta: &Meta, program: &mut dyn Program, before: Before) -> ProviderError {
    let session = meta.label.session;
    if let Some(why) = inner.ended(session, sandbox) {
        return limits::ended(why);
    }
    let written = sandbox.log_length().unwrap_or_default().saturating_sub(before.log);
    let log = sandbox.log_tail(SHOWN.min(usize::try_from(written).unwrap_or(SHOWN))).unwrap_or_default();
    let log = if log.trim().is_empty() { "it wrote nothing" } else { log.trim() };
    let why = starved_since(inner, session, before.kills);
    let what = format!("{}: {log}", why.as_deref().unwrap_or("the server process ended before it answered"));
    match program.exit_code(log) {
        Some(_) => ProviderError::Permanent { what, source: None },
        _ => transient(what),
    }
}

/// Where the served program itself accepts connections: every socket that does there is held by one of its processes, and none by a stranger.
pub(super) fn listener(inner: &Inner, meta: &Meta, served: &Served) -> Result<Option<Listener>, ProviderError> {
    let seed = served.seeds().find(|seed| seed.alive().unwrap_or_default()).unwrap_or(served.process);
    let sockets = sockets::listening_on(seed.pid, &served.host, served.port).map_err(io(SOCKETS))?;
    if sockets.is_empty() {
        return Ok(None);
    }
    let table = inner.table_of(meta.label.session)?;
    let mut program = table.of(inner.owner_of(meta), &Which::Served).map_err(io(READING))?;
    program.extend(served.seeds().filter_map(|seed| table.find(seed)).copied());
    Ok(held_by(&table.with_kin(&program, true), &sockets, served.endpoint()))
}

/// The same of any process of the session, on a port of its own choice and at the address at which it is reached from here.
pub(super) fn listener_on(inner: &Inner, meta: &Meta, served: &Served, port: u16) -> Result<Option<Listener>, ProviderError> {
    let all = inner.table_of(meta.label.session)?.of(inner.owner_of(meta), &Which::All).map_err(io(READING))?;
    // Whose network it is, and whose address.
    let Some(seed) = served.seeds().find(|seed| seed.alive().unwrap_or_default()) else { return Ok(None) };
    let sockets = sockets::listening_on(seed.pid, &served.host, port).map_err(io(SOCKETS))?;
    Ok(held_by(&all, &sockets, Endpoint { host: served.host.clone(), port }))
}

/// There are some, and each is in the hands of one of these.
fn held_by(processes: &[Process], sockets: &HashSet<PathBuf>, endpoint: Endpoint) -> Option<Listener> {
    let held: Vec<HeldSocket> = processes.iter().flat_map(|process| process.held(sockets)).collect();
    let all = sockets.iter().all(|socket| held.iter().any(|held| held.socket == *socket));
    (all && !sockets.is_empty()).then_some(Listener { endpoint, held })
}

/// Whether those sockets are still where they were, and listen, and no others do.
pub(super) fn is_still(listener: &Listener) -> bool {
    let Listener { endpoint, held } = listener;
    // Of the network that the program is in; one that is gone shows nothing.
    let Some(first) = held.first() else { return false };
    let Ok(now) = sockets::listening_on(first.pid, &endpoint.host, endpoint.port) else { return false };
    let there = |held: &HeldSocket| {
        let process = Started { pid: held.pid, start: held.start };
        fs::read_link(&held.descriptor).is_ok_and(|target| target == held.socket) && process.alive().unwrap_or_default()
    };
    !now.is_empty() && now.iter().all(|socket| held.iter().any(|held| held.socket == *socket && there(held)))
}

/// `$HOST`, `${HOST}`, `$PORT` and `${PORT}`; `$PORTAL` is another variable.
fn substitute(arg: &str, host: &str, port: &str) -> String {
    let mut result = String::new();
    let mut rest = arg;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = [("HOST", host), ("PORT", port)].into_iter().find_map(|(name, value)| {
            if let Some(after) = rest.strip_prefix(&format!("${{{name}}}")) {
                return Some((value, after));
            }
            let after = rest.strip_prefix('$')?.strip_prefix(name)?;
            let longer = after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
            (!longer).then_some((value, after))
        });
        let (value, after) = found.unwrap_or_else(|| rest.split_at(1));
        result.push_str(value);
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::substitute;

    #[test]
    fn host_and_port_are_replaced_and_nothing_else() {
        assert_eq!(substitute("--listen=$HOST:$PORT", "127.0.0.1", "81"), "--listen=127.0.0.1:81");
        assert_eq!(substitute("${HOST}x${PORT}", "127.0.0.1", "81"), "127.0.0.1x81");
        assert_eq!(substitute("$PORTAL $HOST_ $HOME $ $$PORT $", "127.0.0.1", "81"), "$PORTAL $HOST_ $HOME $ $81 $");
        assert_eq!(substitute("plain", "127.0.0.1", "81"), "plain");
    }
}
