//! The audit log: who did what to what is not theirs, and to tokens, credentials and limits. Each entry carries the
//! digest of the one before it, so that anybody who reads a tenant's log can see whether it is whole.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// Whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    Done,
    /// Tried, and refused.
    Denied,
}

impl AuditOutcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
        }
    }
}

/// One entry of a tenant's audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// The tenant that it is about.
    pub tenant: String,
    /// The entry's place in the tenant's log, from 1, without a gap.
    #[schema(minimum = 1)]
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    /// The actor's own tenant: an operator may be of another.
    pub actor_tenant: String,
    /// What was done, as in `session.down`.
    pub action: String,
    pub outcome: AuditOutcome,
    /// What it was done to: a session's, token's or credential's id, a tenant's name.
    pub target: Option<String>,
    /// Whose that is.
    pub owner: Option<String>,
    pub reason: Option<String>,
    pub request_id: String,
    /// `hash` of the entry before; empty for the first.
    #[schema(pattern = "^([0-9a-f]{64})?$")]
    pub prev_hash: String,
    /// SHA-256, in hexadecimal, over all of the above: each field as its length in bytes, `:` and its text (a missing one
    /// as `-`), in the order tenant, seq, at in microseconds since 1970, actor_tenant, actor, action, outcome, target, owner,
    /// reason, request_id, prev_hash.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub hash: String,
}

impl AuditEntry {
    /// What `hash` must be.
    #[must_use]
    pub fn digest(&self) -> String {
        let (seq, at) = (self.seq.to_string(), self.at.timestamp_micros().to_string());
        let fields = [
            Some(self.tenant.as_str()),
            Some(&seq),
            Some(&at),
            Some(&self.actor_tenant),
            Some(&self.actor),
            Some(&self.action),
            Some(self.outcome.as_str()),
            self.target.as_deref(),
            self.owner.as_deref(),
            self.reason.as_deref(),
            Some(&self.request_id),
            Some(&self.prev_hash),
        ];
        let text: String =
            fields.iter().map(|field| field.map_or_else(|| "-".to_owned(), |text| format!("{}:{text}", text.len()))).collect();
        Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A page of a tenant's audit log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// `after` of the next page.
    #[schema(minimum = 0)]
    pub next_after: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        let entry = AuditEntry {
            tenant: "acme".into(),
            seq: 1,
            at: DateTime::from_timestamp_micros(1_800_000_000_000_001).unwrap(),
            actor: "ann".into(),
            actor_tenant: "acme".into(),
            action: "session.down".into(),
            outcome: AuditOutcome::Done,
            target: None,
            owner: Some("böb".into()),
            reason: Some(String::new()),
            request_id: "r".into(),
            prev_hash: String::new(),
            hash: String::new(),
        };
        AuditEntry { hash: entry.digest(), ..entry }
    }

    #[test]
    fn every_field_counts_and_none_runs_into_the_next() {
        let whole = entry();
        let changed = [
            AuditEntry { tenant: "acm".into(), ..entry() },
            AuditEntry { seq: 2, ..entry() },
            AuditEntry { at: DateTime::from_timestamp_micros(1_800_000_000_000_002).unwrap(), ..entry() },
            AuditEntry { actor: "an".into(), action: "nsession.down".into(), ..entry() },
            AuditEntry { outcome: AuditOutcome::Denied, ..entry() },
            AuditEntry { target: Some(String::new()), ..entry() },
            AuditEntry { owner: None, ..entry() },
            AuditEntry { reason: None, ..entry() },
            AuditEntry { request_id: "s".into(), ..entry() },
            AuditEntry { prev_hash: "00".into(), ..entry() },
        ];
        for entry in changed {
            assert_ne!(entry.digest(), whole.hash, "{entry:?}");
        }
    }
}
