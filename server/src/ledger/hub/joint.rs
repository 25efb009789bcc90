//! Where a watcher is in a numbered sequence, and how history that is read in pages goes over into what is told live.
//!
//! A subscription tells everything after a certain number (`from`), and what stands up to there is committed and can be read.
//! So whoever reads pages until it is at `from`, or until there is no more, and from then on takes what is told, misses
//! nothing; and whoever drops what is not beyond its own number has nothing twice.

/// Pure: what is read and heard goes in, what is to be done comes out.
#[derive(Debug)]
pub(super) struct Joint {
    position: i64,
    /// How far pages are read; `None`: all that was missed is known.
    behind: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Next,
    Known,
    /// Something before it was missed.
    Behind,
}

impl Joint {
    /// After number `position`, with a subscription that tells what comes after `from`.
    pub const fn new(position: i64, from: i64) -> Self {
        Self { position, behind: if position < from { Some(from) } else { None } }
    }

    pub const fn position(&self) -> i64 {
        self.position
    }

    /// Whether a page must be read before anything is listened to.
    pub const fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// A page from `position` on was read, up to number `last`; `short`: there was no more.
    pub fn read(&mut self, last: Option<i64>, short: bool) {
        self.position = self.position.max(last.unwrap_or(self.position));
        self.behind = self.behind.filter(|from| !short && self.position < *from);
    }

    pub const fn heard(&mut self, seq: i64) -> Verdict {
        if seq <= self.position {
            return Verdict::Known;
        }
        if seq == self.position + 1 {
            self.position = seq;
            return Verdict::Next;
        }
        self.lost();
        Verdict::Behind
    }

    /// What was told was not heard, or nothing more will be told: read to the end of what there is.
    pub const fn lost(&mut self) {
        self.behind = Some(i64::MAX);
    }
}
