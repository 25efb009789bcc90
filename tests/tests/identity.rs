//! Who calls, by tokens of a real OpenID provider.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use alpine_tests::{
    REPO, World,
    api::{Api, Reply, send},
    base, bins,
    oidc::Oidc,
    pki::Pki,
    server, until,
};
use serde_json::{Value, json};

/// What a server and its issuers stand on.
struct Ground {
    dir: PathBuf,
    pki: Pki,
}

impl Ground {
    fn prepare() -> Self {
        let dir = base::fresh("identity");
        let pki = Pki::create(&dir);
        Self { dir, pki }
    }

    /// An `[[issuer]]` of this provider with more lines.
    fn issuer(&self, oidc: &Oidc, algorithm: &str, more: &str) -> String {
        format!(
            "[[issuer]]\nissuer = \"{}\"\naudience = \"alpine\"\nalgorithms = [\"{algorithm}\"]\njwks_url = \"{}\"\nca_file = \"ca.pem\"\n{more}\n",
            oidc.issuer,
            oidc.jwks_uri()
        )
    }

    fn file(&self, issuers: &[String]) -> String {
        let path = self.dir.join("issuers.toml");
        std::fs::write(&path, issuers.concat()).unwrap();
        path.display().to_string()
    }

    /// A server that trusts these issuers and no other.
    async fn world(&self, issuers: &[String]) -> World {
        let without = ["ALPINE_JWT_ISSUER", "ALPINE_JWT_ALGORITHM", "ALPINE_JWT_KEY_FILE"].map(|name| (name, ""));
        let file = self.file(issuers);
        World::with(&[&without[..], &[("ALPINE_ISSUERS_FILE", file.as_str())]].concat()).await
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        base::remove(&self.dir);
    }
}

fn api(world: &World, token: &str) -> Api {
    Api::new(world.pki.client(), world.server.base(), token.to_owned())
}

async fn list(world: &World, token: &str) -> Reply {
    api(world, token).get("/v1/sessions").await
}

/// Sent where Cloudflare Access puts it.
async fn asserted(world: &World, token: &str) -> Reply {
    let request = world.pki.client().get(format!("{}/v1/sessions", world.server.base()));
    send(request.header("Cf-Access-Jwt-Assertion", token)).await
}

