//! Metrics for Prometheus.

use axum::{extract::State, http::header::CONTENT_TYPE, response::IntoResponse};

use super::{AppState, openapi::PublicRefusals};
use crate::metrics;

/// Metrics for Prometheus
///
/// In the OpenMetrics text format; what each means is in docs/operations.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "system", security(()),
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text", description = "Metrics", example = json!(
            "# TYPE alpine_errors counter\nalpine_errors_total{error_code=\"ERR_OPERATION_CONFLICT\",action=\"up\"} 0\n# EOF\n")),
        PublicRefusals,
    )
)]
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], state.metrics.encode())
}
