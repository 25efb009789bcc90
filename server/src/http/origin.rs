//! Whether a browser sends a request for a page of this server's own. It matters where the credential is one that comes with every
//! request, whichever page asks (a cookie, which a proxy turns into Cloudflare's header).

use axum::http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

use crate::auth::only;

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The name under which the client asked, unless it is none.
pub fn authority(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    // HTTP/2 has it in the request line.
    let host = uri.authority().cloned().or_else(|| headers.get(header::HOST)?.to_str().ok()?.parse::<Authority>().ok())?;
    (!host.as_str().contains('@')).then_some(host)
}

/// An own page's, typed by a person, or no browser's. What a browser says itself of the page comes first; one that does not say it
/// names the page's origin with whatever could change something. Programs send neither.
pub fn is_own_page(uri: &Uri, headers: &HeaderMap) -> bool {
    let own = |origin: &str| {
        authority(uri, headers)
            .is_some_and(|own| origin.strip_prefix("https://").is_some_and(|named| named.eq_ignore_ascii_case(own.as_str())))
    };
    match (only(headers, &SITE), only(headers, &header::ORIGIN)) {
        (Ok(Some("same-origin")), Ok(_)) | (Ok(None), Ok(None)) => true,
        // Typed: then no page is named, or this one.
        (Ok(Some("none")), Ok(origin)) => origin.is_none_or(own),
        (Ok(None), Ok(Some(origin))) => own(origin),
        (Ok(Some(_)), Ok(_)) => false,
        // No browser sends either twice, or what is not text.
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OWN: &str = "https://alpine.test:8443";

    fn judged(sent: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("alpine.test:8443"))]);
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let by_host = is_own_page(&Uri::from_static("/v1/sessions"), &headers);
        headers.remove(header::HOST);
        assert_eq!(is_own_page(&Uri::from_static("https://alpine.test:8443/v1/sessions"), &headers), by_host, "{sent:?}");
        by_host
    }

    #[test]
    fn what_the_browser_says_counts() {
        assert!(judged(&[("sec-fetch-site", "same-origin"), ("origin", OWN)]));
        assert!(judged(&[("sec-fetch-site", "none")]), "typed");
        assert!(judged(&[("sec-fetch-site", "none"), ("origin", OWN)]));
        for foreign in ["https://evil.test", "null"] {
            assert!(!judged(&[("sec-fetch-site", "none"), ("origin", foreign)]));
        }
        for site in ["same-site", "cross-site", "", "Same-Origin"] {
            assert!(!judged(&[("sec-fetch-site", site)]), "{site}");
            assert!(!judged(&[("sec-fetch-site", site), ("origin", OWN)]), "{site}");
        }
    }

    #[test]
    fn one_that_says_nothing_names_its_origin() {
        assert!(judged(&[("origin", OWN)]) && judged(&[("origin", "https://ALPINE.test:8443")]));
        for origin in [
            "null",
            "",
            "http://alpine.test:8443",
            "https://alpine.test",
            "https://alpine.test:8443.evil.test",
            "https://apps.alpine.test:8443",
            "alpine.test:8443",
        ] {
            assert!(!judged(&[("origin", origin)]), "{origin}");
        }
    }

    #[test]
    fn a_program_says_neither_and_nobody_says_either_twice() {
        assert!(judged(&[]));
        assert!(!judged(&[("origin", OWN), ("origin", OWN)]));
        assert!(!judged(&[("sec-fetch-site", "same-origin"), ("origin", OWN), ("origin", OWN)]));
        assert!(!judged(&[("sec-fetch-site", "none"), ("sec-fetch-site", "none")]));
        assert!(!judged(&[("sec-fetch-site", "none"), ("origin", OWN), ("origin", "https://evil.test")]));
        assert!(!judged(&[("origin", "https://\u{e4}.test")]));
    }

    #[test]
    fn a_host_that_is_none_owns_nothing() {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("x@y")),
            (header::ORIGIN, HeaderValue::from_static("https://x@y")),
        ]);
        assert!(!is_own_page(&Uri::from_static("/"), &headers));
    }
}
