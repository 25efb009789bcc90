//! Locks between servers of one host: a server that dies lets go.

use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind},
    ops::Deref,
    thread,
    time::{Duration, Instant},
};

/// How long a lock is waited for. Only a frozen server keeps one for long.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(2);

/// A locked file.
#[derive(Debug)]
pub(super) struct Held(File);

impl Held {
    /// Unless another holds it for too long. Blocks.
    pub fn lock(file: File) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(io::Error::new(ErrorKind::TimedOut, "another server holds it"));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            }
        }
    }

    /// `None` if another holds it.
    pub fn try_lock(file: File) -> Option<Self> {
        file.try_lock().ok().map(|()| Self(file))
    }
}

impl Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child that is just being started.
        let _ = self.0.unlock();
    }
}
