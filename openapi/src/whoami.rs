//! Who the server takes a caller for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The caller as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    pub tenant: String,
    pub principal_id: String,
    /// The roles that mean something to Alpine, such as `alpine.admin`.
    pub roles: Vec<String>,
    /// What the credential may be used for: `sessions:read`, `sessions:write`, `admin`.
    pub scopes: Vec<String>,
    /// How the caller proved it: `jwt` or `access_token`.
    pub method: String,
    /// When the credential ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}
