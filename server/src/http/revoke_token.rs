//! `token revoke`.

use alpine_api::TokenId;
use axum::{extract::State, http::StatusCode};

use super::{
    ApiError, AppState,
    extract::{Caller, TokenPath},
    limits::Ticket,
    openapi::RevokeTokenRefusals,
};

/// Revoke a personal access token
///
/// It is nobody's from the next request on; revoked again it stays so. One's own, or for the role `alpine.admin` any of the tenant.
#[utoipa::path(
    delete, path = "/v1/tokens/{token_id}", operation_id = "revokeToken", tag = "tokens",
    params(("token_id" = TokenId, Path, description = "The token")),
    responses((status = 204, description = "The token is revoked"), RevokeTokenRefusals)
)]
pub async fn revoke_token(
    State(state): State<AppState>,
    Caller(caller): Caller,
    ticket: Ticket,
    TokenPath(token): TokenPath,
) -> Result<StatusCode, ApiError> {
    let ledger = state.ledger.tenant(&caller.tenant);
    ticket.see_through(async move { ledger.revoke_token(&caller, token).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}
