//! A session by a path of the API's own host, for programs that cannot resolve the name of the session's own: below `localhost` only browsers
//! can everywhere. It is for bearer tokens alone, which no page of anybody's can send along: what all sessions answer here is of the API's origin.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Uri,
        header::{CONTENT_SECURITY_POLICY, COOKIE, LOCATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY},
        uri::PathAndQuery,
    },
};
use url::{Position, Url};

use crate::{
    domain::apps::{APPS_PATH, App},
    http::authority,
};

/// Nothing that is shown by it, by whatever mistake, has an origin or runs.
const NO_PAGE: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

/// `/apps/<label>`, the label being that of the session's host.
#[derive(Debug, Clone)]
pub struct Way {
    /// `None`: it is nobody's label.
    pub app: Option<App>,
    prefix: String,
    /// What was asked for, as a client sees it.
    asked: Option<Url>,
}

impl Way {
    /// `None`: this path is the API's.
    pub fn of(request: &Request) -> Option<Self> {
        let path = request.uri().path();
        let label = path.strip_prefix(APPS_PATH)?.split('/').next()?;
        let host = authority(request.uri(), request.headers());
        let asked = host.and_then(|host| Url::parse(&format!("https://{host}{path}")).ok());
        Some(Self { app: label.parse().ok(), prefix: format!("{APPS_PATH}{label}"), asked })
    }

    /// As it would be asked at the session's own host, where the API's cookies are not sent.
    pub fn inward(&self, request: &mut Request) {
        request.headers_mut().remove(COOKIE);
        let uri = request.uri();
        let rest = uri.path_and_query().map_or("", PathAndQuery::as_str).strip_prefix(&self.prefix).unwrap_or_default();
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = rest.parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }

    /// What would hold for the API's host as well stays away.
    pub fn outward(&self, headers: &mut HeaderMap) {
        headers.remove(SET_COOKIE);
        headers.remove(STRICT_TRANSPORT_SECURITY);
        headers.append(CONTENT_SECURITY_POLICY, NO_PAGE);
        if let Some(to) = headers.remove(LOCATION)
            && let Some(to) = to.to_str().ok().and_then(|to| self.led(to))
            && let Ok(to) = HeaderValue::from_str(&to)
        {
            headers.insert(LOCATION, to);
        }
    }

    /// Programs follow within one origin with the token that they have: on the API's host no session leads beyond its own path. `None`: nowhere.
    fn led(&self, to: &str) -> Option<String> {
        let asked = self.asked.as_ref()?;
        let led = asked.join(to).ok()?;
        let host = |url: &Url| url.host_str().map(|host| host.trim_end_matches('.').to_owned());
        if host(&led) != host(asked) {
            return Some(led.into());
        }
        if led.origin() != asked.origin() {
            return None;
        }
        let below = led.path().strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let prefix = if below { "" } else { &self.prefix };
        Some(format!("{prefix}{}", &led[Position::BeforePath..]))
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::SessionId;
    use axum::body::Body;

    use super::*;

    fn of(path: &str) -> Option<Way> {
        Way::of(&Request::get(path).header("host", "127.0.0.1:8443").body(Body::empty()).unwrap())
    }

    #[test]
    fn a_path_below_apps_is_a_sessions_and_the_rest_of_it_is_what_is_asked() {
        let app = App::of(SessionId::generate());
        let port = App { port: std::num::NonZeroU16::new(3000), ..app };
        for (rest, asked) in [("", "/"), ("/", "/"), ("?a=b", "/?a=b"), ("/x//y/?q=%2F", "/x//y/?q=%2F"), ("/apps/z", "/apps/z")] {
            for (app, host) in [(app, ""), (port, ""), (app, "https://127.0.0.1:8443")] {
                let mut request = Request::get(format!("{host}/apps/{app}{rest}")).body(Body::empty()).unwrap();
                let way = Way::of(&request).unwrap();
                assert_eq!(way.app, Some(app));
                way.inward(&mut request);
                assert_eq!(request.uri().to_string(), format!("{host}{asked}"));
            }
        }
        for nobodys in ["/apps/", "/apps/x/", "/apps//", "/apps/ses-1", "/apps/%73es-1"] {
            assert_eq!(of(nobodys).unwrap().app, None, "{nobodys}");
        }
        for other in ["/", "/app", "/apps", "/appsx/", "/v1/apps/", "//apps/"] {
            assert!(of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_leads_on_leads_to_the_same_session_and_nothing_is_left_at_the_apis_host() {
        let app = App::of(SessionId::generate());
        let own = |rest: &str| Some(format!("/apps/{app}{rest}"));
        let another = App::of(SessionId::generate());
        let (to_another, there) = (format!("/apps/{another}/"), format!("/apps/{app}/there"));
        for (to, led) in [
            ("/login?a=b#c", own("/login?a=b#c")),
            ("there", own("/x/there")),
            ("?a=b", own("/x/y?a=b")),
            (there.as_str(), own("/there")),
            ("/v1/sessions", own("/v1/sessions")),
            ("/../../v1/sessions", own("/v1/sessions")),
            ("../../../v1/sessions", own("/v1/sessions")),
            ("/%2e%2e/%2E./v1/sessions", own("/v1/sessions")),
            ("\\..\\v1", own("/v1")),
            ("//127.0.0.1:8443/v1/sessions", own("/v1/sessions")),
            ("https://127.0.0.1:8443/v1/sessions", own("/v1/sessions")),
            ("https://x@127.1:8443/v1/sessions", own("/v1/sessions")),
            (to_another.as_str(), own(&to_another)),
            ("http://127.0.0.1:8443/v1/sessions", None),
            ("https://127.0.0.1:9443/", None),
            ("https://127.0.0.1.:8443/v1/sessions", own("/v1/sessions")),
            ("https://", None),
            ("//elsewhere.example/", Some("https://elsewhere.example/".to_owned())),
            ("https://elsewhere.example/v1", Some("https://elsewhere.example/v1".to_owned())),
        ] {
            let way = of(&format!("/apps/{app}/x/y")).unwrap();
            let mut headers = HeaderMap::from_iter([
                (LOCATION, HeaderValue::from_str(to).unwrap()),
                (SET_COOKIE, HeaderValue::from_static("a=b")),
                (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=0")),
                (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src *")),
            ]);
            way.outward(&mut headers);
            assert_eq!(headers.get(LOCATION).map(|to| to.to_str().unwrap()), led.as_deref(), "{to}");
            assert!(!headers.contains_key(SET_COOKIE) && !headers.contains_key(STRICT_TRANSPORT_SECURITY));
            let policies: Vec<_> = headers.get_all(CONTENT_SECURITY_POLICY).iter().collect();
            assert_eq!(policies, ["default-src *", "sandbox; default-src 'none'"], "each of several holds");
        }
    }
}
