//! What a session serves, shared with others.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{SessionId, ShareId};

/// A request to share. Either `with` somebody or `public`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateShare {
    /// Principals of the session's tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 32)]
    pub with: Vec<String>,
    /// With whoever has the link, wherever they come from.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// What listens on this port of the session; without it, the session's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65_535)]
    pub port: Option<u16>,
    /// In seconds.
    #[serde(default = "one_day")]
    #[schema(minimum = 60, maximum = 2_592_000, default = 86_400)]
    pub expires_in: i32,
}

const fn one_day() -> i32 {
    86_400
}

/// A share, all but its link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    pub share_id: ShareId,
    pub session_id: SessionId,
    /// Without it, the session's own page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// With these principals of the tenant; nobody where it is public.
    #[serde(default)]
    pub with: Vec<String>,
    /// With whoever has the link.
    pub public: bool,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// A share that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedShare {
    /// The link. Shown here and never again. A public one lets in whoever follows it.
    #[schema(read_only)]
    pub url: String,
    #[serde(flatten)]
    pub about: Share,
}

impl std::fmt::Debug for CreatedShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedShare").field("about", &self.about).finish_non_exhaustive()
    }
}

/// The shares of a session that are good now, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShareList {
    pub shares: Vec<Share>,
}
