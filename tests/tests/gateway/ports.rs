//! Other ports of a session, each under a host of its own.

use alpine_tests::api::{Reply, send};
use reqwest::Method;

use super::stage::{Stage, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn what_listens_on_a_port_has_a_host_of_its_own_for_those_who_may_use_the_session() {
    let stage = Stage::set().await;
    let (port, host) = stage.serve_on_a_port().await;
    let get = |token: Option<String>| token.into_iter().fold(stage.ask_host(Method::GET, &host, "/"), |ask, token| ask.bearer_auth(token));
    let own = send(get(Some(stage.token("dev", "ann", &[])))).await;
    own.expect(200);
    let seen = own.text.to_lowercase();
    assert!(!seen.contains("authorization") && seen.contains(&host), "neither a token nor a password goes there: {seen}");
    assert_eq!(send(get(None)).await.status, 401);
    assert_eq!(send(get(Some(stage.token("dev", "bob", &[])))).await.expect(403)["error_code"], "ERR_SESSION_FORBIDDEN");
    send(get(Some(stage.token("acme", "ann", &[])))).await.expect(404);

    // A browser is let in there by a code for that port, and by no other.
    let ann = stage.world.api("ann");
    let opened = stage.open_port(&ann, Some(port)).await;
    let body = opened.expect(200);
    assert_eq!(body["app_url"], format!("https://{host}:{}/", stage.world.server.port));
    let way_in = body["url"].as_str().unwrap().strip_prefix(body["app_url"].as_str().unwrap()).unwrap().to_owned();
    let redeem =
        async |host: &str, way_in: &str| send(stage.ask_host(Method::GET, host, &format!("/{}", way_in.trim_start_matches('/')))).await;
    assert_eq!(redeem(&stage.host(), &way_in).await.status, 401, "not at the session's own page");
    let let_in = redeem(&host, &way_in).await;
    assert_eq!(let_in.status, 303);
    let cookie = |reply: &Reply| reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let there = async |host: &str, cookie: &str| {
        send(stage.ask_host(Method::GET, host, "/").header("cookie", cookie).header("sec-fetch-site", "same-origin")).await
    };
    let (of_port, of_page) = (cookie(&let_in), stage.cookie(&ann).await);
    assert_eq!(there(&host, &of_port).await.status, 200);
    for (host, cookie) in [(stage.host(), &of_port), (host.clone(), &of_page), (stage.host_of(port - 1), &of_port)] {
        assert_eq!(there(&host, cookie).await.status, 401, "{host}");
    }
    // What the page says to its own server is its own affair.
    let with = stage.ask_host(Method::GET, &host, "/").header("cookie", &of_port).header("sec-fetch-site", "same-origin");
    let seen = send(with.header("authorization", "Bearer of-the-app")).await;
    assert!(seen.text.contains("Bearer of-the-app") && !seen.text.contains("__Host-alpine"), "{}", seen.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_not_the_sessions_is_not_connected_to() {
    let stage = Stage::set().await;
    let port = free_port();
    let ask = || stage.ask_host(Method::GET, &stage.host_of(port), "/").bearer_auth(stage.token("dev", "ann", &[]));
    let unheard = send(ask()).await;
    let cause = unheard.expect(503)["cause"].as_str().unwrap();
    assert!(cause.contains("listens on this port"), "{cause}");
    assert_eq!(unheard.body["next_step"], "start a program in the session that listens there, then try again");
    // A program of somebody else's on this machine: this very test.
    let stranger = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    send(ask()).await.expect(503);
    let came = tokio::time::timeout(std::time::Duration::from_millis(100), stranger.accept()).await;
    assert!(came.is_err(), "{came:?}");
    // Nor is what the server itself listens on, the API say.
    let own = stage.host_of(stage.world.server.port);
    send(stage.ask_host(Method::GET, &own, "/livez").bearer_auth(stage.token("dev", "ann", &[]))).await.expect(503);
    for bad in ["0", "65536", "03000", "x"] {
        let host = stage.host().replacen('.', &format!("--{bad}."), 1);
        send(stage.ask_host(Method::GET, &host, "/").bearer_auth(stage.token("dev", "ann", &[]))).await.expect(404);
    }
    for bad in ["0", "65536", "-1", "\"x\""] {
        let body = serde_json::from_str(&format!("{{\"port\":{bad}}}")).unwrap();
        let reply = stage.world.api("ann").send(Method::POST, &format!("/v1/sessions/{}/open", stage.session), &body).await;
        assert_eq!(reply.expect(422)["error_code"], "ERR_INVALID_REQUEST", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_where_a_port_is() {
    let stage = Stage::set().await;
    let (port, host) = stage.serve_on_a_port().await;
    let said = stage.world.alpine("ann").args(&["port", &stage.session, &port.to_string(), "--print", "--json"]).run().await.ok();
    let url = format!("https://{host}:{}/", stage.world.server.port);
    assert_eq!((said["app_url"].as_str(), said["port"].as_u64()), (Some(&*url), Some(u64::from(port))));
    assert_eq!(said["browser_opened"], false);
    let way_in = said["way_in"].as_str().and_then(|way_in| way_in.strip_prefix(url.trim_end_matches('/'))).unwrap();
    assert_eq!(send(stage.ask_host(Method::GET, &host, way_in)).await.status, 303, "what is printed lets a browser in");
    // In a build, whose log many read, and where no browser was wanted.
    let quiet = stage.world.alpine("ann").env("CI", "true").args(&["port", &stage.session, &port.to_string()]).run().await;
    assert_eq!((quiet.stdout.trim(), quiet.stderr.contains("code=")), (&*url, false), "{}", quiet.stderr);
    let refused = stage.world.alpine("bob").args(&["port", &stage.session, &port.to_string(), "--print", "--json"]).run().await;
    assert_eq!(refused.json()["error_code"], "ERR_SESSION_FORBIDDEN");
}
