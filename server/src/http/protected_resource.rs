//! Where a caller can get a token.

use alpine_api::{LoginHint, ProtectedResource};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
};

use super::{ApiError, AppState, openapi::HostRefusals, origin::authority};
use crate::auth::LoginHints;

/// Where a caller can get a token
///
/// The metadata of this server as an OAuth protected resource (RFC 9728), with what `alpine login` needs beyond it. For everybody.
#[utoipa::path(
    get, path = "/.well-known/oauth-protected-resource", operation_id = "protectedResource", tag = "system", security(()),
    responses(
        (status = 200, body = ProtectedResource, description = "Where a token is to be had"),
        HostRefusals,
    )
)]
pub async fn protected_resource(State(state): State<AppState>, uri: Uri, headers: HeaderMap) -> Result<Json<ProtectedResource>, ApiError> {
    let alpine_login: Vec<LoginHint> = state.auth.login_hints().filter_map(hint).collect();
    Ok(Json(ProtectedResource {
        resource: own_address(&uri, &headers)?,
        authorization_servers: alpine_login.iter().map(|hint| hint.issuer.clone()).collect(),
        bearer_methods_supported: vec!["header".to_owned()],
        alpine_login,
    }))
}

/// Where an issuer names no scopes: a login that can be renewed.
const SCOPE: &str = "openid offline_access";

fn hint(issuer: &LoginHints) -> Option<LoginHint> {
    Some(LoginHint {
        issuer: issuer.issuer.clone(),
        client_id: issuer.device_client_id.clone()?,
        scope: issuer.device_scope.clone().unwrap_or_else(|| SCOPE.to_owned()),
        resource: issuer.resource.clone(),
    })
}

/// The name under which the client asked: a client compares it with the one that it used (RFC 9728, 3.3). Nothing is
/// decided by it here. Whoever ends TLS, clients speak it.
fn own_address(uri: &Uri, headers: &HeaderMap) -> Result<String, ApiError> {
    let host = authority(uri, headers).ok_or_else(|| ApiError::malformed("the request names no host"))?;
    Ok(format!("https://{host}"))
}
