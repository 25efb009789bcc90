//! The record that a stopped session leaves.

use alpine_api::{SessionId, StoredRecord};
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{Caller, SessionPath},
    openapi::SessionRefusals,
};

/// The record that a stopped session has left
///
/// As it was stored, with its SHA-256 and the time at which it was read back and found equal. A session that is not stopped has
/// none: `404`.
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}/record", operation_id = "getRecord", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    responses((status = 200, body = StoredRecord, description = "The record"), SessionRefusals)
)]
pub async fn get_record(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(id): SessionPath,
) -> Result<Json<StoredRecord>, ApiError> {
    Ok(Json(state.ledger.tenant(&caller.tenant).record(&caller, id).await?))
}
