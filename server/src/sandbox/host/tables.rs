//! The host's processes for many who ask at once. Reading /proc costs a core for milliseconds; with fifty
//! sessions starting, one reading each would starve everything else.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use alpine_api::SessionId;

use super::{processes::Table, walls::Walls};

/// What is done when it fails.
pub(super) const READING: &str = "reading the list of processes";

/// At a list of processes in which some are gone when they are looked at, before all of the machine's are.
const LOOKS: u32 = 3;

#[derive(Debug, Clone, Default)]
pub(super) struct Tables(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    read: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Readings begun so far; the latest may be under way.
    begun: u64,
    reading: bool,
    /// The latest that is done, by its number.
    latest: Option<(u64, Arc<Table>)>,
}

impl Tables {
    /// With all processes of a session at least that have come behind its walls: where these can tell them, nobody else is looked at.
    pub fn within(&self, walls: &dyn Walls, session: SessionId) -> io::Result<Arc<Table>> {
        for _ in 0..LOOKS {
            let Some(pids) = walls.processes(session) else { break };
            let table = Table::of_these(pids.iter().copied())?;
            // One that went meanwhile may have left others.
            if table.len() == pids.len() {
                return Ok(Arc::new(table));
            }
        }
        self.table()
    }

    /// The processes at a moment after this call began. Whoever asks while a reading is under way shares
    /// the next one. Blocks.
    pub fn table(&self) -> io::Result<Arc<Table>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.begun + 1;
        loop {
            if let Some((number, table)) = &state.latest
                && *number >= wanted
            {
                return Ok(Arc::clone(table));
            }
            if state.reading {
                state = self.0.read.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            state.reading = true;
            let number = state.begun;
            drop(state);
            let table = Table::read().map(Arc::new);
            state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.reading = false;
            if let Ok(table) = &table {
                state.latest = Some((number, Arc::clone(table)));
            }
            self.0.read.notify_all();
            return table;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::host::process::Started;

    #[test]
    fn a_table_is_never_older_than_the_question_and_askers_share_readings() {
        let tables = Tables::default();
        let asked: u64 = 64;
        std::thread::scope(|scope| {
            for _ in 0..asked {
                scope.spawn(|| {
                    let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
                    let id = Started::find(i32::try_from(child.id()).unwrap()).unwrap().unwrap();
                    assert!(tables.table().unwrap().find(id).is_some(), "a process that was there before the question");
                    child.kill().unwrap();
                    child.wait().unwrap();
                    assert!(tables.table().unwrap().find(id).is_none(), "and is gone before the next");
                });
            }
        });
        let readings = tables.0.state.lock().unwrap().begun;
        assert!(readings < 2 * asked, "{readings} readings for {} questions", 2 * asked);
    }
}
