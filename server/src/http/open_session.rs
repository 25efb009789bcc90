//! The way into a session for a browser.

use std::num::NonZeroU16;

use alpine_api::{OpenSession, OpenedSession, SessionId};
use axum::{Json, extract::State};
use secrecy::ExposeSecret as _;

use super::{
    ApiError, AppState,
    extract::{ApiJsonOrDefault, Caller, SessionPath},
    limits::Ticket,
    openapi::OpenRefusals,
};
use crate::domain::{
    Fault,
    apps::{App, OPEN_PATH},
};

/// Let a browser into a session
///
/// An address that lets the browser which asks for it first into the session, in the caller's name, for as long as the server says. It is good once,
/// and for a minute; do not keep it. With a `port`, into what a program of the session serves there. Those with whom it is shared by name may too. Where sessions have no hosts of their own it is `409 ERR_OPERATION_CONFLICT`: their `opencode_url` is open to whoever reaches it.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/open", operation_id = "openSession", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    request_body = OpenSession,
    responses((status = 200, body = OpenedSession, description = "Where to go"), OpenRefusals)
)]
pub async fn open_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
    ticket: Ticket,
    ApiJsonOrDefault(body): ApiJsonOrDefault<OpenSession>,
) -> Result<Json<OpenedSession>, ApiError> {
    // The answer is a secret.
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let (ledger, now) = (state.ledger.tenant(&caller.tenant), state.clock.now());
    let (apps, app) = (state.apps.clone(), App { session, port: checked_port(body.port)? });
    let code = ticket.see_through(async move { ledger.make_code(&caller, app, apps.as_ref(), now).await }).await??;
    state.metrics.app_code("made");
    let url = format!("{}{OPEN_PATH}?code={}", code.at, code.text.expose_secret());
    Ok(Json(OpenedSession { session_id: session, url, app_url: code.at, expires_at: code.expires_at }))
}

pub(super) fn checked_port(port: Option<u16>) -> Result<Option<NonZeroU16>, ApiError> {
    port.map(|port| NonZeroU16::new(port).ok_or_else(|| ApiError::value("a port is from 1 to 65535"))).transpose()
}
