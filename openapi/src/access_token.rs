//! Personal access tokens on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Scope, TokenId};

/// A request for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for; without control characters.
    #[schema(examples("nightly build"), min_length = 1, max_length = 100, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub name: String,
    /// What it is good for. `admin` only for admins.
    #[schema(min_items = 1, max_items = 3)]
    pub scopes: Vec<Scope>,
    /// After so many days it is nobody's.
    #[serde(default = "default_days")]
    #[schema(minimum = 1, maximum = 365, default = 90)]
    pub expires_in_days: i32,
}

/// What a token is good for where nothing is said, in days.
const fn default_days() -> i32 {
    90
}

/// A token, all but the secret itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    pub token_id: TokenId,
    pub name: String,
    pub owner_principal_id: String,
    pub scopes: Vec<Scope>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// To the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The secret. Shown here and never again.
    #[schema(read_only, pattern = "^alpine_pat_[0-9A-Za-z]{49}$")]
    pub token: String,
    #[serde(flatten)]
    pub about: Token,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("about", &self.about).finish_non_exhaustive()
    }
}

/// A page of tokens, newest first: good, expired and revoked ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenPage {
    pub tokens: Vec<Token>,
    /// Give it back as `cursor` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<TokenId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_not_shown_by_accident() {
        let created = CreatedToken {
            token: "alpine_pat_s3cr3t".into(),
            about: Token {
                token_id: TokenId::generate(),
                name: "ci".into(),
                owner_principal_id: "ann".into(),
                scopes: vec![Scope::SessionsRead],
                created_at: DateTime::UNIX_EPOCH,
                expires_at: DateTime::UNIX_EPOCH,
                last_used_at: None,
                revoked_at: None,
            },
        };
        assert!(!format!("{created:?}").contains("s3cr3t"));
        assert_eq!(serde_json::to_value(&created).unwrap()["name"], "ci", "one object");
    }
}
