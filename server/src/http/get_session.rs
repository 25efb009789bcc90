//! `status`.

use alpine_api::{Session, SessionId};
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{Caller, SessionPath},
    openapi::SessionRefusals,
};

/// A session, whole
///
/// Its state, where it answers, its last transition, its last error, and what to do next. One's own, or for the role `alpine.admin`
/// any of the tenant. What is another tenant's, and an id that is none, are not there.
#[utoipa::path(
    get, path = "/v1/sessions/{session_id}", operation_id = "getSession", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    responses((status = 200, body = Session, description = "The session"), SessionRefusals)
)]
pub async fn get_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(id): SessionPath,
) -> Result<Json<Session>, ApiError> {
    Ok(Json(state.ledger.tenant(&caller.tenant).session(&caller, id).await?))
}
