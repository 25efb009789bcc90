//! The durable record: what goes in, and what is cut when it is too large.

use alpine_api::{RECORD_MAX_BYTES, SessionRecord};
use sha2::{Digest, Sha256};

/// A record as the bytes that are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub sha256: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the record is {size} bytes after compaction; at most {RECORD_MAX_BYTES} fit")]
    TooLarge { size: usize },
    #[error("the record cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Cut the oldest of `operation_history`, then of `state_transitions`, as little as makes it fit.
pub fn compact(record: SessionRecord) -> Result<Payload, RecordError> {
    compact_to(record, RECORD_MAX_BYTES)
}

fn compact_to(mut record: SessionRecord, limit: usize) -> Result<Payload, RecordError> {
    let whole = serde_json::to_vec(&record)?;
    if whole.len() <= limit {
        return Ok(seal(whole));
    }
    record.history_truncated = true;
    let size = serde_json::to_vec(&record)?.len();
    let excess = size.saturating_sub(limit);
    let operations = cut_oldest(&mut record.operation_history, excess)?;
    let transitions = cut_oldest(&mut record.state_transitions, excess.saturating_sub(operations))?;
    let bytes = serde_json::to_vec(&record)?;
    debug_assert_eq!(bytes.len(), size - operations - transitions);
    if bytes.len() <= limit { Ok(seal(bytes)) } else { Err(RecordError::TooLarge { size: bytes.len() }) }
}

fn seal(bytes: Vec<u8>) -> Payload {
    Payload { sha256: digest(&bytes), bytes }
}

/// Remove from the front until `excess` bytes are saved or nothing is left; the bytes saved.
fn cut_oldest<T: serde::Serialize>(entries: &mut Vec<T>, excess: usize) -> Result<usize, serde_json::Error> {
    let (mut saved, mut cut) = (0, 0);
    while saved < excess && cut < entries.len() {
        // Each entry but the last takes a comma with it.
        let comma = usize::from(cut + 1 < entries.len());
        saved += serde_json::to_vec(&entries[cut])?.len() + comma;
        cut += 1;
    }
    entries.drain(..cut);
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use alpine_api::{OperationId, OperationKind, OperationStatus, OperationSummary, SessionId, SessionState, Transition};
    use chrono::DateTime;

    use super::*;

    fn record(operations: usize, transitions: i64) -> SessionRecord {
        let at = DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap();
        SessionRecord {
            schema_version: "v1".into(),
            session_id: SessionId::generate(),
            principal_id: "ann".into(),
            repo_url: "https://h/r".into(),
            branch: "main".into(),
            state: SessionState::Stopped,
            state_transitions: (1..=transitions)
                .map(|seq| Transition {
                    seq,
                    from_state: Some(SessionState::StoppedUnpersisted),
                    to_state: SessionState::Persisting,
                    at,
                    actor: "ann".into(),
                    reason: format!("retry {seq}"),
                    operation_id: OperationId::generate(),
                    fence: seq,
                })
                .collect(),
            started_at: at,
            stopped_at: at,
            persisted_at: at,
            operation_history: (0..operations)
                .map(|_| OperationSummary {
                    operation_id: OperationId::generate(),
                    kind: OperationKind::Down,
                    status: OperationStatus::Failed,
                    actor: "ann".into(),
                    created_at: at,
                    finished_at: Some(at),
                    error: None,
                })
                .collect(),
            last_error: None,
            history_truncated: false,
        }
    }

    fn read(payload: &Payload) -> SessionRecord {
        serde_json::from_slice(&payload.bytes).unwrap()
    }

    #[test]
    fn a_record_that_fits_is_stored_whole() {
        let payload = compact(record(3, 9)).unwrap();
        assert!(!read(&payload).history_truncated);
        assert_eq!(payload.sha256, digest(&payload.bytes));
    }

    #[test]
    fn operations_are_cut_first_oldest_first_and_only_as_much_as_needed() {
        let whole = record(4000, 50);
        let payload = compact(whole.clone()).unwrap();
        let kept = read(&payload);
        assert!(kept.history_truncated);
        assert_eq!(kept.state_transitions, whole.state_transitions);
        let cut = whole.operation_history.len() - kept.operation_history.len();
        assert_eq!(kept.operation_history, whole.operation_history[cut..]);
        let mut one_more = kept;
        one_more.operation_history.insert(0, whole.operation_history[cut - 1].clone());
        assert!(payload.bytes.len() <= RECORD_MAX_BYTES);
        assert!(serde_json::to_vec(&one_more).unwrap().len() > RECORD_MAX_BYTES, "one operation more would have fitted");
    }

    #[test]
    fn transitions_are_cut_only_when_no_operation_is_left() {
        let whole = record(100, 4000);
        let payload = compact(whole.clone()).unwrap();
        let kept = read(&payload);
        assert!(kept.operation_history.is_empty());
        let cut = whole.state_transitions.len() - kept.state_transitions.len();
        assert_eq!(kept.state_transitions, whole.state_transitions[cut..]);
        let mut one_more = kept;
        one_more.state_transitions.insert(0, whole.state_transitions[cut - 1].clone());
        assert!(serde_json::to_vec(&one_more).unwrap().len() > RECORD_MAX_BYTES);
    }

    #[test]
    fn a_record_that_never_fits_is_refused_with_its_size() {
        let mut huge = record(1, 1);
        huge.repo_url = "x".repeat(RECORD_MAX_BYTES);
        assert!(matches!(compact(huge), Err(RecordError::TooLarge { size }) if size > RECORD_MAX_BYTES));
    }

    #[test]
    fn compaction_is_exact_at_every_limit() {
        let whole = record(5, 5);
        let size = serde_json::to_vec(&whole).unwrap().len();
        for limit in 0..size {
            if let Ok(payload) = compact_to(whole.clone(), limit) {
                assert!(payload.bytes.len() <= limit);
            }
        }
        assert_eq!(compact_to(whole.clone(), size).unwrap(), compact_to(whole, size).unwrap());
    }
}
