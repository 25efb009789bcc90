//! As much of PostgreSQL's protocol as it takes to see that a client commits something.

use std::{collections::HashMap, io};

use tokio::io::{AsyncRead, AsyncReadExt};

/// One message from a client, as it came.
#[derive(Debug)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// When the server has done this, something has been written for good.
    pub commits: bool,
}

/// What one connection's client has said so far.
#[derive(Debug, Default)]
pub struct Frontend {
    started: bool,
    in_transaction: bool,
    /// Prepared statements by name; the portal that is bound.
    prepared: HashMap<Vec<u8>, Kind>,
    bound: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Begin,
    Commit,
    Rollback,
}

impl Frontend {
    /// The next message; `None` when the client has gone.
    pub async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Message>> {
        let mut bytes = Vec::new();
        // Only the first message has no type.
        let header = if self.started { 5 } else { 4 };
        bytes.resize(header, 0);
        match from.read_exact(&mut bytes).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let length = bytes.last_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length)) as usize;
        bytes.resize(header + length.saturating_sub(4), 0);
        from.read_exact(&mut bytes[header..]).await?;
        let commits = self.started && self.follow(bytes[0], &bytes[header..]);
        self.started = true;
        Ok(Some(Message { bytes, commits }))
    }

    fn follow(&mut self, kind: u8, body: &[u8]) -> bool {
        let mut words = body.split(|byte| *byte == 0);
        let mut word = || words.next().unwrap_or_default();
        match kind {
            b'Q' => {
                let kind = Kind::of(word());
                self.runs(kind)
            }
            b'P' => {
                let name = word().to_vec();
                self.prepared.insert(name, Kind::of(word()));
                false
            }
            b'B' => {
                let (_portal, name) = (word(), word());
                self.bound = self.prepared.get(name).copied();
                false
            }
            b'E' => self.bound.take().is_some_and(|kind| self.runs(kind)),
            _ => false,
        }
    }

    fn runs(&mut self, kind: Kind) -> bool {
        match kind {
            Kind::Begin => self.in_transaction = true,
            Kind::Commit | Kind::Rollback => self.in_transaction = false,
            Kind::Read | Kind::Write => {}
        }
        kind == Kind::Commit || kind == Kind::Write && !self.in_transaction
    }
}

impl Kind {
    fn of(sql: &[u8]) -> Self {
        let text = String::from_utf8_lossy(sql).to_ascii_uppercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let has = |pair: [&str; 2]| words.windows(2).any(|two| two == pair);
        match words.first().copied() {
            Some("BEGIN") => Self::Begin,
            Some("COMMIT") => Self::Commit,
            Some("ROLLBACK") => Self::Rollback,
            _ if has(["INSERT", "INTO"]) || has(["DELETE", "FROM"]) || words.contains(&"UPDATE") && words.contains(&"SET") => Self::Write,
            _ => Self::Read,
        }
    }
}
