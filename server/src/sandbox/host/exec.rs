//! Commands: run to their end, with nothing left behind.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use alpine_api::SessionId;
use futures_util::{StreamExt as _, future::join_all, stream::BoxStream};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Inner, blocking,
    fences::{Act, Fence},
    io,
    layout::Sandbox,
    limits,
    processes::{Owner, Which},
    stop,
    tables::Tables,
    walls::{Asked, Begun, Place, Waiting, Walls},
};
use crate::sandbox::{Command, Exit, Output, ProviderError};

/// How long output is waited for once the command and its children have ended: only a process that
/// escaped could still hold the pipe.
const LINGER: Duration = Duration::from_secs(5);

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
    let (after, place) = (Arc::clone(&inner), sandbox.clone());
    let program = command.argv.first().cloned().unwrap_or_default();
    let Some(Started { begun, stdin, guard, kills }) = blocking(move || start(&inner, &sandbox, &fence, command)).await? else {
        let _ = output.send(Output::Stderr(format!("{program}: not found\n").into_bytes())).await;
        return Ok(Exit::Code(127));
    };

    let session = guard.owner.session;
    let ended = CancellationToken::new();
    let Begun { stdin: input, outputs, waiting, .. } = begun;
    let pumps = outputs.into_iter().map(|from| pump(from, &ended, &output));
    let ((), _, exit) = tokio::join!(feed(input, stdin, &ended), join_all(pumps), finish(waiting, guard, &ended));
    blocking(move || judge(&after, session, &place, kills, exit)).await
}

/// A command that failed because its session had no more of something failed for good.
fn judge(
    inner: &Inner,
    session: SessionId,
    sandbox: &Sandbox,
    kills: Option<u64>,
    exit: Result<Exit, ProviderError>,
) -> Result<Exit, ProviderError> {
    if let Some(why) = inner.ended(session, sandbox) {
        return Err(limits::ended(why));
    }
    let exit = exit?;
    if exit.success() {
        return Ok(exit);
    }
    let limits = inner.limits_of(session);
    if limits.memory > 0 && kills.is_some() && inner.walls.memory_kills(session) > kills {
        return Err(limits::out_of_memory(&limits));
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
    let (session, owner) = (meta.label.session, inner.owner_of(&meta));
    if !inner.cleared.is(session, fence.value()) {
        // The served program may be on its way too: it stays.
        inner.walls.revoke(sandbox, Asked::Commands(fence.value()));
        stop::end(&inner.tables, owner, &Which::Execs(fence.value()))?;
        inner.cleared.note(session, fence.value());
    }
    let run = format!("{}.{}", fence.value(), Uuid::now_v7().simple());
    inner.enter(session, sandbox)?;
    let stdin = command.stdin.take();
    let held = fence.hold(Act::Run)?;
    let place = Place { sandbox, meta: &meta };
    inner.walls.raise(place)?;
    let kills = inner.walls.memory_kills(session);
    let begun = inner.walls.begin(place, &command, stdin.is_some(), &run);
    drop(held);
    // Before it is known whether anything has begun: what was and then could not be followed must not stay.
    let mut guard = Guard {
        walls: Arc::clone(&inner.walls),
        tables: inner.tables.clone(),
        sandbox: sandbox.clone(),
        owner,
        run,
        pid: None,
        armed: true,
        cleared: inner.cleared.clone(),
    };
    let begun = begun?;
    guard.armed = begun.is_some();
    guard.pid = begun.as_ref().and_then(|begun| begun.pid);
    Ok(begun.map(|begun| Started { begun, stdin, guard, kills }))
}

/// Waits for the command, then ends what it left running.
async fn finish(mut waiting: Box<dyn Waiting>, mut guard: Guard, ended: &CancellationToken) -> Result<Exit, ProviderError> {
    let waited = waiting.ended().await;
    // Reaped: the number may soon be another's.
    guard.pid = None;
    let (walls, tables, owner) = (Arc::clone(&guard.walls), guard.tables.clone(), guard.owner);
    let which = Which::Exec(guard.run.clone());
    // It has begun, and so what it left is behind the walls.
    let cleaned = blocking(move || stop::end_within(&*walls, &tables, owner, &which)).await;
    guard.armed = cleaned.is_err();
    if !guard.armed {
        guard.walls.revoke(&guard.sandbox, Asked::Run(&guard.run));
    }
    ended.cancel();
    cleaned.and(waited)?;
    waiting.exit().await
}

async fn feed(input: Option<Box<dyn AsyncWrite + Send + Unpin>>, bytes: Option<Vec<u8>>, ended: &CancellationToken) {
    if let (Some(mut input), Some(bytes)) = (input, bytes) {
        // A command need not read what it is given.
        tokio::select! {
            _ = async { input.write_all(&bytes).await?; input.shutdown().await } => {}
            () = ended.cancelled() => {}
        }
    }
}

async fn pump(mut from: BoxStream<'static, Output>, ended: &CancellationToken, output: &mpsc::Sender<Output>) {
    loop {
        let read = tokio::select! {
            biased;
            read = from.next() => read,
            () = async { ended.cancelled().await; tokio::time::sleep(LINGER).await } => return,
        };
        match read {
            None => return,
            // With nobody listening it is read all the same: a full pipe would stop the command.
            Some(piece) => drop(output.send(piece).await),
        }
    }
}

#[derive(Debug)]
struct Started {
    begun: Begun,
    stdin: Option<Vec<u8>>,
    guard: Guard,
    /// Of the session, for want of memory, before it began.
    kills: Option<u64>,
}

/// Ends the command when its future is dropped.
#[derive(Debug)]
struct Guard {
    walls: Arc<dyn Walls>,
    tables: Tables,
    sandbox: Sandbox,
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
        self.walls.revoke(&self.sandbox, Asked::Run(&self.run));
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // Once here, in case this very process is about to end; then elsewhere, until none is left.
        let (owner, which) = (self.owner, Which::Exec(std::mem::take(&mut self.run)));
        if let Ok(found) = self.tables.table().and_then(|table| table.of_within(Duration::ZERO, owner, &which)) {
            stop::kill(&found);
        }
        let tables = self.tables.clone();
        let until_none = move || {
            if let Err(error) = stop::end(&tables, owner, &which) {
                tracing::warn!(session = %owner.session, %error, "a cancelled command is still running");
            }
        };
        if let Err(error) = thread::Builder::new().name("end-command".to_owned()).spawn(until_none) {
            tracing::warn!(session = %owner.session, %error, "no thread to see a cancelled command end");
        }
    }
}
