//! What the program that serves a workspace writes, taken into the session's log.
//!
//! Whoever takes says from which byte on, and the ledger takes each only once: so any number of workers may look, and one
//! that comes back goes on where the last one was.

use std::time::Duration;

use alpine_api::SessionId;

use super::{
    Engine,
    redact::Redactor,
    report::{Line, Lines, left_out, pieces},
};
use crate::{
    domain::principal::TenantId,
    ledger::{self, Job, ServedPiece},
    sandbox::{Handle, ProviderError, ServedOutput},
};

/// The most that is taken at a look. Of more the middle is left out.
const TAKEN: usize = 16 * 1024;
/// A line that is longer is not waited for to end.
const LONG: usize = 8 * 1024;
/// How long a phase that ends a program waits for its last words.
const LAST: Duration = Duration::from_secs(2);

/// A sandbox whose program's output is followed.
#[derive(Debug, Clone)]
pub struct Followed {
    tenant: TenantId,
    handle: Handle,
    /// How much had been written when it was last looked at.
    seen: u64,
    /// How much of it is in the log, as far as is known here.
    taken: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
}

impl FollowError {
    /// The sandbox is gone: there is nothing to follow.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Provider(ProviderError::Gone))
    }
}

/// The program has ended, or may write more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Ended,
    Goes,
}

impl Followed {
    #[must_use]
    pub const fn new(tenant: TenantId, handle: Handle) -> Self {
        Self { tenant, handle, seen: 0, taken: None }
    }

    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.handle.session
    }
}

impl Engine {
    /// Take what is new since the last look. Without news it costs one question to the provider.
    pub async fn follow(&self, followed: &mut Followed) -> Result<(), FollowError> {
        self.take(followed, Rest::Goes).await
    }

    /// What the program has said last, before its sandbox goes. It may be lost, the phase goes on.
    pub(super) async fn last_words(&self, job: &Job) {
        let Ok(handle) = Self::handle(job) else { return };
        let mut followed = Followed::new(job.lease.tenant.clone(), handle);
        match tokio::time::timeout(LAST, self.take(&mut followed, Rest::Ended)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_gone() => {}
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "the last output of the server is not in the log"),
            Err(_) => tracing::warn!("the last output of the server was not written to the log in time"),
        }
    }

    async fn take(&self, followed: &mut Followed, rest: Rest) -> Result<(), FollowError> {
        let length = self.provider.served_length(&followed.handle).await?;
        if length == followed.seen {
            return Ok(());
        }
        let session = followed.handle.session;
        let taken = match followed.taken {
            Some(taken) => taken,
            None => u64::try_from(self.ledger.served_offset(&followed.tenant, session).await?).unwrap_or(0),
        };
        followed.taken = Some(taken);
        let Some(piece) = self.read(&followed.handle, taken, rest).await? else {
            followed.seen = length;
            return Ok(());
        };
        if self.ledger.append_served(&followed.tenant, session, &piece).await? {
            // What came meanwhile, or had to wait, makes the next look another one.
            followed.seen = length;
            followed.taken = u64::try_from(piece.to).ok();
        } else {
            // Another was here.
            followed.taken = None;
        }
        Ok(())
    }

    /// What comes after byte `taken`.
    async fn read(&self, handle: &Handle, taken: u64, rest: Rest) -> Result<Option<ServedPiece>, ProviderError> {
        let first = self.provider.served_from(handle, taken, TAKEN).await?;
        if first.length < taken {
            // It was cut by one that does not count, or the machine lost what it had not written down.
            let text = "[... some lines may be left out ...]\n".to_owned();
            return Ok(i64::try_from(taken).ok().zip(i64::try_from(first.length).ok()).map(|(from, to)| ServedPiece { from, to, text }));
        }
        let end = first.from.saturating_add(bytes(first.bytes.len()));
        if end >= first.length {
            return Ok(whole(taken, first, rest));
        }
        let last = self.provider.served_from(handle, first.length.saturating_sub(bytes(TAKEN / 2)), TAKEN / 2).await?;
        Ok(halves(taken, first, last, rest))
    }
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// All that there is, up to the end of its last line.
fn whole(taken: u64, output: ServedOutput, rest: Rest) -> Option<ServedPiece> {
    let kept = up_to_the_last_end(&output.bytes, rest);
    piece(taken, &[(output.from, kept)])
}

/// The beginning and the end of what is too much.
fn halves(taken: u64, first: ServedOutput, last: ServedOutput, rest: Rest) -> Option<ServedPiece> {
    let half = &first.bytes[..first.bytes.len().min(TAKEN / 2)];
    let beginning = &half[..half.iter().rposition(|byte| *byte == b'\n').map_or(half.len(), |at| at + 1)];
    let skipped = last.bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = up_to_the_last_end(&last.bytes[skipped..], rest);
    piece(taken, &[(first.from, beginning), (last.from + bytes(skipped), end)])
}

