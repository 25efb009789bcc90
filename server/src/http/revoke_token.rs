//! `token revoke`.

use alpine_api::TokenId;
use axum::{extract::State, http::StatusCode};
use tracing::Instrument;

use super::{
    ApiError, AppState,
    extract::{Caller, TokenPath},
    openapi::RevokeTokenRefusals,
};

/// Revoke a personal access token. It is nobody's from the next request on; revoked again it stays so.
#[utoipa::path(
    delete, path = "/v1/tokens/{token_id}", operation_id = "revokeToken", tag = "tokens",
    params(("token_id" = TokenId, Path, description = "The token")),
    responses((status = 204, description = "The token is revoked"), RevokeTokenRefusals)
)]
pub async fn revoke_token(
    State(state): State<AppState>,
    Caller(caller): Caller,
    TokenPath(token): TokenPath,
) -> Result<StatusCode, ApiError> {
    let ledger = state.ledger.tenant(&caller.tenant);
    // In a task of its own: a client that goes away must not stop it between BEGIN and COMMIT.
    let revoked = tokio::spawn(async move { ledger.revoke_token(&caller, token).await }.in_current_span());
    revoked.await.map_err(|_| ApiError::Panicked)??;
    Ok(StatusCode::NO_CONTENT)
}
