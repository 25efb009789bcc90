//! Metrics for Prometheus.

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::AppState;
use crate::metrics;

/// Metrics in the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "system", security(()),
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "Metrics"))
)]
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.encode())
}
