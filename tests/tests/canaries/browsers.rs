//! What lets a browser in, and the password behind it.

use std::net::SocketAddr;

use alpine_tests::{api::send, cli::text, sandboxes};
use reqwest::{Method, redirect::Policy};

use crate::{places::PASSWORD_VARIABLE, processes::variables, stage::Stage};

/// A code changed for a cookie, both used well and in the wrong place; a token and a cookie on a session's host.
pub async fn let_in(stage: &mut Stage) {
    let token = stage.secret("repo_token of a session that is opened");
    let repo = stage.repository("org/opened", &token);
    let up = stage.up(&repo, serde_json::json!({ "repo_token": token })).await;
    let session = text(&stage.ends(&up, "succeeded").await, "session_id");
    know_the_password(stage, &session);

    let opened = send(stage.ann().request(Method::POST, &format!("/v1/sessions/{session}/open"))).await;
    let url = text(opened.expect(200), "url");
    let (page, code) = url.split_once(".alpine/open?code=").unwrap();
    stage.kinds.add("a one-time code", code.split_once('.').unwrap().1.as_bytes());
    stage.keep("an answer of the server", &format!("{:?} {}", opened.headers, opened.text.replace(code, "")));
    let host = page.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
    let address = SocketAddr::from(([127, 0, 0, 1], stage.world.server.port));
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&stage.world.pki.ca).unwrap()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]).redirect(Policy::none()).resolve(&host, address).build().unwrap();
    let at = |path: &str| format!("https://{host}:{}{path}", stage.world.server.port);
    let redeem = at(&format!("/.alpine/open?code={code}"));
    let reply = send(client.get(&redeem)).await;
    let cookie = reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let value = cookie.split_once('.').unwrap().1.to_owned();

    let page = client.get(at("/")).header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    stage.ask(page).await.expect(200);
    stage.ask(client.get(at("/")).bearer_auth(&stage.jwt)).await.expect(200);
    for wrong in [
        client.get(&redeem),
        client.get(at(&format!("/{code}"))),
        client.get(at(&format!("/.alpine/open/{code}"))),
        client.post(at("/")).header("cookie", &cookie),
        client.get(at("/")).header("cookie", format!("{cookie}x")),
    ] {
        stage.ask(wrong).await;
    }
    stage.kinds.add("a cookie of a session's host", value.as_bytes());

    let shares = format!("/v1/sessions/{session}/shares");
    let shared = send(stage.ann().request(Method::POST, &shares).json(&serde_json::json!({ "public": true }))).await;
    let url = text(shared.expect(201), "url");
    let link = url.split_once("share=").unwrap().1;
    stage.kinds.add("a link that was shared", link.split_once('.').unwrap().1.as_bytes());
    stage.keep("an answer of the server", &format!("{:?} {}", shared.headers, shared.text.replace(link, "")));
    let followed = at(&format!("/.alpine/open?share={link}"));
    let guest = send(client.get(&followed)).await;
    let guest = guest.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().split_once('.').unwrap().1.to_owned();
    stage.kinds.add("a guest's cookie", guest.as_bytes());
    for wrong in [client.post(&followed), client.get(format!("{followed}x")), client.get(at(&format!("/{link}")))] {
        stage.ask(wrong).await;
    }
    stage.ask(stage.ann().request(Method::GET, &shares)).await.expect(200);
}

fn know_the_password(stage: &mut Stage, session: &str) {
    let found = sandboxes::processes(session).into_iter().find_map(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let password = variables(&environment).find(|(name, _)| *name == PASSWORD_VARIABLE)?.1.to_vec();
        Some(password)
    });
    stage.kinds.add("the password of a session's server", &found.expect("it has one"));
}
