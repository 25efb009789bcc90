//! A session by a path of the API's own host, for programs that cannot resolve the name of the session's own: below `localhost` only browsers
//! can everywhere. It is for bearer tokens alone, which no page of anybody's can send along: what all sessions answer here is of the API's origin.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Uri,
        header::{CONTENT_SECURITY_POLICY, LOCATION, SET_COOKIE},
        uri::PathAndQuery,
    },
};

use crate::domain::apps::{APPS_PATH, App};

/// Nothing that is shown by it, by whatever mistake, has an origin or runs.
const NO_PAGE: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

/// `/apps/<label>`, the label being that of the session's host.
#[derive(Debug, Clone)]
pub struct Way {
    /// `None`: it is nobody's label.
    pub app: Option<App>,
    prefix: String,
}

impl Way {
    /// `None`: this path is the API's.
    pub fn of(path: &str) -> Option<Self> {
        let label = path.strip_prefix(APPS_PATH)?.split('/').next()?;
        Some(Self { app: label.parse().ok(), prefix: format!("{APPS_PATH}{label}") })
    }

    /// As it would be asked at the session's own host.
    pub fn inward(&self, request: &mut Request) {
        let uri = request.uri();
        let rest = uri.path_and_query().map_or("", PathAndQuery::as_str).strip_prefix(&self.prefix).unwrap_or_default();
        let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = rest.parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }

    /// What would hold for the API's host as well stays away, and what leads on leads there.
    pub fn outward(&self, headers: &mut HeaderMap) {
        headers.remove(SET_COOKIE);
        headers.append(CONTENT_SECURITY_POLICY, NO_PAGE);
        let path = headers.get(LOCATION).and_then(|to| to.to_str().ok()).filter(|to| to.starts_with('/') && !to.starts_with("//"));
        if let Some(to) = path.and_then(|path| HeaderValue::from_str(&format!("{}{path}", self.prefix)).ok()) {
            headers.insert(LOCATION, to);
        }
    }
}

#[cfg(test)]
mod tests {
    use alpine_api::SessionId;
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_path_below_apps_is_a_sessions_and_the_rest_of_it_is_what_is_asked() {
        let app = App::of(SessionId::generate());
        let port = App { port: std::num::NonZeroU16::new(3000), ..app };
        for (rest, asked) in [("", "/"), ("/", "/"), ("?a=b", "/?a=b"), ("/x//y/?q=%2F", "/x//y/?q=%2F"), ("/apps/z", "/apps/z")] {
            for (app, host) in [(app, ""), (port, ""), (app, "https://127.0.0.1:8443")] {
                let mut request = Request::get(format!("{host}/apps/{app}{rest}")).body(Body::empty()).unwrap();
                let way = Way::of(request.uri().path()).unwrap();
                assert_eq!(way.app, Some(app));
                way.inward(&mut request);
                assert_eq!(request.uri().to_string(), format!("{host}{asked}"));
            }
        }
        for nobodys in ["/apps/", "/apps/x/", "/apps//", "/apps/ses-1", "/apps/%73es-1"] {
            assert_eq!(Way::of(nobodys).unwrap().app, None, "{nobodys}");
        }
        for other in ["/", "/app", "/apps", "/appsx/", "/v1/apps/", "//apps/", ""] {
            assert!(Way::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_leads_on_leads_to_the_same_session_and_nothing_is_left_at_the_apis_host() {
        let app = App::of(SessionId::generate());
        let way = Way::of(&format!("/apps/{app}/x")).unwrap();
        for (to, led) in [
            ("/login?a=b", format!("/apps/{app}/login?a=b")),
            ("there", "there".to_owned()),
            ("//elsewhere.example/", "//elsewhere.example/".to_owned()),
            ("https://elsewhere.example/", "https://elsewhere.example/".to_owned()),
        ] {
            let mut headers = HeaderMap::from_iter([
                (LOCATION, HeaderValue::from_static(to)),
                (SET_COOKIE, HeaderValue::from_static("a=b")),
                (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src *")),
            ]);
            way.outward(&mut headers);
            assert_eq!((headers[LOCATION].to_str().unwrap(), headers.contains_key(SET_COOKIE)), (&*led, false));
            let policies: Vec<_> = headers.get_all(CONTENT_SECURITY_POLICY).iter().collect();
            assert_eq!(policies, ["default-src *", "sandbox; default-src 'none'"], "each of several holds");
        }
    }
}
