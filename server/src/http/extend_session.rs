//! A longer life for a session.

use std::sync::Arc;

use alpine_api::{ExtendSession, Session, SessionId};
use axum::{Json, extract::State};

use super::{
    ApiError, AppState,
    extract::{ApiJsonOrDefault, Caller, SessionPath},
    limits::Ticket,
    openapi::ExtendRefusals,
    seconds,
};

/// Keep a session for longer
///
/// A ready session whose lifetime is bounded stays ready for so long from now on: for what is asked for, or for as long as it was
/// given when it began, as far as the server allows. It is never shortened, and one without an end stays without one. To a session with an idle timeout it is a use.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/extend", operation_id = "extendSession", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    request_body = ExtendSession,
    responses((status = 200, body = Session, description = "The session as it is now"), ExtendRefusals)
)]
pub async fn extend_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
    ticket: Ticket,
    ApiJsonOrDefault(body): ApiJsonOrDefault<ExtendSession>,
) -> Result<Json<Session>, ApiError> {
    let asked = seconds::lifetime(body.lifetime_seconds)?;
    let (ledger, classes) = (state.ledger.tenant(&caller.tenant), Arc::clone(&state.classes));
    Ok(Json(ticket.see_through(async move { ledger.extend(&caller, session, asked, &classes).await }).await??))
}
