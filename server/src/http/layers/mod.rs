//! What surrounds every handler. The order is in `http::router`.

mod head;
mod leave;
mod measure;
mod panic;
mod problems;
mod request_id;
mod timeout;
mod trace;

pub use head::head;
pub use leave::leave;
pub use measure::measure;
pub use panic::panicked;
pub use problems::problems;
pub use request_id::{RequestId, request_id};
pub use timeout::time_out;
pub use trace::trace;

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
};

use crate::domain::access_token::AccessToken;

/// Stands in the extensions of a request for a session's host. What its path says is the session's business.
#[derive(Debug, Clone, Copy)]
pub struct AppRequest;

const APP: &str = "app";

fn is_apps(request: &Request) -> bool {
    request.extensions().get::<AppRequest>().is_some()
}

/// The route's template, never the path itself: it is a bounded set.
fn route(request: &Request) -> String {
    if is_apps(request) {
        return APP.to_owned();
    }
    request.extensions().get::<MatchedPath>().map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned())
}

/// The path as it is shown. A token has no place in one; where it stands in it by mistake it is not told on.
fn path(request: &Request) -> &str {
    let path = request.uri().path();
    if is_apps(request) {
        return "/";
    }
    if path.contains(AccessToken::PREFIX) { "(token)" } else { path }
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
