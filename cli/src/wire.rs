//! The contract's answers as this program reads them: tolerant of words that only a newer server knows.
//!
//! The shapes are those of `alpine-api` (a test holds them together); only closed vocabularies are opened.

use std::fmt;

use alpine_api::{
    CredentialId, CredentialKind, CredentialOwner, ErrorCode, EventKind, LogSource, OperationId, OperationKind, OperationStatus, Scope,
    SessionId, SessionState, TokenId,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A word of a vocabulary that a newer server may have extended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word<T> {
    Known(T),
    Other(String),
}

impl<T: Copy> Word<T> {
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(word) => Some(*word),
            Self::Other(_) => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(word) => f.pad(&word.to_string()),
            Self::Other(word) => f.pad(word),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub error_code: Word<ErrorCode>,
    pub cause: String,
    #[serde(default)]
    pub next_step: String,
    #[serde(default)]
    pub retryable: bool,
}

/// An error answer; anything may be missing where a proxy answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub error_code: Option<Word<ErrorCode>>,
    pub title: Option<String>,
    pub detail: Option<String>,
    pub cause: Option<String>,
    pub next_step: Option<String>,
    pub retryable: Option<bool>,
    pub operation_id: Option<OperationId>,
    pub session_id: Option<SessionId>,
    pub request_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Operation {
    pub operation_id: OperationId,
    pub session_id: SessionId,
    pub kind: Word<OperationKind>,
    pub status: Word<OperationStatus>,
    pub state: Word<SessionState>,
    pub created_at: DateTime<Utc>,
    pub target_commit_sha: Option<String>,
    pub opencode_url: Option<String>,
    pub ready_at: Option<DateTime<Utc>>,
    pub durable_object_id: Option<String>,
    pub persisted_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub persistence_verified: bool,
    pub error: Option<Failure>,
    pub next_step: Option<String>,
}

impl Operation {
    /// A status that this program does not know is not an end: it goes on asking.
    pub fn has_ended(&self) -> bool {
        self.status.known().is_some_and(OperationStatus::is_terminal)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    pub session_id: SessionId,
    pub state: Word<SessionState>,
    pub owner_principal_id: String,
    pub repo_url: String,
    pub branch: String,
    pub target_commit_sha: Option<String>,
    pub opencode_url: Option<String>,
    pub updated_at: DateTime<Utc>,
    pub ready_at: Option<DateTime<Utc>>,
    pub class: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub used_at: Option<DateTime<Utc>>,
    pub idle_at: Option<DateTime<Utc>>,
    pub stopped_at: Option<DateTime<Utc>>,
    pub persisted_at: Option<DateTime<Utc>>,
    pub durable_object_id: Option<String>,
    pub operation_id: Option<OperationId>,
    pub last_error: Option<Failure>,
    pub next_step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionSummary {
    pub session_id: SessionId,
    pub state: Word<SessionState>,
    pub repo_url: String,
    pub branch: String,
    pub updated_at: DateTime<Utc>,
    pub owner_principal_id: String,
    pub opencode_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionPage {
    pub sessions: Vec<SessionSummary>,
    pub next_cursor: Option<String>,
}

/// Something that has happened to a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub seq: i64,
    /// An older server knows transitions only.
    #[serde(default = "transition")]
    pub kind: Word<EventKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_state: Option<Word<SessionState>>,
    pub to_state: Word<SessionState>,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub reason: String,
    pub operation_id: OperationId,
    pub fence: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<i16>,
}

fn transition() -> Word<EventKind> {
    Word::Known(EventKind::Transition)
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EventPage {
    pub events: Vec<Event>,
    pub next_after: i64,
}

/// A piece of a session's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub source: Word<LogSource>,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogPage {
    pub chunks: Vec<LogChunk>,
    /// Above 1: what came before is gone.
    pub first_seq: Option<i64>,
}

/// Who the server takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhoAmI {
    pub tenant: String,
    pub principal_id: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default)]
    pub method: String,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Token {
    pub token_id: TokenId,
    pub name: String,
    pub owner_principal_id: String,
    pub scopes: Vec<Word<Scope>>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// No Debug: it holds the secret.
#[derive(Deserialize)]
pub struct CreatedToken {
    pub token: String,
    #[serde(flatten)]
    pub about: Token,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TokenPage {
    pub tokens: Vec<Token>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Credential {
    pub credential_id: CredentialId,
    pub host: String,
    pub kind: Word<CredentialKind>,
    pub owner: Word<CredentialOwner>,
    pub fingerprint: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CredentialList {
    pub credentials: Vec<Credential>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::at;

    #[test]
    fn words_of_a_newer_server_are_kept_as_they_came() {
        let failure: Failure = serde_json::from_value(json!({"error_code": "ERR_FROM_TOMORROW", "cause": "c"})).unwrap();
        assert_eq!(failure.error_code, Word::Other("ERR_FROM_TOMORROW".to_owned()));
        assert_eq!(serde_json::to_value(&failure).unwrap()["error_code"], "ERR_FROM_TOMORROW");
        assert_eq!(serde_json::from_value::<Word<SessionState>>(json!("ready")).unwrap(), Word::Known(SessionState::Ready));
    }

    #[test]
    fn a_transition_of_the_contract_passes_through_unchanged() {
        let contract = alpine_api::Event {
            kind: EventKind::Transition,
            phase: None,
            percent: None,
            seq: 2,
            from_state: Some(SessionState::Requested),
            to_state: SessionState::Provisioning,
            at: at("2026-11-22T10:00:00Z"),
            actor: "system".to_owned(),
            reason: "claimed".to_owned(),
            operation_id: OperationId::generate(),
            fence: 1,
        };
        let wire = serde_json::to_value(&contract).unwrap();
        let ours: Event = serde_json::from_value(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(&ours).unwrap(), wire);
    }

    #[test]
    fn a_piece_of_a_log_of_the_contract_passes_through_unchanged() {
        let contract = alpine_api::LogChunk { seq: 7, at: at("2026-11-22T10:00:00Z"), source: LogSource::Install, text: "a\n".to_owned() };
        let page = alpine_api::LogPage { chunks: vec![contract.clone()], next_after: 7, first_seq: Some(3) };
        let ours: LogPage = serde_json::from_value(serde_json::to_value(page).unwrap()).unwrap();
        assert_eq!((ours.first_seq, serde_json::to_value(&ours.chunks[0]).unwrap()), (Some(3), serde_json::to_value(contract).unwrap()));
    }

    #[test]
    fn a_credential_of_the_contract_can_be_read() {
        let credential = alpine_api::Credential {
            credential_id: CredentialId::generate(),
            host: "h".to_owned(),
            kind: CredentialKind::DeployKey,
            owner: CredentialOwner::Tenant,
            fingerprint: None,
            created_at: at("2026-11-22T10:00:00Z"),
            updated_at: at("2026-11-22T10:00:00Z"),
        };
        let list = alpine_api::CredentialList { credentials: vec![credential] };
        let ours: CredentialList = serde_json::from_value(serde_json::to_value(&list).unwrap()).unwrap();
        assert_eq!(ours.credentials[0].kind, Word::Known(CredentialKind::DeployKey));
    }

    #[test]
    fn every_answer_of_the_contract_can_be_read() {
        let operation = alpine_api::Operation {
            operation_id: OperationId::generate(),
            session_id: SessionId::generate(),
            kind: OperationKind::Up,
            status: OperationStatus::Failed,
            state: SessionState::Failed,
            phase: "install".to_owned(),
            created_at: at("2026-11-22T10:00:00Z"),
            finished_at: None,
            target_commit_sha: None,
            opencode_url: None,
            ready_at: None,
            durable_object_id: None,
            persisted_at: None,
            persistence_verified: false,
            error: Some(alpine_api::Failure {
                error_code: ErrorCode::SandboxProvisionFailed,
                cause: "install exited 1".to_owned(),
                next_step: "mend it".to_owned(),
                retryable: true,
            }),
            next_step: None,
        };
        let ours: Operation = serde_json::from_value(serde_json::to_value(&operation).unwrap()).unwrap();
        assert!(ours.has_ended());
        assert_eq!(ours.error.unwrap().error_code.known(), Some(ErrorCode::SandboxProvisionFailed));
    }
}
