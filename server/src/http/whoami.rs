//! Who asks.

use alpine_api::WhoAmI;
use axum::Json;

use super::{extract::Caller, openapi::WhoAmIRefusals};

/// The caller as this server knows it: what its token proves.
#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoAmI", tag = "identity",
    responses((status = 200, body = WhoAmI, description = "The caller"), WhoAmIRefusals)
)]
pub async fn whoami(Caller(principal): Caller) -> Json<WhoAmI> {
    let admin = principal.is_admin();
    let mut scopes = vec!["sessions:read".to_owned(), "sessions:write".to_owned()];
    scopes.extend(admin.then(|| "admin".to_owned()));
    Json(WhoAmI {
        tenant: principal.tenant.to_string(),
        principal_id: principal.id.to_string(),
        roles: admin.then(|| "alpine.admin".to_owned()).into_iter().collect(),
        scopes,
        method: "jwt".to_owned(),
        expires_at: None,
    })
}
