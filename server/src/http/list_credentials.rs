//! `credential list`.

use alpine_api::CredentialList;
use axum::{Json, extract::State};

use super::{ApiError, AppState, extract::Caller, openapi::CallerRefusals};

/// A list of stored credentials
///
/// The caller's own and the tenant's, in order of host, without their secrets.
#[utoipa::path(
    get, path = "/v1/credentials", operation_id = "listCredentials", tag = "credentials",
    responses((status = 200, body = CredentialList, description = "All of them, in order of host"), CallerRefusals)
)]
pub async fn list_credentials(State(state): State<AppState>, Caller(caller): Caller) -> Result<Json<CredentialList>, ApiError> {
    let credentials = state.ledger.tenant(&caller.tenant).credentials(&caller).await?;
    Ok(Json(CredentialList { credentials }))
}