/// A line that has not ended waits, unless there will be no more or it is long.
fn up_to_the_last_end(output: &[u8], rest: Rest) -> &[u8] {
    match output.iter().rposition(|byte| *byte == b'\n') {
        _ if rest == Rest::Ended => output,
        Some(at) => &output[..=at],
        None if output.len() >= LONG => output,
        None => &[],
    }
}

/// Parts of the output with their first bytes' numbers, one after the other; what is between them is said to be left out.
fn piece(taken: u64, parts: &[(u64, &[u8])]) -> Option<ServedPiece> {
    let mut lines = Vec::new();
    let mut at = taken;
    for (from, part) in parts.iter().filter(|(_, part)| !part.is_empty()) {
        if *from > at {
            lines.push(left_out(from - at));
        }
        let mut splitter = Lines::default();
        let mut clean = |line: Line| lines.push(line.clean(&Redactor::default()));
        splitter.push(part, &mut clean);
        splitter.end().into_iter().for_each(clean);
        at = from + bytes(part.len());
    }
    let text = pieces(lines.into_iter()).concat();
    let (from, to) = (i64::try_from(taken).ok()?, i64::try_from(at).ok()?);
    (!text.is_empty()).then_some(ServedPiece { from, to, text })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program's output as a provider would have it, taken look by look: `(from, to, text)` of each piece.
    fn looks(output: &[u8], grown: &[usize], rest: Rest) -> Vec<(u64, u64, String)> {
        let part = |from: u64, limit: usize, length: usize| {
            let from = usize::try_from(from).unwrap().min(length);
            ServedOutput { from: bytes(from), bytes: output[from..length.min(from + limit)].to_vec(), length: bytes(length) }
        };
        let (mut taken, mut found) = (0, Vec::new());
        for length in grown {
            let rest = if *length == output.len() { rest } else { Rest::Goes };
            let first = part(taken, TAKEN, *length);
            let piece = if first.from + bytes(first.bytes.len()) >= first.length {
                whole(taken, first, rest)
            } else {
                halves(taken, first, part(bytes(length - TAKEN / 2), TAKEN / 2, *length), rest)
            };
            if let Some(piece) = piece {
                assert_eq!(u64::try_from(piece.from), Ok(taken));
                taken = u64::try_from(piece.to).unwrap();
                found.push((u64::try_from(piece.from).unwrap(), taken, piece.text));
            }
        }
        found
    }

    #[test]
    fn lines_are_taken_whole_and_once() {
        let output = b"one\ntwo\nthree";
        let texts = |rest| looks(output, &[2, 6, 9, 9, 13], rest).into_iter().map(|(.., text)| text).collect::<Vec<_>>();
        assert_eq!(texts(Rest::Goes), ["one\n", "two\n"]);
        assert_eq!(texts(Rest::Ended), ["one\n", "two\n", "three\n"], "the last words need no end");
        let long = vec![b'x'; LONG];
        assert_eq!(looks(&long, &[LONG - 1, LONG], Rest::Goes).len(), 1, "a line that does not end is not waited for for ever");
    }

    #[test]
    fn of_too_much_the_middle_is_left_out_and_counted() {
        let output: Vec<u8> = (0..9_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let found = looks(&output, &[output.len()], Rest::Goes);
        let [(0, to, text)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*to, bytes(output.len()));
        assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 8998\nline 8999\n") && text.len() <= TAKEN + 100);
        let note = text.lines().find(|line| line.starts_with("[... ")).unwrap();
        let kept = text.len() - note.len() - 1;
        assert_eq!(note, left_out(bytes(output.len() - kept)));
    }

    #[test]
    fn what_the_provider_has_no_more_is_counted_too() {
        let output = ServedOutput { from: 100, bytes: b"late\n".to_vec(), length: 105 };
        let piece = whole(40, output, Rest::Goes).unwrap();
        assert_eq!((piece.from, piece.to, piece.text.as_str()), (40, 105, "[... 60 bytes left out ...]\nlate\n"));
    }

    proptest! {
        #[test]
        fn whatever_is_written_whenever_it_is_looked_at(
            parts in proptest::collection::vec(prop_oneof![
                "[a-z]{0,60}\n".prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..3_000),
            ], 0..30),
            cuts in proptest::collection::vec(0_usize..60_000, 0..12),
        ) {
            let output = parts.concat();
            let mut grown: Vec<usize> = cuts.into_iter().map(|cut| cut.min(output.len())).chain([output.len()]).collect();
            grown.sort_unstable();
            let found = looks(&output, &grown, Rest::Ended);
            for (_, _, text) in &found {
                prop_assert!(text.len() <= 64 * 1024 && text.ends_with('\n'));
                prop_assert!(text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
            }
            if let Some((_, to, _)) = found.last() {
                prop_assert!(*to <= bytes(output.len()));
            }
        }
    }
}
