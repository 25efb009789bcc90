//! Metrics for Prometheus.

use std::sync::Arc;

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};

use super::{AppState, openapi::PublicRefusals};
use crate::metrics::{self, Metrics};

/// Metrics for Prometheus
///
/// In the OpenMetrics text format; what each means is in docs/metrics. A server whose metrics have an address of their own
/// answers 404.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "system", security(()),
    responses(
        (status = 200, body = String, content_type = "application/openmetrics-text", description = "Metrics", example = json!(
            "# TYPE alpine_errors counter\nalpine_errors_total{error_code=\"ERR_OPERATION_CONFLICT\",action=\"up\"} 0\n# EOF\n")),
        PublicRefusals,
    )
)]
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    text(&state.metrics)
}

fn text(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.encode())
}

/// `/metrics` and nothing else, for an address of its own.
pub fn alone(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(async |State(metrics): State<Arc<Metrics>>| text(&metrics))).with_state(metrics)
}
