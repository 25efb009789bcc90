//! Readiness.

use std::time::{Duration, Instant};

use axum::extract::State;

use super::{ApiError, AppState, openapi::PublicRefusals};

/// For so long an answer is good for others who ask.
const FRESH: Duration = Duration::from_millis(250);

/// Whether to send requests here
///
/// The database answers, its schema is current, and the server is not on its way out; `503` otherwise.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "system", security(()),
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "Ready", example = json!("ready\n")),
        PublicRefusals,
    )
)]
pub async fn readyz(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    if state.leaving.is_cancelled() {
        return Err(ApiError::Draining);
    }
    // However many ask, one connection is enough to know.
    let mut last = state.ready_at.lock().await;
    if last.is_none_or(|at| at.elapsed() > FRESH) {
        *last = None;
        state.ledger.check().await.map_err(ApiError::NotReady)?;
        *last = Some(Instant::now());
    }
    Ok("ready\n")
}
