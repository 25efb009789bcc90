//! A session's page, or one of its ports, for others.

use alpine_api::{CreateShare, CreatedShare, SessionId};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use secrecy::ExposeSecret as _;

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller, SessionPath},
    limits::Ticket,
    open_session::checked_port,
    openapi::CreateShareRefusals,
};
use crate::{
    domain::{
        Fault,
        apps::{App, OPEN_PATH},
        principal::PrincipalId,
    },
    ledger::NewShare,
};

const MOST_NAMES: usize = 32;
const EXPIRES_IN: std::ops::RangeInclusive<i32> = 60..=2_592_000;

/// Share a session
///
/// What a ready session serves, its own page or what listens on a port, for others of its tenant by name, or for whoever has the link. They can do there what its owner
/// can do there; they can neither stop the session nor share it on. Not idempotent: where the answer is lost, list the shares and remove the one whose link nobody has.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/shares", operation_id = "createShare", tag = "sessions",
    params(("session_id" = SessionId, Path, description = "The session")),
    request_body = CreateShare,
    responses((status = 201, body = CreatedShare, description = "The share, and its link"), CreateShareRefusals)
)]
pub async fn create_share(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
    ticket: Ticket,
    ApiJson(body): ApiJson<CreateShare>,
) -> Result<impl IntoResponse, ApiError> {
    // The answer lets somebody in.
    if !state.settings.takes_secrets {
        return Err(Fault::PlainHttp.into());
    }
    let app = App { session, port: checked_port(body.port)? };
    let at = state.apps.as_ref().map(|apps| apps.url(app));
    let new = NewShare { app, at, with: checked_with(&body)?, expires_in: checked_end(body.expires_in)?, caller };
    let ledger = state.ledger.tenant(&new.caller.tenant);
    let (at, link, about) = ticket.see_through(async move { ledger.create_share(new).await }).await??;
    let url = format!("{at}{OPEN_PATH}?share={}", link.expose_secret());
    Ok((StatusCode::CREATED, Json(CreatedShare { url, about })))
}

/// Each once; `None`: whoever has the link.
fn checked_with(body: &CreateShare) -> Result<Option<Vec<PrincipalId>>, ApiError> {
    match (body.public, body.with.len()) {
        (true, 0) => Ok(None),
        (false, 1..=MOST_NAMES) => {
            let mut names = body.with.clone();
            names.sort_unstable();
            names.dedup();
            let names = names.iter().map(|name| PrincipalId::parse(name)).collect::<Result<_, _>>();
            Ok(Some(names.map_err(|bad| ApiError::value(bad.to_string()))?))
        }
        _ => Err(ApiError::value("either public, or with 1 to 32 principals")),
    }
}

fn checked_end(seconds: i32) -> Result<i32, ApiError> {
    if EXPIRES_IN.contains(&seconds) { Ok(seconds) } else { Err(ApiError::value("expires_in is from 60 to 2592000 seconds")) }
}