fn nobody(reply: &Reply, what: &str) {
    assert_eq!(reply.status.as_u16(), 401, "{what}: {}", reply.text);
    assert_eq!(reply.body["error_code"], "ERR_CALLER_IDENTITY_REQUIRED", "{what}");
    assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"alpine\", error=\"invalid_token\"", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_real_provider_is_its_person_and_a_wrong_one_is_nobodys() {
    let ground = Ground::prepare();
    let (oidc, stranger) = (Oidc::start(&ground.pki).await, Oidc::start(&ground.pki).await);
    let world = ground.world(&[ground.issuer(&oidc, "ES256", "")]).await;
    let mint = |more: Value| oidc.mint("ann", "acme", &[], more);
    list(&world, &mint(json!({})).await).await.expect(200);
    list(&world, &mint(json!({"audience": ["other", "alpine"]})).await).await.expect(200);
    list(&world, &mint(json!({"ttl": -20})).await).await.expect(200);
    for (what, more) in [
        ("expired a minute ago", json!({"ttl": -60})),
        ("expired, by more than clocks may differ", json!({"ttl": -31})),
        ("another audience", json!({"audience": "other"})),
        ("another client's audience", json!({"audience": oidc.client_id})),
        ("several other audiences", json!({"audience": ["other", "alpine-cli"]})),
        ("no audience", json!({"claims": {"aud": null}})),
        ("another issuer's name", json!({"claims": {"iss": stranger.issuer}})),
        ("almost the issuer's name", json!({"claims": {"iss": format!("{}/", oidc.issuer)}})),
        ("no subject", json!({"claims": {"sub": null}})),
        ("no tenant", json!({"claims": {"tenant": null}})),
        ("not valid yet", json!({"claims": {"nbf": 4_000_000_000_u32}})),
        ("not an access token", json!({"header": {"typ": "logout+jwt"}})),
        ("a key by URL", json!({"header": {"jku": oidc.jwks_uri()}})),
    ] {
        nobody(&list(&world, &mint(more).await).await, what);
    }
    let strangers = stranger.mint("ann", "acme", &[], json!({})).await;
    nobody(&list(&world, &strangers).await, "a provider that is not trusted");
    let posing = stranger.mint("ann", "acme", &[], json!({"claims": {"iss": oidc.issuer}})).await;
    nobody(&list(&world, &posing).await, "another provider's key under the same key id");
    let good = mint(json!({})).await;
    assert_eq!(asserted(&world, &good).await.expect(401)["error_code"], "ERR_CALLER_IDENTITY_REQUIRED", "no issuer is Cloudflare");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_each_with_its_own_algorithm_and_claims_at_once() {
    let ground = Ground::prepare();
    let one = Oidc::start(&ground.pki).await;
    let two = Oidc::with(&ground.pki, json!({"algorithm": "RS256"})).await;
    let more = "tenant_claim = \"org\"\nroles_claim = \"groups\"\ncloudflare = true";
    let file = ground.file(&[ground.issuer(&one, "ES256", ""), ground.issuer(&two, "RS256", more)]);
    // And beside them the one of the settings.
    let world = World::with(&[("ALPINE_ISSUERS_FILE", &file)]).await;
    world.api("ann").get("/v1/sessions").await.expect(200);

    let ann = one.mint("ann", "acme", &[], json!({"claims": {"org": "wrong", "groups": ["alpine.admin"]}})).await;
    let bob = two.mint("bob", "wrong", &["alpine.admin"], json!({"claims": {"org": "zebra", "groups": []}})).await;
    for (token, principal, tenant) in [(&ann, "ann", "acme"), (&bob, "bob", "zebra")] {
        api(&world, token).up("k", REPO, "main").await.expect(202);
        let stored: String = world.db.one(&format!("SELECT tenant_id FROM sessions WHERE principal_id = '{principal}'")).await;
        assert_eq!(stored, tenant);
        let all = api(&world, token).get("/v1/sessions?owner=all").await;
        assert_eq!(all.status.as_u16(), 403, "{principal} is no admin by the other issuer's claim: {}", all.text);
    }
    let admin = two.mint("cy", "", &[], json!({"claims": {"org": "zebra", "groups": ["x", "alpine.admin"]}})).await;
    let seen = api(&world, &admin).get("/v1/sessions?owner=all").await;
    assert_eq!(seen.expect(200)["sessions"].as_array().map(Vec::len), Some(1), "{}", seen.text);

    // Only the issuer that is configured so is believed in Cloudflare's header.
    asserted(&world, &bob).await.expect(200);
    nobody(&asserted(&world, &ann).await, "the other issuer's token in Cloudflare's header");
    a_page_of_another_site_asks_in_nobodys_name(&world, &bob).await;
    // An issuer's algorithm is its own: the other one's key under its name is nothing.
    let crossed = two.mint("ann", "acme", &[], json!({"claims": {"iss": one.issuer}})).await;
    nobody(&list(&world, &crossed).await, "RS256 in the name of the issuer of ES256");
}

/// Cloudflare's header comes with every request of a browser that has signed in, whichever page makes it: here a `down`, which needs no
/// body and so no consent of the server's.
async fn a_page_of_another_site_asks_in_nobodys_name(world: &World, token: &str) {
    let own_sessions = api(world, token).get("/v1/sessions").await;
    let session = own_sessions.expect(200)["sessions"][0]["session_id"].as_str().unwrap();
    let base = world.server.base();
    let own = base.as_str();
    let down = async |sent: &[(&str, &str)]| {
        let request = world.pki.client().post(format!("{own}/v1/sessions/{session}/down")).header("Cf-Access-Jwt-Assertion", token);
        send(sent.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let operations = "SELECT count(*) FROM operations WHERE kind = 'down'";
    for sent in [
        &[("Origin", "https://evil.test")][..],
        &[("Origin", "null")],
        &[("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", own), ("Sec-Fetch-Site", "same-site")],
        &[("Origin", own), ("Origin", own)],
    ] {
        let refused = down(sent).await;
        assert_eq!(refused.expect(403)["error_code"], "ERR_FORBIDDEN", "{sent:?}");
        assert_eq!(world.db.one::<i64>(operations).await, 0, "{sent:?}");
    }
    // Who names a token of its own is asked for nothing else.
    let bearer = format!("Bearer {token}");
    for sent in [
        &[("Authorization", bearer.as_str()), ("Origin", "https://evil.test"), ("Sec-Fetch-Site", "cross-site")][..],
        &[],
        &[("Origin", own)],
        &[("Origin", own), ("Sec-Fetch-Site", "same-origin")],
    ] {
        // Whatever there is left to stop.
        let heard = down(sent).await;
        assert!(matches!(heard.status.as_u16(), 200 | 202 | 409), "{sent:?}: {}", heard.text);
    }
    assert_eq!(world.db.one::<i64>(operations).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_known_at_once_and_the_old_one_still() {
    let ground = Ground::prepare();
    let oidc = Oidc::start(&ground.pki).await;
    let world = ground.world(&[ground.issuer(&oidc, "ES256", "")]).await;
    let old = oidc.mint("ann", "acme", &[], json!({})).await;
    list(&world, &old).await.expect(200);
    // The old one is gone from the set, and the set is next fetched in five minutes.
    oidc.rotate(false).await;
    let new = oidc.mint("ann", "acme", &[], json!({})).await;
    list(&world, &new).await.expect(200);
    list(&world, &old).await.expect(200);
    assert!(world.server.metric("alpine_jwks_refreshes_total", &["outcome=\"fetched\""]).await.unwrap() >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_nobodys_after_its_grace() {
    let ground = Ground::prepare();
    let oidc = Oidc::start(&ground.pki).await;
    let world = ground.world(&[ground.issuer(&oidc, "ES256", "refresh_seconds = 1\nkeep_removed_keys_seconds = 4")]).await;
    let old = oidc.mint("ann", "acme", &[], json!({})).await;
    list(&world, &old).await.expect(200);
    let revoked = Instant::now();
    oidc.rotate(false).await;
    let new = oidc.mint("ann", "acme", &[], json!({})).await;
    until("the new key is known", Duration::from_secs(5), || async { (list(&world, &new).await.status == 200).then_some(()) }).await;
    list(&world, &old).await.expect(200);
    until("the old key is gone", Duration::from_secs(20), || async { (list(&world, &old).await.status == 401).then_some(()) }).await;
    assert!(revoked.elapsed() >= Duration::from_secs(4), "kept through its grace, not {:?}", revoked.elapsed());
    nobody(&list(&world, &old).await, "the revoked key");
    list(&world, &new).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_are_no_stampede_and_a_provider_that_is_gone_breaks_nobody() {
    let ground = Ground::prepare();
    let mut oidc = Oidc::start(&ground.pki).await;
    let world = ground.world(&[ground.issuer(&oidc, "ES256", "")]).await;
    let known = oidc.mint("ann", "acme", &[], json!({})).await;
    list(&world, &known).await.expect(200);
    let mut strangers = Vec::new();
    for number in 0..60 {
        strangers.push(oidc.mint("eve", "acme", &[], json!({"header": {"kid": format!("stranger-{number}")}})).await);
    }
    oidc.set(json!({"jwksDelay": 1})).await;
    let before = oidc.requests("/jwks").await.len();
    let world = std::sync::Arc::new(world);
    let flood: Vec<_> = strangers
        .iter()
        .cloned()
        .map(|token| {
            let world = std::sync::Arc::clone(&world);
            tokio::spawn(async move { list(&world, &token).await })
        })
        .collect();
    for answer in flood {
        nobody(&answer.await.unwrap(), "an unknown key");
    }
    assert_eq!(oidc.requests("/jwks").await.len() - before, 1, "60 unknown keys, one fetch");

    oidc.stop();
    for _ in 0..5 {
        list(&world, &known).await.expect(200);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = Instant::now();
    nobody(&list(&world, &strangers[0]).await, "an unknown key of a provider that is gone");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let failed = world.server.metric("alpine_jwks_refreshes_total", &["outcome=\"failed\""]).await;
    assert_eq!(failed, Some(1.0), "it was asked for, once");
    list(&world, &known).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_its_issuer_and_knows_its_people_when_it_comes() {
    let ground = Ground::prepare();
    let oidc = Oidc::with(&ground.pki, json!({"jwksStatus": 503})).await;
    let world = ground.world(&[ground.issuer(&oidc, "ES256", "refresh_seconds = 1")]).await;
    let token = oidc.mint("ann", "acme", &[], json!({})).await;
    let reply = list(&world, &token).await;
    assert_eq!(reply.expect(503)["error_code"], "ERR_UNAVAILABLE");
    assert!(reply.headers.contains_key("retry-after") && !reply.headers.contains_key("www-authenticate"));
    nobody(&list(&world, &oidc.mint("ann", "acme", &[], json!({"ttl": -60})).await).await, "expired, whatever the keys are");
    oidc.set(json!({"jwksStatus": 0})).await;
    until("the keys are there", Duration::from_secs(10), || async { (list(&world, &token).await.status == 200).then_some(()) }).await;
    assert!(!world.server.log_text().contains(&token), "no token in the log");
}

/// `alpine-server check-config` with these settings; whether it likes them, and all that it says.
fn check(ground: &Ground, settings: &[(&str, &str)]) -> (bool, String) {
    let key = ground.dir.join("credential.key");
    std::fs::write(&key, [7; 32]).unwrap();
    let mut command = Command::new(bins::path("alpine-server"));
    for name in server::foreign_settings() {
        command.env_remove(name);
    }
    command.arg("check-config").env("DATABASE_URL", "postgres://u@h/d").env("ALPINE_CREDENTIAL_KEY_FILE", key);
    let output = command.envs(settings.iter().copied()).output().unwrap();
    (output.status.success(), [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
}

#[test]
fn check_config_shows_the_issuers_and_refuses_to_have_none() {
    const SECRET: &str = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t";
    let ground = Ground::prepare();
    std::fs::write(ground.dir.join("hs.key"), SECRET).unwrap();
    let issuer = "[[issuer]]\nissuer = \"ci\"\naudience = \"alpine\"\nalgorithms = \"HS256\"\nkey_file = \"hs.key\"\n".to_owned();
    let file = ground.file(std::slice::from_ref(&issuer));
    let good = format!("{file}.good");
    std::fs::copy(&file, &good).unwrap();
    let [cert, key] = [&ground.pki.cert, &ground.pki.key].map(|path| path.display().to_string());
    let (fine, said) = check(&ground, &[("ALPINE_ISSUERS_FILE", &file)]);
    assert!(fine && said.contains("issuer ci: audience=alpine algorithms=HS256 keys=[redacted]"), "{said}");
    assert!(said.contains(&format!("ALPINE_ISSUERS_FILE={file} (environment)")) && !said.contains("s3cr3t"), "{said}");
    let (fine, said) = check(&ground, &[("ALPINE_ISSUERS_FILE", &file), ("ALPINE_SESSION_IDLE_SECONDS", "3600")]);
    assert!(!fine && said.contains("set ALPINE_APPS_DOMAIN, or take away ALPINE_SESSION_IDLE_SECONDS"), "{said}");
    let (fine, said) = check(&ground, &[("ALPINE_ISSUERS_FILE", &file), ("ALPINE_APPS_PATHS", "true")]);
    assert!(!fine && said.contains("set ALPINE_APPS_DOMAIN, or take away ALPINE_APPS_PATHS"), "{said}");
    let (fine, said) = check(&ground, &[]);
    assert!(!fine && said.contains("--jwt-issuer"), "{said}");
    let (fine, said) = check(&ground, &[("ALPINE_JWT_ISSUER", "i")]);
    assert!(!fine && said.contains("--jwt-algorithm"), "{said}");
    let file = ground.file(&[issuer, format!("secret = \"{SECRET}\"\n")]);
    let (fine, said) = check(&ground, &[("ALPINE_ISSUERS_FILE", &file)]);
    assert!(!fine && said.contains("there is no field `secret` in issuer 1") && !said.contains("s3cr3t"), "{said}");
    for (name, value, why) in [
        ("ALPINE_CREDENTIAL_KEY_FILE", "/nonexistent/key", "/nonexistent/key"),
        ("ALPINE_CREDENTIAL_OLD_KEY_FILES", "/nonexistent/old", "/nonexistent/old"),
        ("ALPINE_TLS_CERT", "/nonexistent/cert", "/nonexistent/cert"),
        ("ALPINE_GIT_DENY_HOSTS", "https://x", "ALPINE_GIT_ALLOW_HOSTS"),
        ("ALPINE_GIT_REWRITE", "x", "ALPINE_GIT_REWRITE"),
    ] {
        let settings = [("ALPINE_ISSUERS_FILE", good.as_str()), ("ALPINE_TLS_CERT", &cert), ("ALPINE_TLS_KEY", &key), (name, value)];
        let (fine, said) = check(&ground, &settings);
        let told = ["error", "because"].iter().any(|word| said.contains(&format!("{word}: {why}")));
        assert!(!fine && told, "{name}: {said}");
    }
    let served = [("ALPINE_ISSUERS_FILE", good.as_str()), ("ALPINE_TLS_CERT", &cert), ("ALPINE_TLS_KEY", &key)];
    let (fine, said) = check(&ground, &served);
    assert!(fine, "{said}");
    for url in ["u:s3cr3t@h/d", "postgres://u:s3cr3t@h:port/d"] {
        let (fine, said) = check(&ground, &[&served[..], &[("DATABASE_URL", url)]].concat());
        assert!(!fine && said.contains("next: check DATABASE_URL") && !said.contains("s3cr3t"), "{said}");
    }
}
