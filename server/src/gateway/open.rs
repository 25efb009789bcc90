//! A code, changed for a cookie.

use alpine_api::SessionId;
use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret as _;
use url::form_urlencoded;

use super::{
    Gateway, Inner, Refused,
    who::{self, COOKIE_NAME, Visitor},
};
use crate::{
    domain::{Fault, apps::OPEN_PATH, pass::Pass, principal},
    http::{ApiError, is_own_page},
    ledger::PassKind,
};

/// The code is spent last, when all else is known to be well.
pub async fn redeem(gateway: &Gateway, session: Option<SessionId>, request: Request) -> Result<Response, Refused> {
    let (parts, _) = request.into_parts();
    let redeemed = redeemed(gateway, session, &parts).await;
    gateway.0.state.metrics.app_code(if redeemed.is_ok() { "spent" } else { "refused" });
    redeemed.map_err(|error| (who::NOBODY, error))
}

async fn redeemed(gateway: &Gateway, session: Option<SessionId>, parts: &Parts) -> Result<Response, ApiError> {
    if parts.uri.path().trim_start_matches('/') != OPEN_PATH {
        return Err(ApiError::Bare(StatusCode::NOT_FOUND));
    }
    if parts.method != Method::GET {
        return Err(ApiError::Bare(StatusCode::METHOD_NOT_ALLOWED));
    }
    // Nobody is to be let in as somebody else by a link on some page.
    if !is_own_page(&parts.uri, &parts.headers) {
        return Err(Fault::CrossSite.into());
    }
    let Inner { settings, state, targets, .. } = &*gateway.0;
    let (session, code) = session.zip(code(parts)).ok_or(ApiError::NotLetIn)?;
    let pass = state.ledger.open_pass(session, PassKind::Code, &code).filter(|pass| pass.is_good(state.clock.now()));
    let principal = pass.ok_or(ApiError::NotLetIn)?.principal().map_err(|_| ApiError::NotLetIn)?;
    let caller = principal::Caller { principal, request_id: who::request_id(parts) };
    let visitor = Visitor { caller, credential: who::NOBODY, on_record: true };
    let _place = state.limits.spend().await?;
    targets.enter(&visitor, session).await?;
    if !state.ledger.tenant(&visitor.caller.tenant).spend_code(&code).await? {
        return Err(ApiError::NotLetIn);
    }
    let until = state.clock.now() + settings.cookie;
    let cookie = state.ledger.seal_pass(session, PassKind::Cookie, &Pass::of(&visitor.caller, until))?;
    Ok(let_in(cookie.expose_secret(), settings.cookie.as_secs()))
}

fn code(parts: &Parts) -> Option<String> {
    let mut codes = form_urlencoded::parse(parts.uri.query()?.as_bytes()).filter(|(name, _)| name == "code");
    codes.next().map(|(_, code)| code.into_owned()).filter(|_| codes.next().is_none())
}

/// To the session's own page, which learns nothing of the code.
fn let_in(cookie: &str, seconds: u64) -> Response {
    let cookie = format!("{COOKIE_NAME}={cookie}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax");
    // A key's id and base64url: nothing that a header cannot hold.
    let Ok(mut cookie) = HeaderValue::from_str(&cookie) else { return ApiError::NotLetIn.into_response() };
    cookie.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::LOCATION, HeaderValue::from_static("/"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
