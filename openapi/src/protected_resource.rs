//! Where a caller can get a token (RFC 9728, with an extension for `alpine login`).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The metadata of this server as an OAuth protected resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectedResource {
    /// The server's own address.
    pub resource: String,
    /// The issuers at which a person can log in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub authorization_servers: Vec<String>,
    /// How a token is sent: `header`.
    #[serde(default)]
    pub bearer_methods_supported: Vec<String>,
    /// What `alpine login` needs to know of each of those issuers.
    #[serde(default)]
    pub alpine_login: Vec<LoginHint>,
}

/// An issuer that lets devices log in (RFC 8628), and as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginHint {
    /// The exact value of `iss`; its discovery document is below it.
    pub issuer: String,
    /// The public client that the command line is.
    pub client_id: String,
    /// The scopes to ask for, with spaces between.
    pub scope: String,
    /// The resource indicator (RFC 8707) to ask for, if the issuer needs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
}
