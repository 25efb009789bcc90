//! Readiness.

use axum::extract::State;

use super::{ApiError, AppState, openapi::ReadyRefusals};

/// The database answers, its schema is current, and the server is not on its way out.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "system", security(()),
    responses((status = 200, body = String, content_type = "text/plain", description = "Ready"), ReadyRefusals)
)]
pub async fn readyz(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    if state.shutdown.is_cancelled() {
        return Err(ApiError::Draining);
    }
    state.ledger.check().await.map_err(ApiError::NotReady)?;
    Ok("ready\n")
}
