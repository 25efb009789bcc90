//! A code, or a link that was shared, changed for a cookie.

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use super::{
    Gateway, Inner, Refused,
    target::is_verdict,
    who::{self, COOKIE_NAME, Visitor},
};
use crate::{
    domain::{
        Fault,
        apps::{App, OPEN_PATH},
        pass::Pass,
        principal,
    },
    http::{ApiError, is_own_page},
    ledger::PassKind,
};

pub async fn redeem(gateway: &Gateway, app: Option<App>, request: Request) -> Result<Response, Refused> {
    let (parts, _) = request.into_parts();
    let redeemed = redeemed(gateway, app, &parts).await;
    gateway.0.state.metrics.app_code(if redeemed.is_ok() { "spent" } else { "refused" });
    redeemed.map_err(|error| (who::NOBODY, error))
}

async fn redeemed(gateway: &Gateway, app: Option<App>, parts: &Parts) -> Result<Response, ApiError> {
    if parts.uri.path().trim_start_matches('/') != OPEN_PATH {
        return Err(ApiError::Bare(StatusCode::NOT_FOUND));
    }
    if parts.method != Method::GET {
        return Err(ApiError::Bare(StatusCode::METHOD_NOT_ALLOWED));
    }
    let app = app.ok_or(ApiError::NotLetIn)?;
    match (only(parts, "code"), only(parts, "share")) {
        (Some(code), None) => by_code(gateway, app, &code, parts).await,
        (None, Some(link)) => by_link(gateway, app, &link, parts).await,
        _ => Err(ApiError::NotLetIn),
    }
}

/// The code is spent last, when all else is known to be well.
async fn by_code(gateway: &Gateway, app: App, code: &str, parts: &Parts) -> Result<Response, ApiError> {
    // Nobody is to be let in as somebody else by a link on some page.
    if !is_own_page(&parts.uri, &parts.headers) {
        return Err(Fault::CrossSite.into());
    }
    let Inner { state, targets, .. } = &*gateway.0;
    let visitor = visitor(gateway, app, PassKind::Code, code, parts)?;
    let _place = state.limits.spend().await?;
    targets.enter(&visitor, app).await?;
    if !state.ledger.tenant(&visitor.caller.tenant).spend_code(code).await? {
        return Err(ApiError::NotLetIn);
    }
    let_in(gateway, app, Pass::of(&visitor.caller, state.clock.now() + gateway.0.settings.cookie))
}

/// Links stand on pages of others, and are followed from there. Whoever is let in already stays who it is.
async fn by_link(gateway: &Gateway, app: App, link: &str, parts: &Parts) -> Result<Response, ApiError> {
    if !who::is_asked_for(&parts.method, &parts.uri, &parts.headers) {
        return Err(Fault::CrossSite.into());
    }
    let Inner { state, targets, .. } = &*gateway.0;
    let visitor = visitor(gateway, app, PassKind::Share, link, parts)?;
    state.limits.page(&visitor.caller.tenant, &visitor.caller.id)?;
    let _place = state.limits.spend().await?;
    targets.enter(&visitor, app).await?;
    if let Some((pass, principal)) = who::by_cookie(state, app, &parts.headers)
        && pass.share().is_none()
    {
        let caller = principal::Caller { principal, ..visitor.caller.clone() };
        match targets.enter(&Visitor { caller, share: None, ..visitor }, app).await {
            Ok(()) => return Ok(to_page()),
            Err(error) if is_verdict(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let pass = state.ledger.open_pass(app, PassKind::Share, link).ok_or(ApiError::NotLetIn)?;
    let_in(gateway, app, pass.until(state.clock.now() + gateway.0.settings.cookie))
}

/// Who such a text was made for. A forged one, or one that is good no more, costs no look at the ledger.
fn visitor(gateway: &Gateway, app: App, kind: PassKind, text: &str, parts: &Parts) -> Result<Visitor, ApiError> {
    let state = &gateway.0.state;
    let pass = state.ledger.open_pass(app, kind, text).filter(|pass| pass.is_good(state.clock.now())).ok_or(ApiError::NotLetIn)?;
    let principal = pass.principal().map_err(|_| ApiError::NotLetIn)?;
    let caller = principal::Caller { principal, request_id: who::request_id(parts) };
    Ok(Visitor { caller, credential: who::NOBODY, on_record: true, share: pass.share() })
}

/// A parameter that is there once.
fn only(parts: &Parts, wanted: &str) -> Option<String> {
    let mut found = form_urlencoded::parse(parts.uri.query()?.as_bytes()).filter(|(name, _)| name == wanted);
    found.next().map(|(_, value)| value.into_owned()).filter(|_| found.next().is_none())
}

/// With a cookie for as long as the pass is good.
fn let_in(gateway: &Gateway, app: App, pass: Pass) -> Result<Response, ApiError> {
    let state = &gateway.0.state;
    let seconds = pass.good_for(state.clock.now());
    let cookie = state.ledger.seal_pass(app, PassKind::Cookie, &pass)?;
    let cookie = format!("{COOKIE_NAME}={}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax", cookie.expose_secret());
    // A key's id and base64url: nothing that a header cannot hold.
    let mut cookie = HeaderValue::from_str(&cookie).map_err(|_| ApiError::NotLetIn)?;
    cookie.set_sensitive(true);
    let mut response = to_page();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// To the session's own page, which learns nothing of the code.
fn to_page() -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
