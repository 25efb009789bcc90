//! The same where sessions are containers. tests/run.sh brings a Docker of its own.

use alpine_tests::{api::send, tools};
use reqwest::Method;
use serde_json::json;

use super::{
    stage::{NETWORK, Stage},
    streams::{echoes, events, websocket},
};

/// `None`: there is no Docker here, and nobody has promised one.
async fn stage() -> Option<Stage> {
    if tools::has_docker() { Some(Stage::of_provider("docker", &[]).await) } else { None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_reached_by_its_own_host_and_so_are_its_ports() {
    let _alone = NETWORK.lock().await;
    let Some(stage) = stage().await else { return };
    // As the tests' own Docker is.
    assert!(stage.world.server.log_text().contains("a restart of Docker ends all sessions"));
    let page = send(stage.as_ann(Method::GET, "/")).await;
    assert_eq!((page.status.as_u16(), page.text.as_str()), (200, "<html>the session's page</html>"));
    assert_eq!(send(stage.ask(Method::GET, "/").bearer_auth(stage.token("dev", "bob", &[]))).await.status, 403);
    assert_eq!(send(stage.ask(Method::GET, "/").bearer_auth(stage.token("acme", "ann", &[]))).await.status, 404);
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    assert_eq!(send(stage.as_page(Method::POST, "/echo", &cookie).body("x")).await.expect(200)["body"], "x");
    let mut stream = events(&stage, "/events").await;
    assert!(stream.chunk().await.unwrap().is_some());
    let token = stage.token("dev", "ann", &[]);
    let (mut socket, head) = websocket(&stage, &[("authorization", &format!("Bearer {token}"))]).await;
    assert!(head.starts_with("HTTP/1.1 101") && echoes(&mut socket, "typed").await, "{head}");

    // Its ports are its own: the host's, with the same number, is another.
    let at = async |port: u16| send(stage.ask_host(Method::GET, &stage.host_of(port), "/").bearer_auth(&token)).await;
    send(stage.as_ann(Method::GET, "/serve?port=3000")).await.expect(200);
    assert!(at(3000).await.expect(200)["headers"].is_array());
    send(stage.as_ann(Method::GET, "/serve?port=3001&host=127.0.0.1")).await.expect(200);
    let silent = at(3001).await;
    assert!(silent.expect(503)["cause"].as_str().unwrap().contains("0.0.0.0"), "{}", silent.text);
    assert_eq!(at(stage.world.server.port).await.status, 503, "nor is this server's");

    let shares = format!("/v1/sessions/{}/shares", stage.session);
    let shared = stage.world.api("ann").send(Method::POST, &shares, &json!({ "public": true })).await;
    let url = shared.expect(201)["url"].as_str().unwrap().to_owned();
    assert_eq!(send(stage.ask(Method::GET, url.strip_prefix(&stage.origin()).unwrap())).await.status, 303);
    stage.down().await;
    stage.is_over().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_container_reaches_no_other_by_any_of_its_ports() {
    let _alone = NETWORK.lock().await;
    let Some(stage) = stage().await else { return };
    send(stage.as_ann(Method::GET, "/serve?port=3000")).await.expect(200);
    let neighbour = stage.another("ann").await;
    let host = super::stage::host(&neighbour);
    let of = |host: &str, path: &str| stage.ask_host(Method::GET, host, path).bearer_auth(stage.token("dev", "ann", &[]));
    send(of(&host, "/")).await.expect(200);
    // What listens in one is not found under the other's name.
    send(of(&stage.host_of(3000), "/")).await.expect(200);
    assert_eq!(send(of(&host.replacen('.', "--3000.", 1), "/")).await.status, 503);
}
