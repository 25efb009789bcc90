//! The way into a session for a browser.

use alpine_api::{OpenedSession, SessionId};
use axum::{Json, extract::State};
use secrecy::ExposeSecret as _;

use super::{
    ApiError, AppState,
    extract::{Caller, SessionPath},
    limits::Ticket,
    openapi::OpenRefusals,
};
use crate::domain::{Fault, apps::OPEN_PATH};

/// Let a browser into a session
///
/// An address that lets the browser which asks for it first into the session, in the caller's name, for as long as the server says. It is good once,
/// and for a minute; do not keep it. Where sessions have no hosts of their own it is `409 ERR_OPERATION_CONFLICT`: their `opencode_url` is open to whoever reaches it.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/open", operation_id = "openSession", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    responses((status = 200, body = OpenedSession, description = "Where to go"), OpenRefusals)
)]
pub async fn open_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
    ticket: Ticket,
) -> Result<Json<OpenedSession>, ApiError> {
    // The answer is a secret.
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let (ledger, now) = (state.ledger.tenant(&caller.tenant), state.clock.now());
    let apps = state.apps.clone();
    let code = ticket.see_through(async move { ledger.make_code(&caller, session, apps.as_ref(), now).await }).await??;
    state.metrics.app_code("made");
    let url = format!("{}{OPEN_PATH}?code={}", code.at, code.text.expose_secret());
    Ok(Json(OpenedSession { session_id: session, url, expires_at: code.expires_at }))
}
