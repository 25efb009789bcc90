//! No request is answered later than its bound and the wait that it asked for.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::{ApiError, AppState, extract::Wait};

pub async fn time_out(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let wait = Wait::of(request.headers(), state.settings.max_wait);
    let bound = state.settings.request_timeout + wait.duration();
    match tokio::time::timeout(bound, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}
