//! A session by a path of the API's host, for programs that cannot resolve the name of its own.

use alpine_tests::api::send;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::{
    stage::{Stage, host},
    streams::{echoes, websocket_at},
};

/// The first label of its host.
fn label(session: &str) -> String {
    host(session).split_once('.').unwrap().0.to_owned()
}

impl Stage {
    async fn with_paths() -> Self {
        Self::with(&[("ALPINE_APPS_PATHS", "true")]).await
    }

    /// Of the API's host, at its address.
    fn ask_api(&self, method: Method, path: &str) -> RequestBuilder {
        self.world.pki.client().request(method, format!("{}{path}", self.world.server.base()))
    }

    fn by_path(&self, method: Method, rest: &str) -> RequestBuilder {
        self.ask_api(method, &format!("/apps/{}{rest}", label(&self.session)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_resolves_no_name_reaches_the_session_by_its_token() {
    let stage = Stage::with_paths().await;
    let ann = stage.token("dev", "ann", &[]);
    let echo = send(stage.by_path(Method::POST, "/echo?a=b").bearer_auth(&ann).header("cookie", "a=b").body("the body")).await;
    echo.expect(200);
    assert_eq!((&echo.body["method"], &echo.body["path"], &echo.body["body"]), (&"POST".into(), &"/echo?a=b".into(), &"the body".into()));
    assert!(!echo.text.contains(&ann) && !echo.text.to_lowercase().contains("cookie"), "{}", echo.text);
    for root in ["", "/"] {
        let page = send(stage.by_path(Method::GET, root).bearer_auth(&ann)).await;
        assert_eq!((page.status.as_u16(), page.text.as_str()), (200, "<html>the session's page</html>"));
    }
    let mut events = stage.by_path(Method::GET, "/events").bearer_auth(&ann).send().await.unwrap();
    assert!(String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()).starts_with("data: 0"));
    let api = stage.world.server.base().replace("https://", "");
    let path = format!("/apps/{}/ws", label(&stage.session));
    let (mut stream, head) = websocket_at(&stage, (&api, &path), &[("authorization", &format!("Bearer {ann}"))]).await;
    assert!(head.starts_with("HTTP/1.1 101") && echoes(&mut stream, "to and fro").await, "{head}");
    let (port, _) = stage.serve_on_a_port().await;
    let own = send(stage.ask_api(Method::GET, &format!("/apps/{}--{port}/x", label(&stage.session))).bearer_auth(&ann)).await;
    assert!(own.expect(200)["headers"].is_array());
    // What it may be asked is as at its own host.
    assert_eq!(send(stage.by_path(Method::GET, "/.alpine/open?code=x").bearer_auth(&ann)).await.status, 404);
    // The API is where it was.
    assert!(stage.world.api("ann").get("/v1/sessions").await.expect(200)["sessions"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_browser_is_let_in_by_path_and_nothing_of_the_session_holds_for_the_apis_host() {
    let stage = Stage::with_paths().await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let refused = send(stage.by_path(Method::GET, "/").header("cookie", &cookie).header("sec-fetch-site", "same-origin")).await;
    assert_eq!(refused.expect(401)["error_code"], "ERR_CALLER_IDENTITY_REQUIRED");
    let without = send(stage.by_path(Method::GET, "/")).await;
    assert_eq!(without.expect(401)["next_step"], "sign in: send a token as `Authorization: Bearer <token>`");
    let token = stage.token("dev", "ann", &[]);
    let page = send(stage.by_path(Method::GET, "/").bearer_auth(&token).header("sec-fetch-site", "cross-site")).await;
    assert_eq!(page.expect(403)["error_code"], "ERR_FORBIDDEN", "a proxy made a token of a cookie");
    // Programs follow with their token.
    let api = format!("{}/v1/sessions", stage.world.server.base());
    for to in ["/v1/sessions", "/../../v1/sessions", "../../v1/sessions", &*api] {
        let led = send(stage.by_path(Method::POST, &format!("/led?to={to}")).bearer_auth(&token)).await;
        let own = format!("/apps/{}/v1/sessions", label(&stage.session));
        assert_eq!((led.status.as_u16(), led.headers["location"].to_str().unwrap()), (307, &*own), "{to}");
    }
    let nasty = send(stage.by_path(Method::GET, "/nasty").bearer_auth(token)).await;
    assert_eq!((nasty.status.as_u16(), nasty.text.as_str()), (200, "nasty"));
    assert!(!nasty.headers.contains_key("set-cookie"), "{:?}", nasty.headers);
    assert_eq!(nasty.headers["content-security-policy"], "sandbox; default-src 'none'");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_path_others_are_answered_as_at_the_sessions_host() {
    let stage = Stage::with_paths().await;
    let asked = async |tenant: &str, principal: &str, label: &str| {
        send(stage.ask_api(Method::GET, &format!("/apps/{label}/")).bearer_auth(stage.token(tenant, principal, &[]))).await
    };
    let own = label(&stage.session);
    assert_eq!(asked("dev", "bob", &own).await.expect(403)["error_code"], "ERR_SESSION_FORBIDDEN");
    let absent = label("ses_019ab1c24d3e7f508192a3b4c5d6e7f8");
    let mut answers = Vec::new();
    for label in [&*own, &absent, "x", ""] {
        let reply = asked("acme", "root", label).await;
        reply.expect(404);
        answers.push(reply.text.replace(reply.request_id(), ""));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "another tenant's is as what is not there: {answers:?}");
    let shared = json!({ "with": ["bob"], "expires_in": 3600 });
    stage.world.api("ann").send(Method::POST, &format!("/v1/sessions/{}/shares", stage.session), &shared).await.expect(201);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(asked("dev", "bob", &own).await.status, 200, "it is shared with them");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_way_by_path_unless_it_is_asked_for() {
    let stage = Stage::set().await;
    let reply = send(stage.by_path(Method::GET, "/").bearer_auth(stage.token("dev", "ann", &[]))).await;
    assert_eq!(
        (&reply.expect(404)["error_code"], &reply.body["cause"]),
        (&"ERR_INVALID_REQUEST".into(), &"there is nothing at this path".into())
    );
}
