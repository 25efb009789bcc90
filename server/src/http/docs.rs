//! Pages for people: the document, browsable, and the error catalogue that problems link to.

use alpine_api::ErrorCode;
use axum::{Router, response::Html, routing::get};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::AppState;

pub(super) fn routes() -> Router<AppState> {
    let browser = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
    Router::from(browser).route("/docs/errors", get(errors))
}

/// What the `type` of a problem leads to.
async fn errors() -> Html<String> {
    let row = |code: &ErrorCode| {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let (title, status, exit) = (code.title(), code.http_status(), code.exit_code());
        format!("<tr id=\"{code}\"><td><code>{code}</code><td>{title}<td>{status}<td>{exit}<td>{retryable}</tr>\n")
    };
    let rows: String = ErrorCode::ALL.iter().map(row).collect();
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Alpine: errors</title><h1>Errors</h1>\n\
         <p>The status and retryability are the usual ones; an answer's own fields say what holds in its case.</p>\n\
         <table><thead><tr><th>Code<th>Meaning<th>HTTP status<th>Exit code<th>Retryable</tr></thead><tbody>\n{rows}</tbody></table></html>\n"
    ))
}
