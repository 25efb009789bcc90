//! Ending processes, politely or not, and making sure that they ended.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    Inner, blocking,
    fences::{Act, Fence},
    io,
    layout::Sandbox,
    process::Process,
    processes::{Owner, Which},
    tables::{READING, Tables},
    walls::{Asked, Walls},
};
use crate::sandbox::ProviderError;

/// What SIGKILL does not end in this time hangs in the kernel.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(50);

fn find(tables: &Tables, owner: Owner, which: &Which) -> Result<Vec<Process>, ProviderError> {
    tables.table().and_then(|table| table.of(owner, which)).map_err(io(READING))
}

/// Kills these processes until none is left. Blocks.
pub(super) fn end(tables: &Tables, owner: Owner, which: &Which) -> Result<(), ProviderError> {
    until_none(owner, || find(tables, owner, which))
}

/// The same, of those that have come behind the session's walls.
pub(super) fn end_within(walls: &dyn Walls, tables: &Tables, owner: Owner, which: &Which) -> Result<(), ProviderError> {
    until_none(owner, || tables.within(walls, owner.session).and_then(|table| table.of(owner, which)).map_err(io(READING)))
}

fn until_none(owner: Owner, find: impl Fn() -> Result<Vec<Process>, ProviderError>) -> Result<(), ProviderError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = find()?;
        if left.is_empty() {
            return Ok(());
        }
        kill(&left);
        if Instant::now() > deadline {
            return Err(ProviderError::Transient {
                what: format!("{} processes of {} did not end when killed", left.len(), owner.session),
                source: None,
            });
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

/// One round: the first process of a namespace takes all the others in it along.
pub(super) fn kill(processes: &[Process]) {
    for process in processes.iter().filter(|process| process.init).chain(processes) {
        process.id.signal(Signal::KILL);
    }
}

/// Asks every process of the session to end, and after `grace` kills what is left. Both under the fence: what a
/// newer worker has begun is not this one's to end.
pub(super) async fn gracefully(
    inner: &Arc<Inner>,
    sandbox: Sandbox,
    owner: Owner,
    fence: Fence,
    grace: Duration,
) -> Result<(), ProviderError> {
    let deadline = tokio::time::Instant::now() + grace;
    let mut pause = FIRST_PAUSE;
    if !grace.is_zero() {
        // Bubblewrap's own end after what they hold, and then say how it ended.
        let (asked, place, fence) = (Arc::clone(inner), sandbox.clone(), fence.clone());
        let ask = move || {
            let _held = fence.hold(Act::Stop)?;
            asked.walls.revoke(&place, Asked::All);
            for process in find(&asked.tables, owner, &Which::Guests)?.iter().filter(|process| !process.keeper) {
                process.id.signal(Signal::TERM);
            }
            Ok(())
        };
        blocking(ask).await?;
        while tokio::time::Instant::now() < deadline {
            let asked = inner.tables.clone();
            if blocking(move || find(&asked, owner, &Which::Guests)).await?.is_empty() {
                if !owner.one_namespace {
                    return Ok(());
                }
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }
    let inner = Arc::clone(inner);
    let kill = move || {
        let _held = fence.hold(Act::Stop)?;
        inner.walls.revoke(&sandbox, Asked::All);
        end(&inner.tables, owner, &Which::All)
    };
    blocking(kill).await
}
