//! The HTTP API: routes, the layers around them in their order, one endpoint a file.

mod create_session;
mod docs;
mod down_session;
mod extract;
mod get_operation;
mod get_record;
mod get_session;
mod layers;
mod list_credentials;
mod list_events;
mod list_sessions;
mod livez;
mod metrics;
mod openapi;
mod problem;
mod readyz;
mod remove_credential;
mod serve;
mod set_credential;
mod state;
#[cfg(test)]
mod tests;
mod wait;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
};
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, sensitive_headers::SetSensitiveRequestHeadersLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::auth::CLOUDFLARE_ASSERTION;

pub use openapi::{document, document_json};
pub use problem::ApiError;
pub use serve::{ServeError, TlsFiles, serve};
pub use state::{AppState, Parts, Settings};

/// Every endpoint. What is registered here is in the document, and nothing else is.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(create_session::create_session, list_sessions::list_sessions))
        .routes(routes!(get_session::get_session))
        .routes(routes!(down_session::down_session))
        .routes(routes!(list_events::list_events))
        .routes(routes!(get_record::get_record))
        .routes(routes!(get_operation::get_operation))
        .routes(routes!(set_credential::set_credential, list_credentials::list_credentials))
        .routes(routes!(remove_credential::remove_credential))
        .routes(routes!(livez::livez))
        .routes(routes!(readyz::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::openapi))
}

/// The API with everything around it.
pub fn router(state: AppState) -> Router {
    let document = openapi::Document(document_json().into());
    surround(Router::from(routes()).merge(docs::routes()).layer(Extension(document)), state)
}

/// What a worker without an API serves.
pub fn probes(state: AppState) -> Router {
    let probes = OpenApiRouter::new().routes(routes!(livez::livez)).routes(routes!(readyz::readyz)).routes(routes!(metrics::metrics));
    surround(Router::from(probes), state)
}

/// The layers, outermost first: a request goes down this list and its answer up.
fn surround(routes: Router<AppState>, state: AppState) -> Router {
    let secrets = [header::AUTHORIZATION, header::COOKIE, CLOUDFLARE_ASSERTION];
    let layers = ServiceBuilder::new()
        .layer(from_fn(layers::request_id))
        .layer(SetSensitiveRequestHeadersLayer::new(secrets))
        .layer(from_fn(layers::trace))
        .layer(from_fn_with_state(state.clone(), layers::measure))
        .layer(from_fn_with_state(state.clone(), layers::problems))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn_with_state(state.clone(), layers::time_out))
        .layer(DefaultBodyLimit::max(state.settings.body_limit));
    routes.fallback(|| async { StatusCode::NOT_FOUND }).layer(layers).with_state(state)
}
