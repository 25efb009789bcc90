//! `credential set`.

use alpine_api::{Credential, SetCredential};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller},
    limits::Ticket,
    openapi::SetCredentialRefusals,
};
use crate::domain::{Fault, stored_credential::NewCredential};

/// Store a credential for a host
///
/// In place of the owner's earlier one of that host and kind. An `up` uses the token that comes with it, else what its principal has stored for the host, else what the tenant has.
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
    ticket: Ticket,
    ApiJson(body): ApiJson<SetCredential>,
) -> Result<Response, ApiError> {
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let new = NewCredential::check(body)
        .map_err(|bad| ApiError::Malformed { status: StatusCode::UNPROCESSABLE_ENTITY, cause: bad.to_string() })?;
    let ledger = state.ledger.tenant(&caller.tenant);
    let stored = ticket.see_through(async move { ledger.set_credential(&caller, &new).await }).await??;
    let status = if stored.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(stored.credential)).into_response())
}
