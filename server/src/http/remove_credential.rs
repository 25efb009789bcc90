//! `credential rm`.

use alpine_api::CredentialId;
use axum::{extract::State, http::StatusCode};

use super::{
    ApiError, AppState,
    extract::{Caller, CredentialPath},
    limits::Ticket,
    openapi::RemoveCredentialRefusals,
};

/// Remove a stored credential
///
/// The caller's own, or for the role `alpine.admin` the tenant's. Operations under way that would still need it fail.
#[utoipa::path(
    delete, path = "/v1/credentials/{credential_id}", operation_id = "removeCredential", tag = "credentials",
    params(("credential_id" = CredentialId, Path, description = "The credential")),
    responses((status = 204, description = "It is removed"), RemoveCredentialRefusals)
)]
pub async fn remove_credential(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ticket: Ticket,
    CredentialPath(credential): CredentialPath,
) -> Result<StatusCode, ApiError> {
    let ledger = state.ledger.tenant(&caller.tenant);
    ticket.see_through(async move { ledger.remove_credential(&caller, credential).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}
