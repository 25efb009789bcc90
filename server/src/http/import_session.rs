//! Moving in: one session of another ledger.

use alpine_api::{IMPORT_MAX_BYTES, ImportSession, Imported};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiError, AppState,
    extract::{ApiJson, Caller, Prefer, Wait},
    limits::Ticket,
    openapi::ImportRefusals,
    wait,
};

/// This body alone may be large: a record is up to 512 KiB.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(import_session)).layer(DefaultBodyLimit::max(IMPORT_MAX_BYTES))
}

/// Bring in a session of another ledger
///
/// For the role `alpine.admin`. With its history, its operations, its record and its client-request-ids, for the owner that it
/// had. The same again is answered with what it became; with other contents it is a conflict, and nothing is overwritten. What was
/// active there is brought in and ended. With `dry_run` everything is checked and nothing written.
#[utoipa::path(
    post, path = "/v1/imports/sessions", operation_id = "importSession", tag = "imports",
    params(Prefer),
    request_body = ImportSession,
    responses(
        (status = 200, body = Imported, description = "It is here, was here, or would be", headers(("Preference-Applied" = String))),
        ImportRefusals,
    )
)]
pub async fn import_session(
    State(state): State<AppState>,
    Caller(caller): Caller,
    wait: Wait,
    ticket: Ticket,
    body: Result<ApiJson<ImportSession>, ApiError>,
) -> Result<Response, ApiError> {
    let ApiJson(import) = body?;
    let ledger = state.ledger.tenant(&caller.tenant);
    let by = caller.clone();
    let mut imported: Imported = ticket.see_through(async move { ledger.import(&by, &import).await }).await??;
    if let Some(persisting) = imported.operation_id {
        let operation = state.ledger.tenant(&caller.tenant).view_operation(persisting).await?;
        let operation = wait::settle(&state, &caller.tenant, operation, wait, &ticket).await;
        imported.state = Some(operation.state);
        imported.operation_id = Some(persisting).filter(|_| !operation.status.is_terminal());
    }
    Ok(wait.applied(Json(imported).into_response()))
}
