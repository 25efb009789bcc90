//! What goes through to a session, and what comes back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use alpine_tests::{
    REPO, World,
    api::{Reply, send},
    cli::text,
    until,
};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::Stage;

const LIMIT: Duration = Duration::from_secs(60);

/// The headers that the program saw, by their names in lower case.
fn seen(reply: &Reply) -> BTreeMap<String, String> {
    let pairs = reply.expect(200)["headers"].as_array().unwrap();
    pairs.iter().map(|pair| (pair[0].as_str().unwrap().to_lowercase(), pair[1].as_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lets_in_here_never_reaches_the_session_and_its_own_password_does() {
    let stage = Stage::set().await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let token = stage.token("dev", "ann", &[]);
    let strange = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=192.0.2.1"),
        ("cf-access-jwt-assertion", "a.b.c"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("x-kept", "yes"),
    ];
    let dressed = |request: reqwest::RequestBuilder| strange.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let by_cookie = send(dressed(stage.as_page(Method::GET, "/echo?a=b", &format!("theme=dark; {cookie}; CF_Authorization=jwt")))).await;
    let by_token = send(dressed(stage.ask(Method::GET, "/echo").bearer_auth(&token).header("cookie", &cookie))).await;
    for reply in [&by_cookie, &by_token] {
        let seen = seen(reply);
        let all = format!("{seen:?}");
        assert!(!all.contains(&token) && !all.contains(cookie.split_once('=').unwrap().1), "{all}");
        for gone in ["x-forwarded-for", "forwarded", "cf-access-jwt-assertion", "x-hop", "te"] {
            assert!(!seen.contains_key(gone), "{gone}: {all}");
        }
        let host = stage.origin().replace("https://", "");
        assert_eq!(
            (seen["host"].as_str(), seen["x-forwarded-host"].as_str(), seen["x-forwarded-proto"].as_str()),
            (&*host, &*host, "https")
        );
        assert_eq!(seen["x-kept"], "yes");
        assert!(seen["authorization"].starts_with("Basic "), "{all}");
    }
    assert_eq!(by_cookie.body["path"], "/echo?a=b");
    assert_eq!(seen(&by_cookie)["cookie"], "theme=dark");
    assert!(!seen(&by_token).contains_key("cookie"));
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_bodies_go_through_whatever_their_length() {
    let stage = Stage::set().await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let reply = send(stage.as_ann(method.clone(), "/echo").body(if method == Method::GET { "" } else { "the body" })).await;
        assert_eq!(reply.expect(200)["method"], method.as_str());
        assert_eq!(reply.body["body"], if method == Method::GET { "" } else { "the body" });
    }
    // More than the API takes.
    let large = "x".repeat(3_000_000);
    assert_eq!(send(stage.as_ann(Method::POST, "/echo").body(large.clone())).await.expect(200)["body"], Value::String(large));
    let head = send(stage.as_ann(Method::HEAD, "/teapot")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str(), head.headers["content-length"].to_str().unwrap()), (418, "", "8"));
    for path in [format!("/{}", "x".repeat(8 * 1024)), "/".to_owned()] {
        let reply = send(stage.as_ann(Method::GET, &path).header("x-long", "y".repeat(20_000))).await;
        assert_eq!(reply.status, if path.len() > 8000 { 414 } else { 200 });
    }
    assert_eq!(send(stage.as_ann(Method::TRACE, "/echo")).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_as_long_as_it_says_or_breaks_off() {
    let stage = Stage::set().await;
    for _ in 0..5 {
        let long = send(stage.as_ann(Method::GET, "/long")).await;
        assert_eq!((long.status.as_u16(), long.headers["content-length"].to_str().unwrap()), (200, "1500000"));
        assert!(long.text == "long ".repeat(300_000), "{} bytes", long.text.len());
    }
    for (path, length) in [("/broken", Some(100)), ("/broken/chunked", None)] {
        let broken = stage.as_ann(Method::GET, path).send().await.unwrap();
        assert_eq!((broken.status().as_u16(), broken.content_length()), (200, length));
        assert!(broken.bytes().await.is_err(), "{path}: half of it was taken for all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_answers_is_its_own_but_for_what_would_count_elsewhere() {
    let stage = Stage::set().await;
    let teapot = send(stage.as_ann(Method::GET, "/teapot")).await;
    assert_eq!((teapot.status.as_u16(), teapot.text.as_str(), teapot.headers["x-own"].to_str().unwrap()), (418, "a teapot", "1"));
    let nasty = send(stage.as_ann(Method::GET, "/nasty")).await;
    assert_eq!(nasty.status, 200);
    assert_eq!(nasty.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["own=1; Path=/"]);
    assert_eq!(nasty.headers["cache-control"], "private, max-age=60");
    assert!(!nasty.headers.contains_key("alt-svc") && !nasty.headers.contains_key("keep-alive"), "{:?}", nasty.headers);
    let own = "same-origin";
    assert_eq!(nasty.headers["cross-origin-resource-policy"], own);
    for gone in ["clear-site-data", "x-accel-redirect", "service-worker-allowed", "nel"] {
        assert!(!nasty.headers.contains_key(gone), "{gone}");
    }
    let worker = send(stage.as_ann(Method::GET, "/sw.js").header("service-worker", "script")).await;
    assert_eq!(worker.expect(403)["cause"], "service workers are not served on a session's host");
    for path in ["/switch", "/garbage"] {
        let reply = send(stage.as_ann(Method::GET, path)).await;
        assert_eq!(reply.expect(503)["cause"], "the session's server does not answer", "{path}");
    }
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_gateway_gets_in_at_the_port_and_no_stranger_on_the_port_gets_the_password() {
    let stage = Stage::set().await;
    let port = port(&stage.world, &stage.session).unwrap();
    // On this machine's loopback, as another session's process would.
    let direct = || reqwest::get(format!("http://127.0.0.1:{port}/"));
    assert_eq!(direct().await.unwrap().status(), 401);
    // The session's program runs on without listening, and somebody else takes its port.
    assert_eq!(send(stage.as_ann(Method::GET, "/leave")).await.text, "bye");
    let stranger = until("the port is free", LIMIT, || async { Stranger::on(port).await.ok() }).await;
    // At once, while it is still known where the program was; and when that has to be asked for anew.
    for pause in [0, 0, 300, 1_200, 0] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        assert_eq!(send(stage.as_ann(Method::GET, "/")).await.expect(503)["cause"], "the session's server does not listen");
    }
    // Connected to, at most, and told nothing.
    assert!(stranger.heard().iter().all(String::is_empty), "{:?}", stranger.heard());
    direct().await.unwrap();
    assert!(stranger.heard().iter().any(|heard| heard.starts_with("GET / ")), "it would have heard more");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_goes_to_a_port_before_the_sessions_own_program_listens_there() {
    let world = Stage::world(&[("ALPINE_SANDBOX_SERVE", "sleep 5; exec python3 -IS app.py")]).await;
    world.git.with_files("org/repo", &[("app.py", include_str!("app.py"))]);
    let up = world.up("ann", REPO, "main", &["--no-wait"]).run().await.ok();
    let session = text(&up, "session_id");
    let port = until("a port is chosen", LIMIT, || async { port(&world, &session) }).await;
    let stranger = Stranger::on(port).await.expect("nobody has it yet");
    world.db.wait_for_state(&session, &["ready", "failed"], LIMIT).await;
    let heard = stranger.heard();
    assert!(!heard.is_empty(), "it was asked whether it is ready");
    assert!(heard.iter().all(|request| !request.to_lowercase().contains("authorization")), "{heard:?}");
    assert_eq!(world.db.state(&session).await, "failed", "and is not taken for the session's own");
}

/// The port of the session's program, once there is one.
fn port(world: &World, session: &str) -> Option<u16> {
    let meta = std::fs::read_to_string(world.sandbox(session).join("meta.json")).ok()?;
    let meta: Value = serde_json::from_str(&meta).ok()?;
    u16::try_from(meta["served"]["port"].as_u64()?).ok()
}

/// Somebody who listens where the session's program should, and asks everybody for a password.
struct Stranger(Arc<Mutex<Vec<String>>>);

impl Stranger {
    async fn on(port: u16) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 8192];
                let read = stream.read(&mut buffer).await.unwrap_or_default();
                to.lock().unwrap().push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                let _ = stream.write_all(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            }
        });
        Ok(Self(heard))
    }

    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_for_too_much_at_once_is_told_so_and_takes_nothing_from_others() {
    let stage = Stage::set().await;
    let token = stage.token("dev", "ann", &[]);
    // HTTP/2 lets one connection have no more than 250.
    let clients = [(); 2].map(|()| stage.client_for(&stage.host()));
    let mut open = Vec::new();
    for client in clients.iter().cycle().take(256) {
        open.push(client.get(format!("{}/events", stage.origin())).bearer_auth(&token).send().await.unwrap());
    }
    assert!(open.iter().all(|answer| answer.status() == 200));
    assert_eq!(stage.world.server.metric("alpine_gateway_requests_open", &[]).await, Some(256.0));
    let refused = send(stage.as_ann(Method::GET, "/")).await;
    assert_eq!(refused.expect(429)["error_code"], "ERR_RATE_LIMITED");
    let other = stage.another("ann").await;
    send(stage.ask_host(Method::GET, &super::stage::host(&other), "/").bearer_auth(&token)).await.expect(200);
    drop((open, clients));
    alpine_tests::until("there is room again", std::time::Duration::from_secs(20), || async {
        Some(send(stage.as_ann(Method::GET, "/")).await).filter(|reply| reply.status == 200)
    })
    .await;
    let proxied = stage.world.server.metric("alpine_gateway_requests_total", &["bearer", "proxied"]).await;
    assert!(proxied >= Some(258.0), "{proxied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_at_once_wait_for_no_place_that_they_hold_themselves() {
    // One place for reads.
    let stage = Stage::with(&[("ALPINE_DB_CONNECTIONS", "2"), ("ALPINE_QUEUE_MILLISECONDS", "2000")]).await;
    for principal in ["ann", "root"] {
        let roles: &[&str] = if principal == "root" { &["alpine.admin"] } else { &[] };
        let token = stage.token("dev", principal, roles);
        let all = (0..12).map(|_| {
            let request = stage.ask(Method::GET, "/").bearer_auth(&token);
            tokio::spawn(async move { send(request).await })
        });
        for one in all.collect::<Vec<_>>() {
            one.await.unwrap().expect(200);
        }
    }
}
