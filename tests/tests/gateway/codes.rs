//! Codes and cookies of browsers.

use alpine_tests::{api::send, until};
use reqwest::Method;

use super::stage::{COOKIE, Stage, host};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_changed_for_a_cookie_once_and_leaves_nothing_behind() {
    let stage = Stage::set().await;
    let way_in = stage.way_in(&stage.world.api("ann")).await;
    let reply = send(stage.ask(Method::GET, &way_in)).await;
    assert_eq!(reply.status, 303);
    let header = |name: &str| reply.headers[name].to_str().unwrap();
    assert_eq!((header("location"), header("referrer-policy"), header("cache-control")), ("/", "no-referrer", "no-store"));
    let (cookie, attributes) = header("set-cookie").split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=28800; Secure; HttpOnly; SameSite=Lax");
    send(stage.as_page(Method::GET, "/", cookie)).await.expect(200);
    // Spent.
    send(stage.ask(Method::GET, &way_in)).await.expect(401);
    let code = way_in.split_once("code=").unwrap().1;
    assert_eq!(stage.world.db.count("session_codes").await, 0);
    let log = stage.world.server.log_text();
    assert!(!log.contains(code) && !log.contains(cookie.split_once('=').unwrap().1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_redeem_one_code_one_is_let_in() {
    let stage = Stage::set().await;
    let way_in = stage.way_in(&stage.world.api("ann")).await;
    let all = (0..12).map(|_| {
        let request = stage.ask(Method::GET, &way_in);
        tokio::spawn(async move { send(request).await.status.as_u16() })
    });
    let mut statuses = Vec::new();
    for one in all.collect::<Vec<_>>() {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses.iter().filter(|status| **status == 401).count()), (303, 11), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_another_reason_spends_no_code() {
    let stage = Stage::set().await;
    let ann = stage.world.api("ann");
    let way_in = stage.way_in(&ann).await;
    let other = stage.another("ann").await;
    // On another session's host, by another page's link, with another method, cut, and twice.
    send(stage.ask_host(Method::GET, &host(&other), &way_in)).await.expect(401);
    send(stage.ask(Method::GET, &way_in).header("sec-fetch-site", "cross-site")).await.expect(403);
    send(stage.ask(Method::GET, &way_in).header("sec-fetch-site", "same-site")).await.expect(403);
    send(stage.ask(Method::POST, &way_in)).await.expect(405);
    send(stage.ask(Method::GET, &way_in[..way_in.len() - 1])).await.expect(401);
    send(stage.ask(Method::GET, &format!("{way_in}&code=x"))).await.expect(401);
    send(stage.ask(Method::GET, "/.alpine/open")).await.expect(401);
    send(stage.ask(Method::GET, "/.alpine/other")).await.expect(404);
    assert_eq!(send(stage.ask(Method::GET, &way_in).header("sec-fetch-site", "none")).await.status, 303);
    // A cookie is no code, and a code no cookie.
    let way_in = stage.way_in(&ann).await;
    let code = way_in.split_once("code=").unwrap().1;
    send(stage.as_page(Method::GET, "/", &format!("{COOKIE}={code}"))).await.expect(401);
    let cookie = stage.cookie(&ann).await;
    let (_, value) = cookie.split_once('=').unwrap();
    send(stage.ask(Method::GET, &format!("/.alpine/open?code={value}"))).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_a_minute() {
    let stage = Stage::set().await;
    let way_in = stage.way_in(&stage.world.api("ann")).await;
    stage.world.db.execute("UPDATE session_codes SET expires_at = now() - interval '1 s'").await;
    send(stage.ask(Method::GET, &way_in)).await.expect(401);
    // What nobody came for is swept.
    until("it is swept", std::time::Duration::from_secs(30), || async {
        Some(stage.world.db.count("session_codes").await).filter(|count| *count == 0)
    })
    .await;
    stage.way_in(&stage.world.api("ann")).await;
    let (count, good): (i64, bool) = (
        stage.world.db.count("session_codes").await,
        stage
            .world
            .db
            .one("SELECT bool_and(expires_at BETWEEN now() + interval '50 s' AND now() + interval '60 s') FROM session_codes")
            .await,
    );
    assert_eq!((count, good), (1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_use_the_session_gets_no_code_for_it() {
    let stage = Stage::set().await;
    assert_eq!(stage.open(&stage.world.api("bob")).await.expect(403)["error_code"], "ERR_SESSION_FORBIDDEN");
    let stranger = stage.world.api_of("acme", "root", &["alpine.admin"]);
    assert_eq!(stage.open(&stranger).await.expect(404)["error_code"], "ERR_SESSION_NOT_FOUND");
    assert_eq!(stage.world.db.count("session_codes").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_of_one_session_and_one_principal_until_its_end() {
    let stage = Stage::with(&[("ALPINE_APPS_COOKIE_SECONDS", "10")]).await;
    let ann = stage.world.api("ann");
    let other = stage.another("ann").await;
    let cookie = stage.cookie(&ann).await;
    let elsewhere = stage.ask_host(Method::GET, &host(&other), "/").header("cookie", &cookie);
    send(elsewhere).await.expect(401);
    for forged in [format!("{COOKIE}=x"), format!("{COOKIE}="), format!("{cookie}A"), cookie.replacen('.', "..", 1), cookie.to_uppercase()]
    {
        send(stage.as_page(Method::GET, "/", &forged)).await.expect(401);
    }
    // A second one of the name, which only a forger sets, takes nothing from the first.
    send(stage.as_page(Method::GET, "/", &format!("{COOKIE}=x; {cookie}"))).await.expect(200);
    // And what is no text beside it neither.
    let strange = reqwest::header::HeaderValue::from_bytes(format!("x=\u{e9}; {cookie}").as_bytes()).unwrap();
    send(stage.ask(Method::GET, "/").header("cookie", strange)).await.expect(200);
    // Nor a token that is the page's own affair.
    send(stage.as_page(Method::GET, "/", &cookie).bearer_auth("of-the-app")).await.expect(200);
    // Not asked all the while: an answer may be cut off by that very moment.
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    send(stage.as_page(Method::GET, "/", &cookie)).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_has_nothing_of_the_cookie() {
    let stage = Stage::set().await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let asked = async |method: Method, headers: &[(&str, &str)]| {
        let request = headers
            .iter()
            .fold(stage.ask(method, "/echo").header("cookie", &cookie), |request, (name, value)| request.header(*name, *value));
        send(request).await.status.as_u16()
    };
    let (own, sibling) = (stage.origin(), format!("https://{}:{}", host("ses_019ab1c24d3e7f508192a3b4c5d6e7f8"), stage.world.server.port));
    let api = format!("https://127.0.0.1:{}", stage.world.server.port);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        assert_eq!(asked(method.clone(), &[("origin", &own)]).await, 200, "{method}");
        assert_eq!(asked(method.clone(), &[("sec-fetch-site", "same-origin")]).await, 200, "{method}");
        for origin in [sibling.as_str(), &api, "null", "https://evil.example"] {
            assert_eq!(asked(method.clone(), &[("origin", origin)]).await, 403, "{method} {origin}");
        }
        assert_eq!(asked(method.clone(), &[("sec-fetch-site", "same-site")]).await, 403, "{method}");
        assert_eq!(asked(method.clone(), &[]).await, 403, "{method} says nothing");
    }
    assert_eq!(asked(Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors"), ("origin", &sibling)]).await, 403);
    assert_eq!(
        asked(Method::GET, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]).await,
        403
    );
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(asked(Method::GET, &link).await, 200, "a link is followed");
    assert_eq!(asked(Method::POST, &link).await, 403, "and a form is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_and_passwords_outlive_a_rotation_of_the_key_as_long_as_the_old_one_opens() {
    let mut stage = Stage::set().await;
    let cookie = stage.cookie(&stage.world.api("ann")).await;
    let old = stage.world.dir.join("credential.key").display().to_string();
    let new = stage.world.dir.join("new.key");
    std::fs::write(&new, [7; 32]).unwrap();
    stage.world.server.kill();
    stage.world.server.configure("ALPINE_CREDENTIAL_KEY_FILE", Some(new.display().to_string()));
    stage.world.server.configure("ALPINE_CREDENTIAL_OLD_KEY_FILES", Some(old.clone()));
    stage.world.server.start_again().await;
    send(stage.as_page(Method::GET, "/", &cookie)).await.expect(200);
    let rotated = std::process::Command::new(alpine_tests::bins::path("alpine-server"))
        .args(["rotate-credentials", "--database-url", &stage.world.db.url, "--credential-old-key-files", &old, "--credential-key-file"])
        .arg(&new)
        .output()
        .unwrap();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    stage.world.server.kill();
    stage.world.server.configure("ALPINE_CREDENTIAL_OLD_KEY_FILES", None);
    stage.world.server.start_again().await;
    send(stage.as_page(Method::GET, "/", &cookie)).await.expect(401);
    send(stage.as_ann(Method::GET, "/")).await.expect(200);
}
