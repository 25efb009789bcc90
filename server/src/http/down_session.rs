//! `down`.

use alpine_api::{DownSession, Operation, SessionId};
use axum::{extract::State, response::Response};

use super::{
    ApiError, AppState,
    extract::{ApiJsonOrDefault, Caller, Prefer, SessionPath, Wait},
    limits::Ticket,
    openapi::DownRefusals,
    reason, wait,
};
use crate::{ledger::NewDown, telemetry};

/// Stop a session and keep its record
///
/// Begins an operation that stops the sandbox, stores the session's record, verifies it, and removes the sandbox; an `up` that is
/// under way is cancelled first. Idempotent by nature: a second one is the first, under way or done. Without a body it is one
/// with the defaults.
///
/// A session that stopped without its record is `409 ERR_PERSISTENCE_VERIFICATION_FAILED`: try again with `retry_persist`.
#[utoipa::path(
    post, path = "/v1/sessions/{session_id}/down", operation_id = "downSession", tag = "sessions",
    params(
        ("session_id" = SessionId, Path, description = "The session"),
        Prefer,
    ),
    request_body = DownSession,
    responses(
        (status = 200, body = Operation, description = "The session is stopped", headers(("Location" = String), ("Preference-Applied" = String))),
        (status = 202, body = Operation, description = "Under way", headers(("Location" = String), ("Preference-Applied" = String))),
        DownRefusals,
    )
)]
pub async fn down_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    SessionPath(session): SessionPath,
    wait: Wait,
    ticket: Ticket,
    ApiJsonOrDefault(body): ApiJsonOrDefault<DownSession>,
) -> Result<Response, ApiError> {
    let DownSession { retry_persist, force, reason: given } = body;
    let down = NewDown {
        caller: caller.clone(),
        session,
        retry_persist,
        force,
        reason: reason::checked(given)?,
        traceparent: telemetry::current_traceparent(),
    };
    let ledger = state.ledger.tenant(&caller.tenant);
    let answer = ticket.see_through(async move { ledger.accept_down(down).await }).await??;
    if let Some(overtaken) = &answer.ended {
        state.metrics.operation_ended(overtaken.kind, overtaken.status, overtaken.error.as_ref());
    }
    let operation = wait::settle(&state, &caller.tenant, answer.operation, wait, &ticket).await;
    Ok(wait::answer(operation, wait))
}
