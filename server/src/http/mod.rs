//! The HTTP API: routes, the layers around them in their order, one endpoint a file.

mod absent;
mod apart;
mod connections;
mod create_session;
mod create_share;
mod create_tenant;
mod create_token;
mod docs;
mod door;
mod down_session;
mod extend_session;
mod extract;
mod get_log;
mod get_operation;
mod get_record;
mod get_session;
mod get_tenant;
mod handshake;
mod import_session;
mod layers;
mod limits;
mod list_audit;
mod list_classes;
mod list_credentials;
mod list_events;
mod list_sessions;
mod list_shares;
mod list_tenants;
mod list_tokens;
mod livez;
mod metrics;
mod open_session;
mod openapi;
mod origin;
mod problem;
mod protected_resource;
mod readyz;
mod reason;
mod remove_credential;
mod remove_share;
mod revoke_token;
mod seconds;
mod serve;
mod set_credential;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod update_tenant;
mod wait;
mod whoami;

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
};
use tower::ServiceBuilder;
use utoipa_axum::{router::OpenApiRouter, routes};

/// For what stands in front of the API, with the same manners.
pub(crate) use self::{
    extract::Caller,
    layers::{AppRequest, RequestId},
    limits::{Ticket, VisitPlace},
    origin::{authority, is_own_page},
    problem::Foreign,
};
pub use apart::{Apart, Threads};
pub use connections::{ConnectionSettings, Connections};
pub use limits::{LimitSettings, MOST_VISITS, Places, Rate, Rates};
pub use metrics::alone as metrics_alone;
pub use openapi::{document, document_json};
pub use problem::{ApiError, Unreached};
pub use serve::{Listening, ServeError, TlsFiles, serve};
pub use state::{AppState, Parts, Settings};

/// Every endpoint. What is registered here is in the document, and nothing else is.
fn routes() -> OpenApiRouter<AppState> {
    api().routes(routes!(metrics::metrics))
}

/// Every endpoint but that of the metrics.
fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(create_session::create_session, list_sessions::list_sessions))
        .routes(routes!(get_session::get_session))
        .routes(routes!(down_session::down_session))
        .routes(routes!(extend_session::extend_session))
        .routes(routes!(open_session::open_session))
        .routes(routes!(create_share::create_share, list_shares::list_shares))
        .routes(routes!(remove_share::remove_share))
        .routes(routes!(list_events::list_events))
        .routes(routes!(get_log::get_log))
        .routes(routes!(get_record::get_record))
        .routes(routes!(get_operation::get_operation))
        .routes(routes!(list_classes::list_classes))
        .routes(routes!(whoami::whoami))
        .routes(routes!(protected_resource::protected_resource))
        .routes(routes!(create_token::create_token, list_tokens::list_tokens))
        .routes(routes!(revoke_token::revoke_token))
        .routes(routes!(list_tenants::list_tenants, create_tenant::create_tenant))
        .routes(routes!(get_tenant::get_tenant, update_tenant::update_tenant))
        .routes(routes!(list_audit::list_audit))
        .routes(routes!(set_credential::set_credential, list_credentials::list_credentials))
        .routes(routes!(remove_credential::remove_credential))
        .merge(import_session::routes())
        .routes(routes!(livez::livez))
        .routes(routes!(readyz::readyz))
        .routes(routes!(openapi::openapi))
}

/// The API with everything around it.
pub fn router(state: AppState) -> Router {
    let pages = docs::routes(&document());
    let document = openapi::Document(document_json().into());
    let routes = if state.settings.metrics_elsewhere { api() } else { routes() };
    surround(Router::from(routes).merge(pages).layer(Extension(document)), state)
}

/// What a worker without an API serves.
pub fn probes(state: AppState) -> Router {
    let probes = OpenApiRouter::new().routes(routes!(livez::livez)).routes(routes!(readyz::readyz));
    let probes = if state.settings.metrics_elsewhere { probes } else { probes.routes(routes!(metrics::metrics)) };
    surround(Router::from(probes), state)
}

/// The same layers around an answer that is not the API's own. It may take as long as it likes, and bodies may be of any length.
pub(crate) async fn surround_app<A>(state: &AppState, request: Request, answer: impl FnOnce(Request) -> A + Send) -> Response
where
    A: Future<Output = Response> + Send + 'static,
{
    let state = || State(state.clone());
    // Boxed: each layer's own future is moved with all that is within.
    let answer = |request| Box::pin(answer(request));
    let answer = |request| layers::caught(request, answer);
    let answer = |request| limits::ticket(request, answer);
    let answer = |request| layers::head(request, answer);
    let answer = |request| layers::problems(state(), request, answer);
    let answer = |request| layers::measure(state(), request, answer);
    let answer = |request| layers::trace(request, answer);
    let answer = |request| layers::secrets(request, answer);
    let answer = |request| layers::request_id(request, answer);
    layers::leave(state(), request, answer).await
}

/// The layers, outermost first: a request goes down this list and its answer up.
fn surround(routes: Router<AppState>, state: AppState) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(state.clone(), layers::leave))
        .layer(from_fn(layers::request_id))
        .layer(from_fn(layers::secrets))
        .layer(from_fn(layers::trace))
        .layer(from_fn_with_state(state.clone(), layers::measure))
        .layer(from_fn_with_state(state.clone(), layers::problems))
        .layer(from_fn(layers::head))
        .layer(from_fn(limits::ticket))
        .layer(from_fn(layers::caught))
        .layer(from_fn_with_state(state.clone(), layers::time_out))
        .layer(DefaultBodyLimit::max(state.settings.body_limit));
    routes.fallback(|| async { StatusCode::NOT_FOUND }).layer(layers).with_state(state)
}
