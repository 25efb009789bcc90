//! `credential set`.

use alpine_api::{Credential, SetCredential};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tracing::Instrument;

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller},
    openapi::SetCredentialRefusals,
};
use crate::domain::{Fault, stored_credential::NewCredential};

/// Store a credential for a host, in place of the owner's earlier one of that host and kind.
///
/// An `up` uses the token that comes with it, else what its principal has stored for the host, else what the tenant has.
/// The secret is sealed on arrival, opened for git only, and never shown again.
#[utoipa::path(
    put, path = "/v1/credentials", operation_id = "setCredential", tag = "credentials",
    request_body = SetCredential,
    responses(
        (status = 200, body = Credential, description = "It is in place of the earlier one"),
        (status = 201, body = Credential, description = "It is stored"),
        SetCredentialRefusals,
    )
)]
pub async fn set_credential(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ApiJson(body): ApiJson<SetCredential>,
) -> Result<Response, ApiError> {
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let new = NewCredential::check(body)
        .map_err(|bad| ApiError::Malformed { status: StatusCode::UNPROCESSABLE_ENTITY, cause: bad.to_string() })?;
    let ledger = state.ledger.tenant(&caller.tenant);
    // In a task of its own: a client that goes away must not stop it between BEGIN and COMMIT.
    let setting = tokio::spawn(async move { ledger.set_credential(&caller, &new).await }.in_current_span());
    let stored = setting.await.map_err(|_| ApiError::Panicked)??;
    let status = if stored.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(stored.credential)).into_response())
}
