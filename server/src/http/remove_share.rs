//! The end of a share.

use alpine_api::{SessionId, ShareId};
use axum::{extract::State, http::StatusCode};

use super::{
    ApiError, AppState,
    extract::{Caller, SharePath},
    limits::Ticket,
    openapi::RemoveShareRefusals,
};

/// Take a share back
///
/// It lets nobody in from now on, and whoever it let in is put out within seconds.
#[utoipa::path(
    delete, path = "/v1/sessions/{session_id}/shares/{share_id}", operation_id = "removeShare", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session"), ("share_id" = ShareId, Path, description = "The share")),
    responses((status = 204, description = "The share is gone"), RemoveShareRefusals)
)]
pub async fn remove_share(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SharePath(session, share): SharePath,
    ticket: Ticket,
) -> Result<StatusCode, ApiError> {
    let ledger = state.ledger.tenant(&caller.tenant);
    ticket.see_through(async move { ledger.remove_share(&caller, session, share).await }).await??;
    Ok(StatusCode::NO_CONTENT)
}
