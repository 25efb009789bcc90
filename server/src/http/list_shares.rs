//! With whom a session is shared.

use alpine_api::{SessionId, ShareList};
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{Caller, SessionPath},
    openapi::SessionRefusals,
};

/// The shares of a session
///
/// Those that are good now, newest first; never their links.
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/shares", operation_id = "listShares", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    responses((status = 200, body = ShareList, description = "The shares"), SessionRefusals)
)]
pub async fn list_shares(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
) -> Result<Json<ShareList>, ApiError> {
    Ok(Json(state.ledger.tenant(&caller.tenant).list_shares(&caller, session).await?))
}
