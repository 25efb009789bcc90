//! What is to be written to a log: bounded, however fast it comes and however slowly it goes.

use std::collections::VecDeque;

use super::{
    super::redact::Redactor,
    lines::{Line, left_out},
};

/// Of the beginning, and as much of the end.
const HALF: usize = 32 * 1024;
/// The most bytes of one piece of a log.
pub const PIECE_LIMIT: usize = 16 * 1024;

/// Lines that wait. Of more than 64 KiB the middle goes, and it is counted.
#[derive(Debug, Default)]
pub struct Backlog {
    /// Bytes that could not be written, before all that is here.
    lost: u64,
    first: Vec<Line>,
    /// Bytes kept in each.
    sizes: (usize, usize),
    /// Bytes of the middle.
    left_out: u64,
    last: VecDeque<Line>,
}

impl Backlog {
    pub fn push(&mut self, line: Line) {
        let size = line.kept();
        if self.last.is_empty() && self.left_out == 0 && self.sizes.0 + size <= HALF {
            self.sizes.0 += size;
            return self.first.push(line);
        }
        self.sizes.1 += size;
        self.last.push_back(line);
        while self.sizes.1 > HALF
            && let Some(oldest) = self.last.pop_front()
        {
            self.sizes.1 -= oldest.kept();
            self.left_out += oldest.written();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// What was taken is not in the log.
    pub fn lost(&mut self, pieces: &[String]) {
        let bytes: usize = pieces.iter().map(String::len).sum();
        self.lost += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// All of it, in pieces of whole lines.
    pub fn take(&mut self, redactor: &Redactor) -> Vec<String> {
        let Self { lost, first, left_out: middle, last, .. } = std::mem::take(self);
        let note = |bytes: u64| (bytes > 0).then(|| left_out(bytes));
        let clean = |line: Line| line.clean(redactor);
        let lines = note(lost).into_iter().chain(first.into_iter().map(clean));
        pieces(lines.chain(note(middle)).chain(last.into_iter().map(clean)))
    }
}

/// Lines, each with its end, in pieces.
pub fn pieces(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for mut line in lines {
        line.truncate(line.floor_char_boundary(PIECE_LIMIT - 1));
        match pieces.last_mut() {
            Some(piece) if piece.len() + line.len() < PIECE_LIMIT => piece.push_str(&line),
            _ => pieces.push(line),
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push('\n');
        }
    }
    pieces
}
