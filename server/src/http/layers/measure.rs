//! Requests counted and timed, by method, route template and class of status.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    response::Response,
};

use super::{Within, method, route};
use crate::{http::AppState, metrics::Answered};

pub async fn measure<N: Within>(State(state): State<AppState>, request: Request, next: N) -> Response {
    let (method, route) = (method(request.method()), route(&request));
    let _in_flight = state.metrics.request_begins(route.clone());
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    state.metrics.request_answered(&Answered { method, route, status }, begun.elapsed());
    response
}
