//! Who asks.

use alpine_api::{Scope, WhoAmI};
use axum::Json;

use super::{extract::Caller, openapi::CallerRefusals};
use crate::domain::principal::Via;

/// The caller, as this server knows it
///
/// What the credential proves: the tenant, the principal, the roles, what it may be used for and when it ends.
#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoAmI", tag = "identity",
    responses((status = 200, body = WhoAmI, description = "The caller"), CallerRefusals)
)]
pub async fn whoami(Caller(caller): Caller) -> Json<WhoAmI> {
    let roles = [("alpine.admin", caller.is_admin()), ("alpine.operator", caller.is_operator())];
    // The scope `admin` is worth nothing to somebody without a role.
    let scopes = Scope::ALL.into_iter().filter(|scope| caller.scopes.has(*scope));
    let scopes = scopes.filter(|scope| *scope != Scope::Admin || caller.is_admin() || caller.is_operator());
    Json(WhoAmI {
        tenant: caller.tenant.to_string(),
        principal_id: caller.id.to_string(),
        roles: roles.into_iter().filter(|(_, has)| *has).map(|(role, _)| role.to_owned()).collect(),
        scopes: scopes.map(|scope| scope.to_string()).collect(),
        method: match caller.via {
            Via::Jwt => "jwt",
            Via::AccessToken => "access_token",
            Via::Cookie => "cookie",
        }
        .to_owned(),
        expires_at: caller.expires_at,
    })
}
