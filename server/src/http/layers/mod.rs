//! What surrounds every handler. The order is in `http::router`.

mod head;
mod leave;
mod measure;
mod panic;
mod problems;
mod request_id;
mod secrets;
mod timeout;
mod trace;

pub use head::head;
pub use leave::leave;
pub use measure::measure;
pub use panic::caught;
pub use problems::problems;
pub use request_id::{RequestId, request_id};
pub use secrets::secrets;
pub use timeout::time_out;
pub use trace::trace;

use std::borrow::Cow;

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};

use crate::domain::access_token::AccessToken;

/// What a layer has around it goes on with. axum's own costs a box and a copy of all that is within for each layer and request: sessions'
/// pages, which are many, go without.
pub trait Within {
    fn run(self, request: Request) -> impl Future<Output = Response> + Send;
}

impl Within for Next {
    fn run(self, request: Request) -> impl Future<Output = Response> + Send {
        Self::run(self, request)
    }
}

impl<F, A> Within for F
where
    F: FnOnce(Request) -> A,
    A: Future<Output = Response> + Send,
{
    fn run(self, request: Request) -> impl Future<Output = Response> + Send {
        self(request)
    }
}

/// Stands in the extensions of a request for a session's host. What its path says is the session's business.
#[derive(Debug, Clone, Copy)]
pub struct AppRequest;

const APP: &str = "app";

fn is_apps(request: &Request) -> bool {
    request.extensions().get::<AppRequest>().is_some()
}

/// The route's template, never the path itself: it is a bounded set.
fn route(request: &Request) -> Cow<'static, str> {
    if is_apps(request) {
        return APP.into();
    }
    request.extensions().get::<MatchedPath>().map_or("unmatched".into(), |path| path.as_str().to_owned().into())
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
