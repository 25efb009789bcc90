//! An operation, now or at its end.

use alpine_api::{Operation, OperationId};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    ApiError, AppState,
    extract::{Caller, OperationPath, Prefer, Wait},
    limits::Ticket,
    openapi::SessionRefusals,
    wait,
};

/// An operation, now or at its end
///
/// One that failed is a `200` too, and carries its `error`. With `Prefer: wait=N` the answer comes when the operation has ended, and
/// after N seconds at the latest.
#[utoipa::path(
    get, path = "/v1/operations/{operation_id}", operation_id = "getOperation", tag = "operations",
    params(
        ("operation_id" = OperationId, Path, description = "The operation"),
        Prefer,
    ),
    responses(
        (status = 200, body = Operation, description = "The operation", headers(("Preference-Applied" = String))),
        SessionRefusals,
    )
)]
pub async fn get_operation(
    State(state): State<AppState>,
    Caller(caller): Caller,
    OperationPath(id): OperationPath,
    wait: Wait,
    ticket: Ticket,
) -> Result<Response, ApiError> {
    let operation = state.ledger.tenant(&caller.tenant).operation(&caller, id).await?;
    let operation = wait::settle(&state, &caller.tenant, operation, wait, &ticket).await;
    Ok(wait.applied(Json(operation).into_response()))
}
