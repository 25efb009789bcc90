//! The served program: started detached, so that it outlives this server, and found again by what is recorded.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use alpine_api::SessionId;
use tokio::process::Child;

use super::{
    Inner, cgroup,
    fences::{Act, Fence},
    io,
    layout::{Meta, Sandbox, Served},
    limits,
    processes::{SERVE_MARK, Started, Which, boot_id},
    slots::Slots,
    sockets, stop,
};
use crate::sandbox::{Command, Endpoint, ProviderError};

const HOST: &str = "127.0.0.1";
/// For bubblewrap to make its namespaces.
const START: Duration = Duration::from_secs(5);
/// Bytes of its log.
const SHOWN: usize = 600;

pub(super) fn endpoint(port: u16) -> Endpoint {
    Endpoint { host: HOST.to_owned(), port }
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
        return Ok(endpoint(served.port));
    }
    // What a dead program left behind, or what was started and never recorded.
    stop::end(&inner.host, meta.owner(), &Which::Served)?;
    let slots = Slots::new(sandbox.dir.parent().unwrap_or(&inner.root)).map_err(io("opening the slots"))?;
    let port = slots.free_port(meta.slot).ok_or_else(|| transient("every port of the session is taken by others".to_owned()))?;

    // Raised once already: whoever stops the session under a higher fence stops this too, or it does not begin.
    let held = fence.hold(Act::Run)?;
    let from = sandbox.log_length().unwrap_or_default();
    let mut child = spawn(inner, sandbox, &meta, command, port)?;
    drop(held);
    let recorded = record(inner, sandbox, &mut meta, &mut child, port, from);
    if recorded.is_err() {
        let _ = child.start_kill();
        stop::end(&inner.host, meta.owner(), &Which::Served)?;
    }
    reap(child, meta.label.session);
    recorded.map(|()| endpoint(port))
}

fn transient(what: String) -> ProviderError {
    ProviderError::Transient { what, source: None }
}

fn spawn(inner: &Inner, sandbox: &Sandbox, meta: &Meta, command: &Command, port: u16) -> Result<Child, ProviderError> {
    let text = port.to_string();
    let command = Command { argv: command.argv.iter().map(|arg| substitute(arg, &text)).collect(), ..command.clone() };
    let groups = inner.enter(meta, sandbox)?;
    let mut process = inner.launcher.process(sandbox, meta, &command, &groups, &[("HOST", HOST), ("PORT", &text), (SERVE_MARK, "1")])?;
    let log = sandbox.open_log().map_err(io("opening served.log"))?;
    let copy = log.try_clone().map_err(io("opening served.log"))?;
    process.stdin(Stdio::null()).stdout(log).stderr(copy);
    tokio::process::Command::from(process).spawn().map_err(io("starting the served program"))
}

fn record(inner: &Inner, sandbox: &Sandbox, meta: &mut Meta, child: &mut Child, port: u16, from: u64) -> Result<(), ProviderError> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let found = pid.map(Started::find).transpose().map_err(io("looking at the served program"))?;
    let init = match found.flatten() {
        Some(process) if inner.launcher.isolates() => await_init(inner, process, child)?.map(|init| (process, Some(init))),
        found => found.map(|process| (process, None)),
    };
    let Some((process, init)) = init else { return Err(ended_at_once(inner, sandbox, meta, child, from)) };
    let boot = boot_id().map_err(io("reading the boot's id"))?;
    meta.served = Some(Served { port, boot, process, init });
    sandbox.write_meta(meta).map_err(io("recording the served program"))
}

/// Why a program that was started is not there to be recorded. Its own end is its answer, as it would be a moment later; where it
/// did not even begin, it may the next time. `from`: where its part of the log begins.
fn ended_at_once(inner: &Inner, sandbox: &Sandbox, meta: &Meta, child: &mut Child, from: u64) -> ProviderError {
    if let Some(why) = inner.ended(meta.label.session, sandbox) {
        return limits::ended(why);
    }
    let written = sandbox.log_length().unwrap_or_default().saturating_sub(from);
    let log = sandbox.log_tail(SHOWN.min(usize::try_from(written).unwrap_or(SHOWN))).unwrap_or_default();
    let log = if log.trim().is_empty() { "it wrote nothing" } else { log.trim() };
    let what = format!("the server process ended before it answered: {log}");
    let not_begun = inner.launcher.isolates() && log.lines().any(|line| line.starts_with("bwrap: "));
    match exit_code(child) {
        Some(code) if code != cgroup::NOT_ENTERED && !not_begun => ProviderError::Permanent { what, source: None },
        _ => transient(what),
    }
}

/// None of one that a signal has ended, or that does not end.
fn exit_code(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
            ended => return ended.ok().flatten()?.code(),
        }
    }
}

/// The first process of the new pid namespace; `None` if bubblewrap ended without making one.
fn await_init(inner: &Inner, process: Started, child: &mut Child) -> Result<Option<Started>, ProviderError> {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        let table = inner.table()?;
        if let Some(init) = table.children(process.pid).find(|child| child.init) {
            return Ok(Some(init.id));
        }
        if child.try_wait().map_err(io("waiting for the served program"))?.is_some() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Err(transient("bubblewrap did not start the served program in time".to_owned()))
}

/// While this server lives it is the parent, so it has to take note of the end.
fn reap(mut child: Child, session: SessionId) {
    tokio::spawn(async move {
        match child.wait().await {
            Ok(status) => tracing::info!(%session, %status, "a served program ended"),
            Err(error) => tracing::warn!(%session, %error, "waiting for a served program"),
        }
    });
}

/// Does a process of the served program itself, not a stranger, hold the port?
pub(super) fn listens(inner: &Inner, meta: &Meta, served: &Served) -> Result<bool, ProviderError> {
    let sockets = sockets::listening_on(served.port);
    if sockets.is_empty() {
        return Ok(false);
    }
    let table = inner.table()?;
    let mut program = table.of(meta.owner(), &Which::Served);
    program.extend(served.seeds().filter_map(|seed| table.find(seed)).copied());
    Ok(table.with_kin(&program).iter().any(|process| process.holds(&sockets)))
}

/// `$HOST`, `${HOST}`, `$PORT` and `${PORT}`; `$PORTAL` is another variable.
fn substitute(arg: &str, port: &str) -> String {
    let mut result = String::new();
    let mut rest = arg;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = [("HOST", HOST), ("PORT", port)].into_iter().find_map(|(name, value)| {
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
        assert_eq!(substitute("--listen=$HOST:$PORT", "81"), "--listen=127.0.0.1:81");
        assert_eq!(substitute("${HOST}x${PORT}", "81"), "127.0.0.1x81");
        assert_eq!(substitute("$PORTAL $HOST_ $HOME $ $$PORT $", "81"), "$PORTAL $HOST_ $HOME $ $81 $");
        assert_eq!(substitute("plain", "81"), "plain");
    }
}
