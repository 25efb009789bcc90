//! Waiting for an operation's end: told by the hub, which reads for all who wait together. Neither a connection nor a
//! place is held meanwhile, nor needed after.

use std::{sync::Arc, time::Duration};

use alpine_api::{Operation, OperationStatus};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::time::{sleep, timeout};

use super::{ApiError, AppState, extract::Wait, limits::Ticket};
use crate::domain::principal::TenantId;

/// How long the state of the moment may take to be read when the wait is over.
const LOOK: Duration = Duration::from_secs(1);

/// The operation as it stands when it has ended, when the wait is over, or when the server goes.
pub(super) async fn settle(state: &AppState, tenant: &TenantId, operation: Operation, wait: Wait, ticket: &Ticket) -> Operation {
    if operation.status.is_terminal() || wait.duration().is_zero() {
        return operation;
    }
    ticket.leave();
    let mut waiter = state.ledger.tenant(tenant).wait(operation.operation_id);
    let waited = tokio::select! {
        ended = waiter.ended() => Some(ended),
        () = sleep(wait.duration()) => None,
        () = state.shutdown.cancelled() => None,
    };
    let now = match waited {
        Some(ended) => Ok(ended),
        None => timeout(LOOK, waiter.now()).await,
    };
    // Where it cannot be read: what was accepted is under way, however it is with the database.
    now.map_or(operation, Arc::unwrap_or_clone)
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
        Some(failure) => ApiError::Operation { operation: operation.operation_id, session: operation.session_id, failure },
        // A failed operation always keeps its failure.
        None => ApiError::Bare(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
