//! Sessions' own hosts: what a session serves, handed to those who may use the session and to nobody else.
//!
//! A request is for a session's host or for the API by the name that it asks for, before anything else of it counts: neither ever
//! answers for the other, so that no page of a session shares an origin with the API. (By path programs may ask, and no browser.) Where a session's program listens is asked of the
//! provider of this process and read in no table: no other session's port is ever connected to.

mod body;
mod headers;
mod kept;
mod open;
mod path;
mod proxy;
mod target;
mod uses;
mod watched;
mod who;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt as _, service_fn};

use self::{
    body::Ends,
    kept::{Kept, Owner},
    path::Way,
    proxy::Exchange,
    target::Targets,
    uses::{Used, Uses},
    who::Visitor,
};
use crate::{
    domain::{
        Fault,
        apps::{App, AppsDomain, Named, OPEN_PATH},
    },
    http::{ApiError, AppRequest, AppState, authority, is_own_page, surround_app},
    sandbox::Provider,
};

const SWEEP: Duration = Duration::from_secs(1);
/// On every request of a browser for such a script, and on no other.
const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");

#[derive(Debug)]
pub struct Settings {
    pub apps: AppsDomain,
    /// How long a browser stays let in.
    pub cookie: Duration,
    /// Whether there is a way by path too.
    pub paths: bool,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    state: AppState,
    targets: Targets,
    uses: Arc<Uses>,
    lines: Arc<Kept>,
}

impl Gateway {
    /// Without a provider no session is reached from here.
    #[must_use]
    pub fn new(settings: Settings, state: AppState, provider: Option<Arc<dyn Provider>>) -> Self {
        let targets = Targets::new(state.clone(), provider);
        Self(Arc::new(Inner { settings, state, targets, uses: Arc::default(), lines: Arc::default() }))
    }

    /// `api`, and the hosts of sessions before it.
    pub fn before(self, api: Router) -> Router {
        let by_host = move |mut request: Request| {
            let (gateway, api) = (self.clone(), api.clone());
            async move {
                match gateway.named(&request) {
                    ForHost::Api => api.oneshot(request).await,
                    host => {
                        request.extensions_mut().insert(AppRequest);
                        let state = gateway.0.state.clone();
                        Ok(surround_app(&state, request, |request| answer(gateway, host, request)).await)
                    }
                }
            }
        };
        Router::new().fallback_service(service_fn(by_host))
    }

    /// Have it written down which sessions are used, and connections closed that nobody uses, until `stop`.
    pub async fn keep(&self, stop: CancellationToken) {
        let Inner { uses, lines, state, .. } = &*self.0;
        let sweep = async {
            while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
                lines.sweep();
            }
        };
        tokio::join!(sweep, uses.keep(&state.ledger, stop.clone()));
    }

    fn named(&self, request: &Request) -> ForHost {
        let mut hosts = request.headers().get_all(header::HOST).iter().filter(|host| !host.is_empty());
        let (first, second) = (hosts.next(), hosts.next());
        let name = match (first, request.uri().authority()) {
            // Of old, and of probes.
            (None, None) => return ForHost::Api,
            (Some(host), Some(named)) if !host.as_bytes().eq_ignore_ascii_case(named.as_str().as_bytes()) => None,
            _ => authority(request.uri(), request.headers()).filter(|_| second.is_none()),
        };
        match name {
            None => ForHost::Unclear,
            Some(name) => match self.0.settings.apps.named(name.host()) {
                None if self.0.settings.paths => Way::of(request).map_or(ForHost::Api, ForHost::Path),
                None => ForHost::Api,
                Some(Named::App(app)) => ForHost::App(app),
                Some(Named::Nothing) => ForHost::Nobody,
            },
        }
    }
}

/// Which host a request is for.
#[derive(Debug)]
enum ForHost {
    Api,
    App(App),
    /// The API's, and a session's by its path.
    Path(Way),
    /// Of the domain, and no session's.
    Nobody,
    /// It names several, or none that is one: somebody before this server may have read it otherwise.
    Unclear,
}

impl ForHost {
    const fn app(&self) -> Option<App> {
        match self {
            Self::App(app) => Some(*app),
            _ => None,
        }
    }
}

