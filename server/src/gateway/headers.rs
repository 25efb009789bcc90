//! Which headers go on to a session, and which come back. What lets in here is not for what runs there, and what is said there
//! holds for that host alone.

use axum::http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, SET_COOKIE},
};

use super::who::{COOKIE_NAME, cookies};
use crate::domain::access_token::AccessToken;

/// Of one connection, and of how a body is sent on it: each side has its own.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What strangers say of themselves, and proxies of them: whoever stands before this server may have said who somebody is.
const FORWARDED: [&str; 9] =
    ["forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "x-original-host", "remote-user", "x-client-cert", "client-cert"];
const FORWARDED_PREFIXES: [&str; 13] = [
    "x-forwarded-",
    "cf-",
    "x-goog-iap-",
    "x-goog-authenticated-",
    "x-amzn-oidc-",
    "x-auth-request-",
    "x-pomerium-",
    "x-ms-client-principal",
    "x-ms-token-",
    "ssl-client-",
    "x-ssl-client-",
    "x-remote-",
    "tailscale-user-",
];
/// Caches of others, other ways to this host, and what would reach beyond it: cookies of the whole domain, scripts that see what this server
/// answers itself, reports of addresses.
const NOT_BACK: [&str; 12] = [
    "alt-svc",
    "alt-used",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "surrogate-control",
    "clear-site-data",
    "service-worker-allowed",
    "nel",
    "report-to",
    "reporting-endpoints",
    "x-sendfile",
    "x-reproxy-url",
];
/// What a proxy before this server would obey.
const NOT_BACK_PREFIX: &str = "x-accel-";
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Cookies that let in here, or at a proxy before this server.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(COOKIE_NAME.as_bytes()) || name.starts_with(b"CF_")
}

/// What a session sees of a request for its host. `authorization`: what lets in at its own program. Without it, what a page of the session
/// has sent stays, if the page was let in by a cookie: a token there is one that the session itself has given.
pub fn request(headers: &mut HeaderMap, host: &HeaderValue, authorization: Option<HeaderValue>, by_cookie: bool) {
    remove_hop_by_hop(headers);
    let kept: Vec<Vec<u8>> =
        cookies(headers).filter(|(name, _)| !is_ours(name)).map(|(name, value)| [name, b"=", value].concat()).collect();
    headers.remove(COOKIE);
    if let Some(kept) = Some(kept.join(b"; ".as_slice())).filter(|kept| !kept.is_empty())
        && let Ok(kept) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(COOKIE, kept);
    }
    let strangers = |name: &&HeaderName| {
        FORWARDED.contains(&name.as_str()) || FORWARDED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let strangers: Vec<HeaderName> = headers.keys().filter(strangers).cloned().collect();
    for name in strangers.iter().chain(&[header::EXPECT]) {
        headers.remove(name);
    }
    if authorization.is_some() || !by_cookie || headers.get_all(AUTHORIZATION).iter().any(is_access_token) {
        headers.remove(AUTHORIZATION);
    }
    // The client says it anew, of the body as it has it.
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::HOST, host.clone());
    headers.insert("x-forwarded-host", host.clone());
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
}

fn is_access_token(value: &HeaderValue) -> bool {
    value.as_bytes().windows(AccessToken::PREFIX.len()).any(|part| part == AccessToken::PREFIX.as_bytes())
}

/// What a browser sees of a session's answer.
pub fn response(headers: &mut HeaderMap) {
    // A length beside it is none.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    let away = |name: &&HeaderName| NOT_BACK.contains(&name.as_str()) || name.as_str().starts_with(NOT_BACK_PREFIX);
    let away: Vec<HeaderName> = headers.keys().filter(away).cloned().collect();
    for name in away {
        headers.remove(name);
    }
    // No other session's page shows this one's, in browsers that do not say who asks.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    let own: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| is_of_this_host(value)).cloned().collect();
    headers.remove(SET_COOKIE);
    for cookie in own {
        headers.append(SET_COOKIE, cookie);
    }
    let cache = private(headers);
    headers.insert(CACHE_CONTROL, cache);
}

/// For proxies that would gather a stream before they hand it on.
pub fn stream(headers: &mut HeaderMap) {
    headers.insert(BUFFERING, HeaderValue::from_static("no"));
}

/// A cookie of this host alone, and none of the names that let in.
fn is_of_this_host(cookie: &HeaderValue) -> bool {
    let mut parts = cookie.as_bytes().split(|b| *b == b';');
    let name = |part: &[u8]| part.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii().to_owned();
    let own = parts.next().map(name).is_some_and(|name| !is_ours(&name));
    own && !parts.map(name).any(|name| name.eq_ignore_ascii_case(b"domain"))
}

