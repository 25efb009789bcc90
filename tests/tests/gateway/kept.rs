//! With which connection to the session's program a request goes on.

use std::{collections::BTreeSet, time::Duration};

use alpine_tests::api::send;
use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::{shares::cookie, stage::Stage};

/// The connection that the program saw it come on, and the how manieth request of that it was.
async fn line(request: RequestBuilder) -> (u16, u32) {
    let reply = send(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let (port, number) = reply.text.split_once(' ').unwrap_or_else(|| panic!("another answer: {}", reply.text));
    (port.parse().unwrap(), number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visitor_goes_on_with_a_connection_that_is_nobody_elses() {
    let stage = Stage::set().await;
    let ann = |method, path: &str| stage.as_ann(method, path);
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let root = stage.token("dev", "root", &["alpine.admin"]);
    let (first, number) = line(ann(Method::GET, "/line")).await;
    assert_eq!(number, 1);
    // However they show who they are, they are the same; and of an answer without a length the end is seen.
    assert_eq!(line(stage.as_page(Method::GET, "/line/chunked", &cookie)).await, (first, 2));
    send(ann(Method::HEAD, "/line")).await;
    assert_eq!(line(ann(Method::GET, "/line")).await, (first, 4));
    // What may not be asked twice has one of its own, and leaves none.
    let (posted, number) = line(ann(Method::POST, "/line").body("x")).await;
    assert!(posted != first && number == 1, "{posted} {number}");
    let (other, number) = line(stage.ask(Method::GET, "/line").bearer_auth(root)).await;
    assert!(![first, posted].contains(&other) && number == 1, "another principal's: {other} {number}");
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let (later, number) = line(ann(Method::GET, "/line")).await;
    assert!(![first, posted].contains(&later) && number == 1, "it was kept for ever: {later} {number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_have_one_link_are_not_one_visitor() {
    let stage = Stage::set().await;
    let (link, _) = stage.link(json!({ "public": true, "expires_in": 3600 })).await;
    let follow = stage.ask(Method::GET, &link).header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document");
    let cookie = cookie(&send(follow).await);
    let mut ports = BTreeSet::new();
    for _ in 0..3 {
        let (port, number) = line(stage.as_page(Method::GET, "/line", &cookie)).await;
        assert!(ports.insert(port) && number == 1, "{port} {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_at_one_time_shares_none() {
    let stage = Stage::set().await;
    let all = futures_util::future::join_all((0..4).map(|_| send(stage.as_ann(Method::GET, "/slow")))).await;
    assert!(all.iter().all(|reply| reply.text == "slow"));
    let (one, two) = tokio::join!(line(stage.as_ann(Method::GET, "/line")), line(stage.as_ann(Method::GET, "/line")));
    assert_ne!(one.0, two.0);
    assert_eq!((one.1, two.1), (2, 2), "both were left by those before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_program_gives_up_costs_nobody_an_answer() {
    let stage = Stage::set().await;
    let ask = |path: &str| line(stage.as_ann(Method::GET, path));
    let (closed, _) = ask("/line/closes").await;
    let (next, number) = ask("/line").await;
    assert!(next != closed && number == 1);
    // It gives up what it was asked on it, too.
    assert_eq!(ask("/line").await, (next, 2));
    let (new, number) = ask("/line/once").await;
    assert!(new != next && number == 1, "asked again on a new one: {new} {number}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_says_beyond_its_answer_is_in_no_other() {
    let stage = Stage::set().await;
    for _ in 0..10 {
        let (more, _) = line(stage.as_ann(Method::GET, "/line/more")).await;
        let (next, number) = line(stage.as_ann(Method::GET, "/line")).await;
        assert!(next != more && number == 1, "{next} {number}");
    }
}
