//! What a session serves, shared with others.

use std::time::Duration;

use alpine_tests::{
    api::{Api, Reply, send},
    cli::text,
    until,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::stage::Stage;

const LIMIT: Duration = Duration::from_secs(20);

impl Stage {
    async fn share(&self, api: &Api, body: Value) -> Reply {
        api.send(Method::POST, &format!("/v1/sessions/{}/shares", self.session), &body).await
    }

    /// A link, from its path on, and its share.
    pub async fn link(&self, body: Value) -> (String, String) {
        let reply = self.share(&self.world.api("ann"), body).await;
        let share = reply.expect(201);
        let url = text(share, "url");
        (url.strip_prefix(&self.origin()).unwrap_or_else(|| panic!("{url}")).to_owned(), text(share, "share_id"))
    }

    async fn unshare(&self, share: &str) -> Reply {
        self.world.api("ann").send(Method::DELETE, &format!("/v1/sessions/{}/shares/{share}", self.session), &Value::Null).await
    }

    async fn as_guest(&self, cookie: &str) -> Reply {
        send(self.as_page(Method::GET, "/", cookie)).await
    }
}

pub fn cookie(reply: &Reply) -> String {
    reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_named_are_let_in_until_it_is_taken_back() {
    let stage = Stage::set().await;
    let bob = stage.world.api("bob");
    let ask = || stage.ask(Method::GET, "/").bearer_auth(stage.token("dev", "bob", &[]));
    send(ask()).await.expect(403);
    stage.open(&bob).await.expect(403);
    let (link, share) = stage.link(json!({ "with": ["bob", "bob"] })).await;
    // What was known of him is forgotten within a second.
    until("bob is let in", LIMIT, || async { Some(send(ask()).await).filter(|reply| reply.status == 200) }).await;
    let of_bob = stage.cookie(&bob).await;
    stage.as_guest(&of_bob).await.expect(200);
    // Nobody else by it, and nothing else.
    stage.open(&stage.world.api("carl")).await.expect(403);
    stage.open_port(&bob, Some(3000)).await.expect(403);
    bob.down(&stage.session, json!({})).await.expect(403);
    stage.share(&bob, json!({ "public": true })).await.expect(403);
    assert_eq!(stage.open(&stage.world.api_of("acme", "bob", &[])).await.status, 404, "another tenant's bob");
    // The link alone lets nobody in.
    let by_link = send(stage.ask(Method::GET, &link)).await;
    assert_eq!(by_link.expect(403)["cause"], "this link is for people who are named in it");
    assert!(!by_link.headers.contains_key("set-cookie"));

    let listed = stage.world.api("ann").get(&format!("/v1/sessions/{}/shares", stage.session)).await;
    assert_eq!((&listed.expect(200)["shares"][0]["share_id"], &listed.body["shares"][0]["with"]), (&json!(share), &json!(["bob"])));
    bob.get(&format!("/v1/sessions/{}/shares", stage.session)).await.expect(403);
    assert_eq!(stage.unshare(&share).await.status, 204);
    until("bob is put out", LIMIT, || async { Some(stage.as_guest(&of_bob).await).filter(|reply| reply.status == 403) }).await;
    send(ask()).await.expect(403);
    assert_eq!(stage.unshare(&share).await.expect(404)["error_code"], "ERR_NOT_FOUND");
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
    let log = alpine_tests::audit::log(&stage.world.db, "dev").await;
    alpine_tests::audit::assert_whole(&log);
    let of_shares: Vec<_> = log
        .iter()
        .filter(|entry| entry.action.contains("share"))
        .map(|entry| (entry.actor.as_str(), entry.action.as_str(), entry.outcome.as_str()))
        .collect();
    let expected = [
        ("ann", "session.share", "done"),
        ("bob", "session.share", "denied"),
        ("bob", "session.shares", "denied"),
        ("ann", "session.unshare", "done"),
    ];
    assert_eq!(of_shares, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_public_link_is_a_guest_until_it_is_over() {
    let stage = Stage::set().await;
    let (link, share) = stage.link(json!({ "public": true, "expires_in": 600 })).await;
    let follow = |link: &str| {
        let ask = stage.ask(Method::GET, link).header("sec-fetch-site", "cross-site");
        ask.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")
    };
    let let_in = send(follow(&link)).await;
    assert_eq!((let_in.status.as_u16(), let_in.headers["location"].to_str().unwrap()), (303, "/"), "{}", let_in.text);
    assert_eq!(
        (let_in.headers["cache-control"].as_bytes(), let_in.headers["referrer-policy"].as_bytes()),
        (&b"no-store"[..], &b"no-referrer"[..])
    );
    let set = let_in.headers["set-cookie"].to_str().unwrap();
    let age: u64 = set.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    assert!((1..=600).contains(&age), "{set}");
    let guest = cookie(&let_in);
    stage.as_guest(&guest).await.expect(200);
    send(follow(&link)).await.expect(303);
    // Only followed, by a person.
    let hidden = stage.ask(Method::GET, &link).header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "no-cors");
    send(hidden.header("sec-fetch-dest", "image")).await.expect(403);
    // A link is good for its own host, and as it was made.
    let (port, of_port) = stage.serve_on_a_port().await;
    assert_eq!(send(stage.ask_host(Method::GET, &of_port, &link)).await.status, 401, "{port}");
    let other = stage.another("ann").await;
    assert_eq!(send(stage.ask_host(Method::GET, &super::stage::host(&other), &link)).await.status, 401);
    for torn in [format!("{link}A"), link.replacen('.', "", 1), link[..link.len() - 2].to_owned(), format!("{link}&code=x")] {
        assert_eq!(send(stage.ask(Method::GET, &torn)).await.status, 401, "{torn}");
    }
    // Who is let in by name stays who it is.
    let ann = stage.cookie(&stage.world.api("ann")).await;
    let again = send(follow(&link).header("cookie", &ann)).await;
    assert!(again.status == 303 && !again.headers.contains_key("set-cookie"), "{:?}", again.headers);

    // What the guest has open ends with it.
    let mut stream = stage.as_page(Method::GET, "/events", &guest).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    assert_eq!(stage.unshare(&share).await.status, 204);
    let out =
        until("the guest is put out", LIMIT, || async { Some(stage.as_guest(&guest).await).filter(|reply| reply.status == 403) }).await;
    assert_eq!(out.body["cause"], "this link is good no more");
    assert_eq!(send(follow(&link)).await.status, 403);
    let ended =
        tokio::time::timeout(Duration::from_secs(40), async { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} }).await;
    assert!(ended.is_ok(), "its stream goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_over_lets_nobody_in_and_is_forgotten() {
    let stage = Stage::set().await;
    let (link, _) = stage.link(json!({ "public": true })).await;
    let guest = cookie(&send(stage.ask(Method::GET, &link)).await);
    stage.as_guest(&guest).await.expect(200);
    stage.world.db.execute("UPDATE session_shares SET expires_at = now() - interval '1 s'").await;
    until("it is over", LIMIT, || async { Some(stage.as_guest(&guest).await).filter(|reply| reply.status == 403) }).await;
    assert_eq!(send(stage.ask(Method::GET, &link)).await.status, 403);
    until("it is forgotten", Duration::from_secs(90), || async {
        Some(stage.world.db.count("session_shares").await).filter(|count| *count == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shared_is_refused_and_nothing_is_made() {
    let stage = Stage::set().await;
    let ann = stage.world.api("ann");
    let long = "x".repeat(256);
    for bad in [
        json!({}),
        json!({ "public": true, "with": ["bob"] }),
        json!({ "with": [] }),
        json!({ "with": [""] }),
        json!({ "with": [long] }),
        json!({ "with": (0..33).map(|n| format!("p{n}")).collect::<Vec<_>>() }),
        json!({ "public": true, "port": 0 }),
        json!({ "public": true, "expires_in": 59 }),
        json!({ "public": true, "expires_in": 2_592_001 }),
    ] {
        let reply = stage.share(&ann, bad.clone()).await;
        assert_eq!(reply.expect(422)["error_code"], "ERR_INVALID_REQUEST", "{bad}");
    }
    for (api, status) in [
        (stage.world.api("bob"), 403),
        (stage.world.api_of("acme", "ann", &["alpine.admin"]), 404),
        (stage.world.api_of("dev", "root", &["alpine.admin"]), 201),
    ] {
        assert_eq!(stage.share(&api, json!({ "public": true })).await.status, status);
    }
    for _ in 1..32 {
        stage.share(&ann, json!({ "with": ["bob"] })).await.expect(201);
    }
    assert_eq!(stage.share(&ann, json!({ "with": ["bob"] })).await.expect(429)["error_code"], "ERR_QUOTA_EXCEEDED");
    assert_eq!(stage.world.db.count("session_shares").await, 32);
    stage.down().await;
    stage.world.db.wait_for_state(&stage.session, &["stopped"], Duration::from_secs(60)).await;
    assert_eq!(stage.share(&ann, json!({ "public": true })).await.expect(409)["error_code"], "ERR_OPERATION_CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shares_shows_and_takes_back() {
    let stage = Stage::set().await;
    let ran = async |who: &str, args: &[&str]| stage.world.alpine(who).args(args).run().await;
    let session = stage.session.as_str();
    let shared = ran("ann", &["share", session, "--with", "bob,carl", "--expires", "2h", "--json"]).await.ok();
    assert_eq!(shared["with"], json!(["bob", "carl"]));
    let link = text(&shared, "url");
    let denied = "audit_log WHERE outcome = 'denied'";
    for open in [session, &link] {
        let opened = stage.world.alpine("bob").without("CI").env("BROWSER", "true").args(&["open", open, "--json"]).run().await.ok();
        assert_eq!(opened["opencode_url"], format!("{}/", stage.origin()), "{open}");
        assert_eq!((&opened["browser_opened"], stage.world.db.count(denied).await), (&json!(true), 0), "who is named is no intruder");
    }
    let printed = ran("bob", &["open", session, "--print", "--json"]).await.ok();
    assert_eq!((&printed["opencode_url"], &printed["browser_opened"]), (&json!(format!("{}/", stage.origin())), &json!(false)));
    let way_in = text(&printed, "way_in");
    let way_in = way_in.strip_prefix(&stage.origin()).unwrap();
    assert_eq!(send(stage.ask(Method::GET, way_in)).await.status, 303, "what is printed lets a browser in");
    assert_eq!(ran("dora", &["open", session, "--json"]).await.json()["error_code"], "ERR_SESSION_FORBIDDEN");
    let shares = ran("ann", &["shares", session, "--json"]).await.ok();
    assert_eq!(shares[0]["share_id"], shared["share_id"]);
    ran("ann", &["unshare", session, &text(&shared, "share_id"), "--json"]).await.ok();
    assert_eq!(ran("ann", &["shares", session, "--json"]).await.ok(), json!([]));
    // Whether a link is for whoever has it is not the command's to know: a browser finds out.
    let public = text(&ran("ann", &["share", session, "--public", "--json"]).await.ok(), "url");
    let printed = ran("dora", &["open", &public, "--print", "--json"]).await.ok();
    assert_eq!((&printed["way_in"], &printed["browser_opened"]), (&json!(public), &json!(false)));
    for bad in
        [&["share", session][..], &["share", session, "--public", "--with", "bob"], &["share", session, "--public", "--expires", "31d"]]
    {
        assert_eq!(ran("ann", &[bad, &["--json"]].concat()).await.json()["error_code"], "ERR_INVALID_REQUEST", "{bad:?}");
    }
}
