//! Hints on their way between replicas.

use std::collections::BTreeSet;

use alpine_api::{OperationId, SessionId};
use uuid::Uuid;

/// A NOTIFY's payload is at most 8000 bytes; a hint is at most 36 with its comma.
pub(super) const HINTS_AT_ONCE: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hint {
    Work,
    Ended(OperationId),
    /// A session has a new event.
    Happened(SessionId),
    /// A session's log has grown.
    Logged(SessionId),
}

/// Who sends, then each hint once: `work`, an operation's id, `e` or `l` and a session's id without its prefix.
pub(super) fn render(sender: u64, batch: &[Hint]) -> String {
    let mut text = format!("@{sender:016x}");
    for hint in batch.iter().collect::<BTreeSet<_>>() {
        text.push(',');
        text.push_str(&match hint {
            Hint::Work => "work".to_owned(),
            Hint::Ended(operation) => operation.to_string(),
            Hint::Happened(session) => format!("e{}", session.uuid().simple()),
            Hint::Logged(session) => format!("l{}", session.uuid().simple()),
        });
    }
    text
}

/// Who sent it, and the hints. A replica of another version may say what is not understood: then there may be work.
pub(super) fn parse(text: &str) -> (Option<u64>, Vec<Hint>) {
    let mut words = text.split(',').peekable();
    let sender = words.next_if(|word| word.starts_with('@')).and_then(|word| u64::from_str_radix(&word[1..], 16).ok());
    (sender, words.map(|word| read(word).unwrap_or(Hint::Work)).collect())
}

fn read(word: &str) -> Option<Hint> {
    let session = |text: &str| Uuid::try_parse(text).ok().map(SessionId::from_uuid);
    match word.split_at_checked(1)? {
        ("e", rest) => session(rest).map(Hint::Happened),
        ("l", rest) => session(rest).map(Hint::Logged),
        _ => word.parse().ok().map(Hint::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_heard_each_hint_once() {
        let (operation, session) = (OperationId::from_uuid(Uuid::now_v7()), SessionId::from_uuid(Uuid::now_v7()));
        let hints = [Hint::Work, Hint::Ended(operation), Hint::Happened(session), Hint::Logged(session)];
        assert_eq!(parse(&render(7, &[hints, hints].concat())), (Some(7), hints.to_vec()));
        assert_eq!(parse("work,later,e1"), (None, vec![Hint::Work; 3]), "of another version");
    }

    #[test]
    fn the_largest_batch_fits_a_payload() {
        let hints: Vec<_> = (0..HINTS_AT_ONCE).map(|_| Hint::Ended(OperationId::from_uuid(Uuid::now_v7()))).collect();
        assert!(render(u64::MAX, &hints).len() < 8000);
    }
}
