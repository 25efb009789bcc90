//! Pages for people: the document, browsable, and the error catalogue that problems link to. All of it is in the program, and
//! the pages may load nothing else.

mod errors;

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use tower::ServiceBuilder;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_swagger_ui::Config;

use super::AppState;

/// Nothing from elsewhere, no script in the page, nobody's frame. The viewer draws a few of its icons from `data:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Debug, Clone)]
struct ErrorsPage(Arc<str>);

pub(super) fn routes(document: &utoipa::openapi::OpenApi) -> Router<AppState> {
    let fixed = |name: HeaderName, value: &'static str| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let headers = ServiceBuilder::new()
        .layer(fixed(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"));
    Router::new()
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(async || Html(include_str!("page.html"))))
        .route("/docs/{file}", get(file))
        .route("/docs/errors", get(errors))
        .layer(headers)
        .layer(Extension(ErrorsPage(errors::page(document).into())))
}

/// A part of the page: ours, or of the viewer.
async fn file(Path(name): Path<String>) -> Response {
    let of_type = |kind: &'static str, text: &'static str| ([(header::CONTENT_TYPE, kind)], text).into_response();
    match name.as_str() {
        "page.css" => of_type("text/css; charset=utf-8", include_str!("page.css")),
        "page.js" => of_type("text/javascript; charset=utf-8", include_str!("page.js")),
        "swagger-ui.css" | "swagger-ui-bundle.js" | "favicon-32x32.png" => viewer(&name),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn viewer(name: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(name, Arc::new(Config::default())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = ([(header::CONTENT_TYPE, file.content_type)], file.bytes).into_response();
    if file.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// What the `type` of a problem leads to.
async fn errors(Extension(ErrorsPage(page)): Extension<ErrorsPage>) -> Html<String> {
    Html(page.to_string())
}