/// Whatever is asked of a session's host. What is rare is boxed: its room would be moved with each page.
async fn answer(gateway: Gateway, host: ForHost, request: Request) -> Response {
    let answered = match host {
        ForHost::App(_) | ForHost::Nobody => at_host(&gateway, host.app(), request).await,
        ForHost::Path(way) => Box::pin(by_path(&gateway, &way, request)).await,
        ForHost::Api | ForHost::Unclear => Err((who::NOBODY, ApiError::malformed("the host that is asked for is not clear"))),
    };
    answered.unwrap_or_else(|(credential, error)| {
        let outcome = if matches!(error, ApiError::Unreached(_)) { "unreached" } else { "refused" };
        gateway.0.state.metrics.app_request(credential, outcome);
        let mut response = error.into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

async fn at_host(gateway: &Gateway, app: Option<App>, request: Request) -> Result<Response, Refused> {
    if is_ours(request.uri().path()) {
        return Box::pin(open::redeem(gateway, app, request)).await;
    }
    visit(gateway, app, Cookies::Count, request).await
}

async fn by_path(gateway: &Gateway, way: &Way, mut request: Request) -> Result<Response, Refused> {
    way.inward(&mut request);
    if is_ours(request.uri().path()) {
        return Err((who::NOBODY, ApiError::Bare(StatusCode::NOT_FOUND)));
    }
    // Whatever a proxy makes of a cookie: no page asks for this.
    if !is_own_page(request.uri(), request.headers()) {
        return Err((who::NOBODY, Fault::CrossSite.into()));
    }
    let visited = visit(gateway, way.app, Cookies::CountForNothing, request).await;
    let mut response = visited.map_err(|(credential, error)| match error {
        // Nothing that a browser could open lets in here.
        ApiError::NotLetIn => (credential, ApiError::no_token()),
        other => (credential, other),
    })?;
    way.outward(response.headers_mut());
    Ok(response)
}

/// Whether a session's cookie lets in where it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cookies {
    Count,
    CountForNothing,
}

/// A refusal, and of whom.
type Refused = (&'static str, ApiError);

/// What begins so is answered here and never handed on.
fn is_ours(path: &str) -> bool {
    let first = OPEN_PATH.split('/').next().unwrap_or_default();
    path.trim_start_matches('/').split('/').next() == Some(first)
}

/// In this order: who asks, whether there is such a session for them, and only then where it is.
async fn visit(gateway: &Gateway, app: Option<App>, cookies: Cookies, request: Request) -> Result<Response, Refused> {
    let Inner { state, targets, uses, lines, .. } = &*gateway.0;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err((who::NOBODY, ApiError::Bare(StatusCode::METHOD_NOT_ALLOWED)));
    }
    let (mut parts, body) = request.into_parts();
    let visitor = who::asks(state, app.filter(|_| cookies == Cookies::Count), &mut parts).await?;
    let refused = |error| (visitor.credential, error);
    let app = app.ok_or_else(|| refused(Fault::SessionNotFound.into()))?;
    // A script that would see whatever is asked of this host, what is answered here too: a code in an address, say.
    if parts.headers.contains_key(SERVICE_WORKER) {
        let cause = "service workers are not served on a session's host".to_owned();
        return Err(refused(ApiError::Malformed { status: StatusCode::FORBIDDEN, cause }));
    }
    targets.enter(&visitor, app).await.map_err(refused)?;
    let place = state.limits.visit(app.session, &visitor.caller.tenant, &visitor.caller.id, visitor.share.is_some()).map_err(refused)?;
    let target = targets.find(&visitor, app).await.map_err(refused)?;
    let by = &visitor.caller;
    let runtime = Handle::current().id();
    let owner = visitor.share.is_none().then(|| Owner { app, tenant: by.tenant.clone(), principal: by.id.clone(), runtime });
    let used = Used::new(Arc::clone(uses), by.tenant.clone(), app.session);
    let credential = visitor.credential;
    let exchange = Exchange::new(target, Ends::new(gateway.clone(), visitor, app), place, used, (Arc::clone(lines), owner));
    let response = exchange.run(Request::from_parts(parts, body)).await.map_err(|error| (credential, error))?;
    let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    state.metrics.app_request(credential, if upgraded { "upgraded" } else { "proxied" });
    Ok(response)
}

impl Gateway {
    /// Whether this visitor is still who may use the session; what cannot be found out now changes nothing.
    async fn still(&self, visitor: &Visitor, app: App) -> bool {
        !self.0.targets.enter(visitor, app).await.is_err_and(|error| target::is_verdict(&error))
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