/// What the session says of caches, as far as it is for the browser: nobody else may keep what is one person's.
fn private(headers: &HeaderMap) -> HeaderValue {
    let said = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let mut kept = Vec::new();
    for directive in said.map(|directive| directive.trim().to_ascii_lowercase()) {
        let name = directive.split('=').next().unwrap_or_default();
        if name == "no-store" {
            return HeaderValue::from_static("no-store");
        }
        if matches!(name, "no-cache" | "max-age" | "must-revalidate" | "immutable" | "no-transform" | "stale-while-revalidate") {
            kept.push(directive);
        }
    }
    kept.insert(0, "private".to_owned());
    HeaderValue::from_str(&kept.join(", ")).unwrap_or(HeaderValue::from_static("no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_session_sees_nothing_that_lets_in_here_and_nothing_that_strangers_say_of_themselves() {
        let mut sent = headers(&[
            ("authorization", "Bearer t0ken"),
            ("cookie", "theme=dark; __Host-alpine-session=c0de"),
            ("cookie", "CF_Authorization=jwt; __Host-alpine-session2=x; a=b"),
            ("cf-access-jwt-assertion", "jwt"),
            ("cf-connecting-ip", "192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("connection", "keep-alive, x-secret-hop"),
            ("x-secret-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("x-goog-iap-jwt-assertion", "jwt"),
            ("x-amzn-oidc-data", "jwt"),
            ("remote-user", "ann"),
            ("expect", "100-continue"),
            ("accept", "text/html"),
        ]);
        request(&mut sent, &HeaderValue::from_static("ses-1.apps.test"), Some(HeaderValue::from_static("Basic own")), true);
        let expected = headers(&[
            ("cookie", "theme=dark; a=b"),
            ("accept", "text/html"),
            ("host", "ses-1.apps.test"),
            ("x-forwarded-host", "ses-1.apps.test"),
            ("x-forwarded-proto", "https"),
            ("authorization", "Basic own"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn what_a_page_says_to_its_own_server_on_another_port_goes_on_and_what_lets_in_here_does_not() {
        let sent = |value: &'static str, by_cookie| {
            let mut sent = headers(&[("authorization", value)]);
            request(&mut sent, &HeaderValue::from_static("h"), None, by_cookie);
            sent.remove(AUTHORIZATION)
        };
        assert_eq!(sent("Bearer app", true).unwrap(), "Bearer app");
        assert_eq!((sent("Bearer jwt", false), sent("Bearer alpine_pat_x", true)), (None, None));
    }

    #[test]
    fn no_cookie_of_a_session_is_for_another_host_or_of_a_name_that_lets_in() {
        let mut back = headers(&[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "b=2; Domain=apps.test"),
            ("set-cookie", "c=3; path=/; domain = .apps.test"),
            ("set-cookie", "__Host-alpine-session=x; Path=/; Secure"),
            ("set-cookie", " __Host-alpine-session=x"),
            ("set-cookie", "CF_Authorization=x"),
            ("set-cookie", "d=domain"),
        ]);
        response(&mut back);
        assert_eq!(back.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1; Path=/", "d=domain"]);
    }

    #[test]
    fn what_reaches_beyond_the_host_does_not_come_back() {
        let mut back = headers(&[
            ("clear-site-data", "\"*\""),
            ("x-accel-redirect", "/internal/"),
            ("x-accel-buffering", "yes"),
            ("x-sendfile", "/etc/passwd"),
            ("service-worker-allowed", "/"),
            ("nel", "{}"),
            ("report-to", "{}"),
            ("alt-svc", "h3=\":1\""),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("x-own", "1"),
        ]);
        response(&mut back);
        let left: Vec<&str> = back.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(back.contains_key("x-own") && back.contains_key(CACHE_CONTROL) && back.contains_key(RESOURCE_POLICY));
    }

    #[test]
    fn what_is_no_text_in_a_cookie_takes_nothing_from_the_others() {
        let mut sent = HeaderMap::new();
        sent.insert(COOKIE, HeaderValue::from_bytes(b"x=\xc3\xa9; __Host-alpine-session=c0de; a=b").unwrap());
        request(&mut sent, &HeaderValue::from_static("h"), Some(HeaderValue::from_static("Basic own")), true);
        assert_eq!(sent[COOKIE].as_bytes(), b"x=\xc3\xa9; a=b");
    }

    #[test]
    fn no_cache_but_the_browsers_keeps_what_a_session_answers() {
        for (said, kept) in [
            (None, "private"),
            (Some("public, max-age=31536000, immutable"), "private, max-age=31536000, immutable"),
            (Some("s-maxage=60"), "private"),
            (Some("no-store, public"), "no-store"),
            (Some("No-Cache"), "private, no-cache"),
            (Some("private=\"x\""), "private"),
        ] {
            let mut back = HeaderMap::new();
            if let Some(said) = said {
                back.insert(CACHE_CONTROL, HeaderValue::from_static(said));
            }
            back.insert("cdn-cache-control", HeaderValue::from_static("max-age=60"));
            response(&mut back);
            assert_eq!(
                back,
                [(CACHE_CONTROL, kept), (RESOURCE_POLICY, "same-origin")]
                    .map(|(name, value)| (name, HeaderValue::from_static(value)))
                    .into_iter()
                    .collect()
            );
        }
    }
}
