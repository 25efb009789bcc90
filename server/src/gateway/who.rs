//! Who asks on a session's host: a program by its token, or a browser by the cookie that it got for a code. What else browsers send with
//! whatever any page asks for counts for nobody here.

use alpine_api::{Scope, ShareId};
use axum::{
    extract::FromRequestParts as _,
    http::{
        HeaderMap, HeaderName, Method, Uri,
        header::{AUTHORIZATION, COOKIE, ORIGIN, UPGRADE},
        request::Parts,
    },
};

use super::Refused;
use crate::{
    domain::{Fault, apps::App, pass::Pass, principal},
    http::{ApiError, AppState, Caller, RequestId, Ticket, is_own_page},
    ledger::PassKind,
};

/// Of this host alone, over TLS alone: no other session's page can set it.
pub const COOKIE_NAME: &str = "__Host-alpine-session";
pub const NOBODY: &str = "none";
const COOKIE_CREDENTIAL: &str = "cookie";
const BEARER: &str = "bearer";
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

#[derive(Debug, Clone)]
pub struct Visitor {
    pub caller: principal::Caller,
    /// As it is counted.
    pub credential: &'static str,
    /// A use of a role is on record already: since the code was made.
    pub on_record: bool,
    /// A guest of this share's, and nobody by name.
    pub share: Option<ShareId>,
}

/// `app`: what is served under that name, if anything is. A cookie that lets in counts before a token: what else a page of the session sends
/// as `Authorization` may be meant for its own server.
pub async fn asks(state: &AppState, app: Option<App>, parts: &mut Parts) -> Result<Visitor, Refused> {
    if let Some((pass, principal)) = app.and_then(|app| by_cookie(state, app, &parts.headers)) {
        let refused = |error: ApiError| (COOKIE_CREDENTIAL, error);
        if !is_asked_for(&parts.method, &parts.uri, &parts.headers) {
            return Err(refused(Fault::CrossSite.into()));
        }
        tracing::record_all!(tracing::Span::current(), tenant = principal.tenant.as_str(), principal = principal.id.as_str());
        state.limits.page(&principal.tenant, &principal.id).map_err(refused)?;
        let caller = principal::Caller { principal, request_id: request_id(parts) };
        return Ok(Visitor { caller, credential: COOKIE_CREDENTIAL, on_record: true, share: pass.share() });
    }
    if !is_bearer(&parts.headers) {
        return Err((NOBODY, ApiError::NotLetIn));
    }
    let Caller(caller) = Caller::from_request_parts(parts, state).await.map_err(|error| (BEARER, error))?;
    // What it held to be known it needs no more: there is another look to come, which takes a place of its own.
    Ticket::of(&mut parts.extensions).leave();
    // What is served may do anything in its sandbox, whatever the method.
    if !caller.scopes.has(Scope::SessionsWrite) {
        return Err((BEARER, Fault::ScopeMissing(Scope::SessionsWrite).into()));
    }
    Ok(Visitor { caller, credential: BEARER, on_record: false, share: None })
}

/// Who is let in by a cookie, if one of those that were sent does so now. A page can set a second one of this name only where it set the first.
pub fn by_cookie(state: &AppState, app: App, headers: &HeaderMap) -> Option<(Pass, principal::Principal)> {
    let texts = cookies(headers).filter(|(name, _)| *name == COOKIE_NAME.as_bytes()).filter_map(|(_, value)| str::from_utf8(value).ok());
    let pass = texts.take(4).find_map(|text| state.ledger.open_pass(app, PassKind::Cookie, text))?;
    let principal = pass.is_good(state.clock.now()).then(|| pass.principal().ok())??;
    Some((pass, principal))
}

pub fn request_id(parts: &Parts) -> String {
    parts.extensions.get::<RequestId>().map_or_else(String::new, |id| id.as_str().to_owned())
}

/// Another scheme is what the session's own page may use, and says nothing here.
fn is_bearer(headers: &HeaderMap) -> bool {
    let scheme = |value: &axum::http::HeaderValue| value.as_bytes().split(|b| *b == b' ').next().map(<[u8]>::to_ascii_lowercase);
    headers.get_all(AUTHORIZATION).iter().any(|value| scheme(value).as_deref() == Some(b"bearer"))
}

/// Names and values, of however many headers (HTTP/2 may have one for each). In bytes: a page may set what is no text.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|b| *b == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

/// By the session's own page or by a person: other sessions' pages are of the same site, and their requests come with the cookie too. A link
/// from elsewhere may be followed; what changes something, or stays open, has to say where it comes from.
pub fn is_asked_for(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let safe = matches!(*method, Method::GET | Method::HEAD) && !headers.contains_key(UPGRADE);
    let said = headers.contains_key(SITE) || headers.contains_key(ORIGIN);
    if is_own_page(uri, headers) {
        return safe || said;
    }
    let is = |name: HeaderName, value: &str| {
        let mut all = headers.get_all(name).iter();
        all.next().is_some_and(|first| first == value) && all.next().is_none()
    };
    safe && is(MODE, "navigate") && is(DEST, "document")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OWN: &str = "https://ses-1.apps.test";

    fn asked(method: &Method, sent: &[(&'static str, &'static str)]) -> bool {
        let mut headers: HeaderMap =
            sent.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        headers.insert("host", HeaderValue::from_static("ses-1.apps.test"));
        is_asked_for(method, &Uri::from_static("/x"), &headers)
    }

    #[test]
    fn the_own_page_asks_for_what_it_likes_and_another_sessions_for_nothing() {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            assert!(asked(&method, &[("sec-fetch-site", "same-origin")]), "{method}");
            assert!(asked(&method, &[("origin", OWN)]), "{method}");
            assert!(!asked(&method, &[("sec-fetch-site", "same-site"), ("origin", "https://ses-2.apps.test")]), "{method}");
            assert!(
                !asked(&method, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")]),
                "{method}"
            );
            assert!(
                !asked(&method, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]),
                "{method}"
            );
        }
    }

    #[test]
    fn a_link_from_elsewhere_is_followed_and_a_form_is_not() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert!(asked(&Method::GET, &link));
        assert!(!asked(&Method::POST, &link));
    }

    #[test]
    fn what_changes_something_or_stays_open_says_where_it_comes_from() {
        assert!(asked(&Method::GET, &[]));
        assert!(!asked(&Method::POST, &[]));
        assert!(!asked(&Method::GET, &[("upgrade", "websocket")]));
        assert!(asked(&Method::GET, &[("upgrade", "websocket"), ("origin", OWN)]));
        assert!(!asked(&Method::GET, &[("upgrade", "websocket"), ("origin", "https://ses-2.apps.test")]));
    }

    #[test]
    fn cookies_are_read_of_one_header_and_of_several() {
        let mut headers = HeaderMap::new();
        for value in [b"a=1; b=2=3;c".as_slice(), b" d=4 ", b"x=\xc3\xa9; e=5"] {
            headers.append(COOKIE, HeaderValue::from_bytes(value).unwrap());
        }
        let read: Vec<_> = cookies(&headers).map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())).collect();
        let expected = [("a", "1"), ("b", "2=3"), ("d", "4"), ("x", "\u{e9}"), ("e", "5")];
        assert_eq!(read, expected.map(|(name, value)| (name.as_bytes(), value.to_owned())));
    }

    #[test]
    fn only_a_bearer_token_is_ours() {
        let is = |value| is_bearer(&[(AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect());
        assert!(is("Bearer x") && is("bearer x") && is("Bearer"));
        assert!(!is("Basic x") && !is("") && !is("Bearerx y"));
    }
}
