//! Sessions' own hosts: what a session serves, handed to those who may use the session and to nobody else.
//!
//! A request is for a session's host or for the API by the name that it asks for, before anything else of it counts: neither ever
//! answers for the other, so that what a session serves shares no origin with the API. Where a session's program listens is asked of the
//! provider of this process and read in no table: no other session's port is ever connected to.

mod body;
mod headers;
mod open;
mod proxy;
mod target;
mod who;

use std::{sync::Arc, time::Duration};

use alpine_api::SessionId;
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tower::{ServiceExt as _, service_fn};

use self::{body::Ends, target::Targets, who::Visitor};
use crate::{
    domain::{
        Fault,
        apps::{AppsDomain, Named, OPEN_PATH},
    },
    http::{ApiError, AppRequest, AppState, Ticket, authority, surround_apps},
    sandbox::Provider,
};

#[derive(Debug)]
pub struct Settings {
    pub apps: AppsDomain,
    /// How long a browser stays let in.
    pub cookie: Duration,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    state: AppState,
    targets: Targets,
}

impl Gateway {
    /// Without a provider no session is reached from here.
    #[must_use]
    pub fn new(settings: Settings, state: AppState, provider: Option<Arc<dyn Provider>>) -> Self {
        let targets = Targets::new(state.clone(), provider);
        Self(Arc::new(Inner { settings, state, targets }))
    }

    /// `api`, and the hosts of sessions before it.
    pub fn before(self, api: Router) -> Router {
        let sessions = surround_apps(Router::new().fallback(answer), self.0.state.clone()).layer(axum::Extension(self.clone()));
        let by_host = move |mut request: Request| {
            let (gateway, api, sessions) = (self.clone(), api.clone(), sessions.clone());
            async move {
                match gateway.named(&request) {
                    None => api.oneshot(request).await,
                    Some(named) => {
                        request.extensions_mut().insert(AppRequest);
                        request.extensions_mut().insert(ForHost(named));
                        sessions.oneshot(request).await
                    }
                }
            }
        };
        Router::new().fallback_service(service_fn(by_host))
    }

    fn named(&self, request: &Request) -> Option<Named> {
        self.0.settings.apps.named(authority(request.uri(), request.headers())?.host())
    }
}

/// Which host a request is for.
#[derive(Debug, Clone, Copy)]
struct ForHost(Named);

/// Whatever is asked of a session's host.
async fn answer(State(state): State<AppState>, axum::Extension(gateway): axum::Extension<Gateway>, request: Request) -> Response {
    let named = request.extensions().get::<ForHost>().map_or(Named::Nothing, |host| host.0);
    let session = match named {
        Named::Session(session) => Some(session),
        Named::Nothing => None,
    };
    let answered = if is_ours(request.uri().path()) { open::redeem(&gateway, session, request).await } else { visit(&gateway, session, request).await };
    answered.unwrap_or_else(|(credential, error)| {
        let outcome = if matches!(error, ApiError::Unreached(_)) { "unreached" } else { "refused" };
        state.metrics.app_request(credential, outcome);
        let mut response = error.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

/// A refusal, and of whom.
type Refused = (&'static str, ApiError);

/// What begins so is answered here and never handed on.
fn is_ours(path: &str) -> bool {
    let first = OPEN_PATH.split('/').next().unwrap_or_default();
    path.trim_start_matches('/').split('/').next() == Some(first)
}

/// In this order: who asks, whether there is such a session for them, and only then where it is.
async fn visit(gateway: &Gateway, session: Option<SessionId>, request: Request) -> Result<Response, Refused> {
    let Inner { state, targets, .. } = &*gateway.0;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err((who::NOBODY, ApiError::Bare(StatusCode::METHOD_NOT_ALLOWED)));
    }
    let (mut parts, body) = request.into_parts();
    let visitor = who::asks(state, session, &mut parts).await?;
    let refused = |error| (visitor.credential, error);
    let session = session.ok_or_else(|| refused(Fault::SessionNotFound.into()))?;
    targets.enter(&visitor, session).await.map_err(refused)?;
    // What it held so far it needs no more, however long it goes on.
    Ticket::of(&mut parts.extensions).leave();
    let place = state.limits.visit(session, &visitor.caller.tenant, &visitor.caller.id).map_err(refused)?;
    let target = targets.find(&visitor, session).await.map_err(refused)?;
    let ends = Ends::new(gateway.clone(), visitor.clone(), session);
    let exchange = proxy::Exchange { target, ends, place };
    let response = exchange.run(Request::from_parts(parts, body)).await.map_err(refused)?;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    state.metrics.app_request(visitor.credential, if upgraded { "upgraded" } else { "proxied" });
    Ok(response)
}

impl Gateway {
    /// Whether this visitor is still who may use the session; what cannot be found out now changes nothing.
    async fn still(&self, visitor: &Visitor, session: SessionId) -> bool {
        !self.0.targets.enter(visitor, session).await.is_err_and(|error| target::is_verdict(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_gateways_own_is_never_handed_on() {
        for ours in ["/.alpine/open", "/.alpine", "/.alpine/", "//.alpine/open", "/.alpine/x/y"] {
            assert!(is_ours(ours), "{ours}");
        }
        for theirs in ["/", "/.alpinex", "/x/.alpine/open", "/alpine/open", ""] {
            assert!(!is_ours(theirs), "{theirs}");
        }
    }
}
