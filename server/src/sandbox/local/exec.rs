//! Commands: run to their end, with nothing left behind.

use std::{
    collections::HashMap,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use alpine_api::SessionId;
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Inner, blocking,
    fences::{Act, Fence},
    host::Host,
    io,
    layout::Sandbox,
    limits,
    processes::{EXEC_MARK, Owner, Which},
    stop,
};
use crate::sandbox::{Command, Exit, Output, ProviderError};

const CHUNK: usize = 16 * 1024;
/// How long output is waited for once the command and its children have ended: only a process that
/// escaped could still hold the pipe.
const LINGER: Duration = Duration::from_secs(1);
/// Bubblewrap reports a signal as 128 + its number. These are taken for one; the others (128 and 129 are
/// git's own) for exit codes.
const SIGNALS: [i32; 12] = [2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15];

/// The fence under which no earlier command of the session runs any more: under a lower one nothing begins, and under this one each
/// command has ended before the next. To look for them each time would cost a look at all processes.
#[derive(Debug, Clone, Default)]
pub(super) struct Cleared(Arc<Mutex<HashMap<SessionId, i64>>>);

impl Cleared {
    pub fn is(&self, session: SessionId, fence: i64) -> bool {
        self.known().get(&session) == Some(&fence)
    }

    fn note(&self, session: SessionId, fence: i64) {
        self.known().insert(session, fence);
    }

