//! Who is answered what on which host.

use alpine_tests::api::send;
use reqwest::Method;
use serde_json::json;

use super::stage::{Stage, host};

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_and_an_admin_are_let_through_and_nobody_else_is() {
    let stage = Stage::set().await;
    let asked = async |token: Option<String>, host: &str| {
        let request = stage.ask_host(Method::GET, host, "/");
        send(token.into_iter().fold(request, |request, token| request.bearer_auth(token))).await
    };
    let own = stage.host();
    for (tenant, principal, roles) in [("dev", "ann", &[][..]), ("dev", "root", &["alpine.admin"])] {
        let reply = asked(Some(stage.token(tenant, principal, roles)), &own).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "<html>the session's page</html>"), "{principal}");
    }
    let bob = asked(Some(stage.token("dev", "bob", &[])), &own).await;
    assert_eq!(bob.expect(403)["error_code"], "ERR_SESSION_FORBIDDEN");
    // Who is nobody learns nothing of what there is.
    let absent = host("ses_019ab1c24d3e7f508192a3b4c5d6e7f8");
    for host in [own.as_str(), absent.as_str(), "other.apps.localhost"] {
        let reply = asked(None, host).await;
        assert_eq!(reply.expect(401)["error_code"], "ERR_CALLER_IDENTITY_REQUIRED");
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
    // Another tenant's is answered, byte for byte, as what is not there, and as the API answers it.
    let stranger = || Some(stage.token("acme", "root", &["alpine.admin"]));
    let (foreign, nothing) = (asked(stranger(), &own).await, asked(stranger(), &absent).await);
    foreign.expect(404);
    let bare = |reply: &alpine_tests::api::Reply| reply.text.replace(reply.request_id(), "");
    assert_eq!(bare(&foreign), bare(&nothing));
    assert_eq!(bare(&foreign), bare(&asked(stranger(), "other.apps.localhost").await), "and as no session's name");
    let api = stage.world.api_of("acme", "root", &["alpine.admin"]).get(&format!("/v1/sessions/{}", stage.session)).await;
    for field in ["error_code", "cause", "next_step", "type", "title", "status"] {
        assert_eq!(foreign.body[field], api.body[field], "{field}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_and_the_sessions_share_no_host() {
    let stage = Stage::set().await;
    // Whatever path is asked for: on a session's host it is the session's.
    for path in ["/v1/sessions", "/v1/whoami", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs/", "/v1/tokens"] {
        let reply = send(stage.as_ann(Method::GET, path)).await;
        assert_eq!(reply.text, "<html>the session's page</html>", "{path}");
        assert_eq!(send(stage.ask(Method::GET, path)).await.status, 401, "{path}");
        let domain = send(stage.ask_host(Method::GET, "x.apps.localhost", path).bearer_auth(stage.token("dev", "ann", &[]))).await;
        assert_eq!(domain.status, 404, "{path}: nothing is served below the domain but sessions");
    }
    // And on all other hosts nothing of a session.
    let api = stage.world.api("ann");
    assert_eq!(api.get("/echo").await.expect(404)["error_code"], "ERR_INVALID_REQUEST");
    assert_eq!(api.get("/.alpine/open?code=x").await.status, 404);
    assert!(api.get("/v1/sessions").await.expect(200)["sessions"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_lets_somebody_in_is_on_record_and_so_is_who_was_kept_out() {
    let stage = Stage::set().await;
    let token = stage.token("dev", "root", &["alpine.admin"]);
    send(stage.ask(Method::GET, "/").bearer_auth(token)).await.expect(200);
    send(stage.ask(Method::GET, "/").bearer_auth(stage.token("dev", "bob", &[]))).await.expect(403);
    stage.cookie(&stage.world.api_of("dev", "carl", &["alpine.admin"])).await;
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    let log = alpine_tests::audit::log(&stage.world.db, "dev").await;
    alpine_tests::audit::assert_whole(&log);
    let opened: Vec<_> = log.iter().map(|entry| (entry.actor.as_str(), entry.action.as_str(), entry.outcome.as_str())).collect();
    assert_eq!(opened, [("root", "session.open", "done"), ("bob", "session.open", "denied"), ("carl", "session.open", "done")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_needs_the_scope_to_change_something() {
    let stage = Stage::set().await;
    let ann = stage.world.api("ann");
    for (scopes, status) in
        [(json!(["sessions:read"]), 403), (json!(["sessions:write"]), 403), (json!(["sessions:read", "sessions:write"]), 200)]
    {
        let body = json!({ "name": "x", "scopes": scopes, "expires_in_days": 1 });
        let made = ann.send(Method::POST, "/v1/tokens", &body).await;
        let token = made.expect(201)["token"].as_str().unwrap().to_owned();
        let reply = send(stage.ask(Method::GET, "/").bearer_auth(&token)).await;
        assert_eq!(reply.status.as_u16(), status, "{scopes}: {}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_served_while_it_is_ready_and_never_after() {
    let stage = Stage::set().await;
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    stage.down().await;
    let over = stage.is_over().await;
    assert_eq!(over.body["error_code"], "ERR_OPERATION_CONFLICT");
    assert_eq!(stage.open(&stage.world.api("ann")).await.status, 409);
    stage.world.db.wait_for_state(&stage.session, &["stopped"], std::time::Duration::from_secs(60)).await;
    assert_eq!(stage.world.db.count("session_passwords").await, 0, "what it was protected by is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_reach_the_session_says_so() {
    let stage = Stage::set().await;
    let domain = stage.world.server.setting("ALPINE_APPS_DOMAIN").unwrap().to_owned();
    let elsewhere = stage.world.dir.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let elsewhere = elsewhere.display().to_string();
    for settings in [&[("ALPINE_ROLE", "api")][..], &[("ALPINE_DATA_DIR", elsewhere.as_str())]] {
        let settings = [settings, &[("ALPINE_APPS_DOMAIN", domain.as_str())]].concat();
        let other = stage.world.another_server(&settings).await;
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], other.port));
        let ca = reqwest::Certificate::from_pem(&std::fs::read(&stage.world.pki.ca).unwrap()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).resolve(&stage.host(), address).build().unwrap();
        let url = format!("https://{}:{}/", stage.host(), other.port);
        let reply = send(client.get(url).bearer_auth(stage.token("dev", "ann", &[]))).await;
        assert_eq!(reply.expect(503)["cause"], "this server does not reach the session's machine");
        assert_eq!(reply.headers["retry-after"], "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_domain_all_is_as_it_was() {
    let world = alpine_tests::World::start().await;
    let up = world.ready("ann").await;
    assert!(alpine_tests::cli::text(&up, "opencode_url").starts_with("http://127.0.0.1:"), "{up}");
    world.answers(&up).await;
    let session = alpine_tests::cli::text(&up, "session_id");
    let refused = world.api("ann").send(Method::POST, &format!("/v1/sessions/{session}/open"), &serde_json::Value::Null).await;
    assert_eq!(refused.expect(409)["cause"], "session has no address below this server's domain of apps");
    assert_eq!(world.db.count("session_passwords").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_two_hosts_is_for_neither() {
    let stage = Stage::set().await;
    let (own, api) = (stage.origin().replace("https://", ""), format!("127.0.0.1:{}", stage.world.server.port));
    let token = stage.token("dev", "ann", &[]);
    let asked = async |line: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("Host: {host}\r\n")).collect();
        stage.raw(&format!("GET {line} HTTP/1.1\r\n{hosts}Authorization: Bearer {token}\r\nConnection: close\r\n\r\n")).await
    };
    for (line, hosts) in [
        ("/v1/sessions", &[own.as_str(), &api][..]),
        ("/v1/sessions", &[&api, &own]),
        (&format!("https://{own}/v1/sessions"), &[&api]),
        (&format!("https://{api}/v1/sessions"), &[&own]),
        ("/", &["ann@x"]),
    ] {
        let answer = asked(line, hosts).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && !answer.contains("\"sessions\"") && !answer.contains("the session's page"),
            "{hosts:?}: {answer}"
        );
    }
    assert!(asked("/v1/sessions", &[&api]).await.contains("\"sessions\""));
    assert!(asked("/v1/sessions", &[&own]).await.contains("the session's page"));
    assert!(asked(&format!("https://{own}/v1/sessions"), &[&own]).await.contains("the session's page"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_below_whichever_domain_there_is_now() {
    let mut stage = Stage::set().await;
    let port = stage.world.server.port;
    stage.world.server.kill();
    stage.world.server.configure("ALPINE_APPS_DOMAIN", Some(format!("other.localhost:{port}")));
    stage.world.server.start_again().await;
    let opened = stage.open(&stage.world.api("ann")).await;
    let url = opened.expect(200)["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with(&format!("https://{}.other.localhost:{port}/.alpine/open?code=", stage.session.replace('_', "-"))), "{url}");
    stage.world.server.kill();
    stage.world.server.configure("ALPINE_APPS_DOMAIN", None);
    stage.world.server.start_again().await;
    stage.open(&stage.world.api("ann")).await.expect(409);
}
