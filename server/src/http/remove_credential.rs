//! `credential rm`.

use alpine_api::CredentialId;
use axum::{extract::State, http::StatusCode};
use tracing::Instrument;

use super::{
    ApiError, AppState,
    extract::{Caller, CredentialPath},
    openapi::RemoveCredentialRefusals,
};

/// Remove a stored credential: the caller's own, or (admins) the tenant's.
///
/// Operations under way that would still need it fail.
#[utoipa::path(
    delete, path = "/v1/credentials/{credential_id}", operation_id = "removeCredential", tag = "credentials",
    params(("credential_id" = CredentialId, Path, description = "The credential")),
    responses((status = 204, description = "It is removed"), RemoveCredentialRefusals)
)]
pub async fn remove_credential(
    State(state): State<AppState>,
    Caller(caller): Caller,
    CredentialPath(credential): CredentialPath,
) -> Result<StatusCode, ApiError> {
    let ledger = state.ledger.tenant(&caller.tenant);
    // In a task of its own: a client that goes away must not stop it between BEGIN and COMMIT.
    let removing = tokio::spawn(async move { ledger.remove_credential(&caller, credential).await }.in_current_span());
    removing.await.map_err(|_| ApiError::Panicked)??;
    Ok(StatusCode::NO_CONTENT)
}