    /// One may still run.
    pub fn forget(&self, session: SessionId) {
        self.known().remove(&session);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn run(
    inner: Arc<Inner>,
    sandbox: Sandbox,
    fence: Fence,
    command: Command,
    output: mpsc::Sender<Output>,
) -> Result<Exit, ProviderError> {
    let isolates = inner.launcher.isolates();
    let (after, place) = (Arc::clone(&inner), sandbox.clone());
    let program = command.argv.first().cloned().unwrap_or_default();
    let Some(Started { mut child, stdin, guard, kills }) = blocking(move || start(&inner, &sandbox, &fence, command)).await? else {
        let _ = output.send(Output::Stderr(format!("{program}: not found\n").into_bytes())).await;
        return Ok(Exit::Code(127));
    };

    let session = guard.owner.session;
    let ended = CancellationToken::new();
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let ((), (), (), status) = tokio::join!(
        feed(input, stdin, &ended),
        pump(out, &ended, &output, Output::Stdout),
        pump(err, &ended, &output, Output::Stderr),
        finish(&mut child, guard, &ended),
    );
    let exit = exit(status?, isolates);
    blocking(move || judge(&after, session, &place, kills, exit)).await
}

/// A command that failed because its session had no more of something failed for good.
fn judge(inner: &Inner, session: SessionId, sandbox: &Sandbox, kills: Option<u64>, exit: Exit) -> Result<Exit, ProviderError> {
    if let Some(why) = inner.ended(session, sandbox) {
        return Err(limits::ended(why));
    }
    if exit.success() {
        return Ok(exit);
    }
    if kills.is_some() && inner.cgroups.memory_kills(session) > kills {
        return Err(limits::out_of_memory(&inner.limits));
    }
    // It may have failed for the very last byte, and nobody has looked since.
    if let Ok((_, Some(excess))) = limits::measure(inner, session, sandbox) {
        limits::end(inner, session, sandbox, excess);
        return Err(limits::ended(excess.to_string()));
    }
    Ok(exit)
}

/// `None`: there is no such program. Blocks; if nobody waits for it any more, the guard ends what it began.
fn start(inner: &Inner, sandbox: &Sandbox, fence: &Fence, mut command: Command) -> Result<Option<Started>, ProviderError> {
    let meta = sandbox.meta().map_err(io("reading the sandbox's meta.json"))?;
    // From here on nothing begins under a lower fence; what has begun ends. Only then is it this one's turn,
    // unless a higher one came in between.
    drop(fence.hold(Act::Run)?);
    let session = meta.label.session;
    if !inner.cleared.is(session, fence.value()) {
        stop::end(&inner.host, meta.owner(), &Which::Execs(fence.value()))?;
        inner.cleared.note(session, fence.value());
    }
    let run = format!("{}.{}", fence.value(), Uuid::now_v7().simple());
    let groups = inner.enter(&meta, sandbox)?;
    let kills = inner.cgroups.memory_kills(session);
    let mut process = inner.launcher.process(sandbox, &meta, &command, &groups, &[(EXEC_MARK, &run)])?;
    let stdin = command.stdin.take();
    process.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let held = fence.hold(Act::Run)?;
    let child = match tokio::process::Command::from(process).kill_on_drop(true).spawn() {
        Ok(child) => child,
        // As a shell, or the wrappers that run a command otherwise, would say it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !inner.launcher.isolates() => return Ok(None),
        Err(error) => return Err(io("starting a command")(error)),
    };
    let cleared = inner.cleared.clone();
    let guard = Guard { host: inner.host.clone(), owner: meta.owner(), run, pid: child.id(), armed: true, cleared };
    drop(held);
    Ok(Some(Started { child, stdin, guard, kills }))
}

/// Waits for the command, then ends what it left running.
async fn finish(child: &mut Child, mut guard: Guard, ended: &CancellationToken) -> Result<ExitStatus, ProviderError> {
    let status = child.wait().await.map_err(io("waiting for a command"));
    // Reaped: the number may soon be another's.
    guard.pid = None;
    let (host, owner, which) = (guard.host.clone(), guard.owner, Which::Exec(guard.run.clone()));
    let cleaned = blocking(move || stop::end(&host, owner, &which)).await;
    guard.armed = cleaned.is_err();
    ended.cancel();
    cleaned.and(status)
}

async fn feed(input: Option<ChildStdin>, bytes: Option<Vec<u8>>, ended: &CancellationToken) {
    if let (Some(mut input), Some(bytes)) = (input, bytes) {
        // A command need not read what it is given.
        tokio::select! {
            _ = input.write_all(&bytes) => {}
            () = ended.cancelled() => {}
        }
    }
}

async fn pump(from: Option<impl AsyncRead + Unpin>, ended: &CancellationToken, output: &mpsc::Sender<Output>, wrap: fn(Vec<u8>) -> Output) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read,
            () = async { ended.cancelled().await; tokio::time::sleep(LINGER).await } => return,
        };
        match read {
            Ok(0) | Err(_) => return,
            // With nobody listening it is read all the same: a full pipe would stop the command.
            Ok(length) => drop(output.send(wrap(buffer[..length].to_vec())).await),
        }
    }
}

fn exit(status: ExitStatus, isolates: bool) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) if isolates && SIGNALS.contains(&(code - 128)) => Exit::Signal(code - 128),
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

#[derive(Debug)]
struct Started {
    child: Child,
    stdin: Option<Vec<u8>>,
    guard: Guard,
    /// Of the session, for want of memory, before it began.
    kills: Option<u64>,
}

/// Ends the command when its future is dropped.
#[derive(Debug)]
struct Guard {
    host: Host,
    owner: Owner,
    run: String,
    pid: Option<u32>,
    armed: bool,
    cleared: Cleared,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        self.cleared.forget(self.owner.session);
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // Once here, in case this very process is about to end; then elsewhere, until none is left.
        let (owner, which) = (self.owner, Which::Exec(std::mem::take(&mut self.run)));
        if let Ok(table) = self.host.table() {
            stop::kill(&table.of(owner, &which));
        }
        let host = self.host.clone();
        let until_none = move || {
            if let Err(error) = stop::end(&host, owner, &which) {
                tracing::warn!(session = %owner.session, %error, "a cancelled command is still running");
            }
        };
        if let Err(error) = thread::Builder::new().name("end-command".to_owned()).spawn(until_none) {
            tracing::warn!(session = %owner.session, %error, "no thread to see a cancelled command end");
        }
    }
}
