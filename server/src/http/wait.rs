//! Waiting for an operation's end: told by the hub, never by asking the database again and again. Neither
//! a connection nor a place is held meanwhile.

use alpine_api::{Operation, OperationStatus};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::{ApiError, AppState, extract::Wait, limits::Ticket};
use crate::domain::principal::TenantId;

/// The operation as it stands when it has ended, when the wait is over, or when the server goes.
pub(super) async fn settle(
    state: &AppState,
    tenant: &TenantId,
    mut operation: Operation,
    wait: Wait,
    ticket: &Ticket,
) -> Result<Operation, ApiError> {
    let deadline = Instant::now() + wait.duration();
    let ledger = state.ledger.tenant(tenant);
    while !operation.status.is_terminal() && Instant::now() < deadline && !state.shutdown.is_cancelled() {
        // Watched before it is read, so that an end between the two is not missed.
        let mut watch = ledger.watch(operation.operation_id);
        operation = ledger.view_operation(operation.operation_id).await?;
        if operation.status.is_terminal() {
            break;
        }
        let ended = async {
            tokio::select! {
                () = watch.ended() => {}
                () = tokio::time::sleep_until(deadline) => {}
                () = state.shutdown.cancelled() => {}
            }
        };
        if state.limits.while_waiting(ticket, ended).await.is_err() {
            // What was accepted is under way, however busy the server is.
            return Ok(operation);
        }
        operation = ledger.view_operation(operation.operation_id).await?;
    }
    Ok(operation)
}

/// The answer to the request that began the operation: where it is, or what came of it.
pub(super) fn answer(operation: Operation, wait: Wait) -> Response {
    let status = match operation.status {
        OperationStatus::Queued | OperationStatus::Running => StatusCode::ACCEPTED,
        OperationStatus::Succeeded => StatusCode::OK,
        OperationStatus::Failed | OperationStatus::Cancelled => return wait.applied(failed(operation).into_response()),
    };
    let location = HeaderValue::from_str(&format!("/v1/operations/{}", operation.operation_id));
    let mut response = (status, Json(operation)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    wait.applied(response)
}

fn failed(operation: Operation) -> ApiError {
    match operation.error {
        Some(failure) => ApiError::Operation { operation: operation.operation_id, failure },
        // A failed operation always keeps its failure.
        None => ApiError::Bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
