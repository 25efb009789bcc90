//! Idempotency keys: what makes two requests the same, and what a repeated one is answered.

use alpine_api::{Branch, Failure, OperationId, OperationStatus, RepoUrl, SessionState};
use sha2::{Digest, Sha256};

use crate::domain::Fault;

/// A client-request-id: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key must be 1 to 255 visible ASCII characters")]
pub struct BadKey;

impl IdempotencyKey {
    pub fn parse(key: &str) -> Result<Self, BadKey> {
        let ok = (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if ok { Ok(Self(key.to_owned())) } else { Err(BadKey) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an `up` may ask for beside its repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpOptions {
    /// In seconds.
    pub lifetime: Option<i32>,
    /// Likewise.
    pub idle_timeout: Option<i32>,
    pub class: Option<String>,
}

/// A digest of every parameter of `up` that changes its outcome. Parts are length-prefixed, so that no
/// two lists of parts run together. The token is left out: a retry may carry a fresh one.
#[must_use]
pub fn fingerprint(repo_url: &RepoUrl, branch: &Branch, public: bool, options: &UpOptions) -> [u8; 32] {
    let mut digest = Sha256::new();
    // Named, so that one alone is not taken for another. What is not asked for is not in it: keys are older than all of them.
    let lifetime = options.lifetime.map(|seconds| format!("lifetime {seconds}"));
    let idle = options.idle_timeout.map(|seconds| format!("idle {seconds}"));
    let class = options.class.as_ref().map(|name| format!("class {name}"));
    let parts = ["up/v1", repo_url.as_str(), branch.as_str(), if public { "public" } else { "private" }];
    for part in parts.into_iter().chain(lifetime.as_deref()).chain(class.as_deref()).chain(idle.as_deref()) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().into()
}

/// What the first use of a key has come to.
#[derive(Debug, Clone)]
pub struct Earlier {
    pub operation_id: OperationId,
    pub fingerprint: Vec<u8>,
    pub status: OperationStatus,
    pub failure: Option<Failure>,
    pub session_state: SessionState,
}

/// The answer to a repeated `up`, rendered from the operation and never from a saved success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// The same operation, still under way.
    Running,
    /// The same operation, its session ready.
    Ready,
    /// The error that it ended with.
    Failed(Failure),
}

pub fn replay(earlier: &Earlier, fingerprint: &[u8; 32]) -> Result<Replay, Fault> {
    if earlier.fingerprint != fingerprint {
        return Err(Fault::KeyReused { first: earlier.operation_id });
    }
    match (earlier.status, &earlier.failure) {
        (OperationStatus::Queued | OperationStatus::Running, _) => Ok(Replay::Running),
        (_, Some(failure)) => Ok(Replay::Failed(failure.clone())),
        (_, None) if earlier.session_state == SessionState::Ready => Ok(Replay::Ready),
        (_, None) => Err(Fault::SessionOver { operation: earlier.operation_id }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure;

    fn earlier(status: OperationStatus, failure: Option<Failure>, session_state: SessionState) -> Earlier {
        Earlier { operation_id: OperationId::generate(), fingerprint: vec![7; 32], status, failure, session_state }
    }

    #[test]
    fn every_parameter_changes_the_fingerprint_and_none_runs_into_the_next() {
        let url = |u: &str| u.parse::<RepoUrl>().unwrap();
        let branch = |b: &str| b.parse::<Branch>().unwrap();
        let base = fingerprint(&url("https://h/a"), &branch("main"), false, &UpOptions::default());
        assert_eq!(base, fingerprint(&url("https://h/a"), &branch("main"), false, &UpOptions::default()));
        assert_ne!(base, fingerprint(&url("https://h/a"), &branch("main"), true, &UpOptions::default()));
        assert_ne!(base, fingerprint(&url("https://h/b"), &branch("main"), false, &UpOptions::default()));
        let lifetime = UpOptions { lifetime: Some(60), ..UpOptions::default() };
        let class = UpOptions { class: Some("60".into()), ..UpOptions::default() };
        let idle = UpOptions { idle_timeout: Some(60), ..UpOptions::default() };
        let all = [&lifetime, &class, &idle].map(|options| fingerprint(&url("https://h/a"), &branch("main"), false, options));
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2] && !all.contains(&base));
        assert_ne!(base, fingerprint(&url("https://h/am"), &branch("ain"), false, &UpOptions::default()));
    }

    #[test]
    fn a_failed_up_replays_as_its_error() {
        let failed = earlier(OperationStatus::Failed, Some(failure::step("install", "exit 1")), SessionState::Failed);
        assert_eq!(replay(&failed, &[7; 32]), Ok(Replay::Failed(failure::step("install", "exit 1"))));
    }

    #[test]
    fn other_parameters_are_a_conflict_whatever_came_of_the_first() {
        for status in OperationStatus::ALL {
            let first = earlier(*status, None, SessionState::Ready);
            assert_eq!(replay(&first, &[8; 32]), Err(Fault::KeyReused { first: first.operation_id }));
        }
    }

    #[test]
    fn a_key_whose_session_is_over_is_refused() {
        let over = earlier(OperationStatus::Succeeded, None, SessionState::Stopped);
        assert_eq!(replay(&over, &[7; 32]), Err(Fault::SessionOver { operation: over.operation_id }));
        let ready = earlier(OperationStatus::Succeeded, None, SessionState::Ready);
        assert_eq!(replay(&ready, &[7; 32]), Ok(Replay::Ready));
        let running = earlier(OperationStatus::Running, None, SessionState::Installing);
        assert_eq!(replay(&running, &[7; 32]), Ok(Replay::Running));
    }

    #[test]
    fn keys_are_visible_ascii() {
        assert!(IdempotencyKey::parse("a:b/c").is_ok());
        for bad in ["", " ", "a b", "ä", "a\n", &"x".repeat(256)] {
            assert_eq!(IdempotencyKey::parse(bad), Err(BadKey));
        }
    }
}
