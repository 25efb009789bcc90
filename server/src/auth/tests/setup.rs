//! What issuers may be configured to be.

use secrecy::SecretSlice;

use super::{fixtures::*, *};

#[test]
fn issuers_that_cannot_work_are_refused_at_start() {
    let start = |issuer: Issuer| authenticator(vec![issuer], Arc::new(Fixed(0.0))).map(|_| ());
    let secret = |bytes: &[u8]| KeySource::Secret(SecretSlice::from(bytes.to_vec()));
    let pem = |name: &str| KeySource::PemFile(KEYS.path(name));
    let jwks = |name: &str| KeySource::JwksFile(KEYS.path(name));
    assert!(matches!(start(issuer("x", Algorithm::Hs256, secret(b"short"))), Err(SetupError::ShortSecret { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, secret(SECRET))), Err(SetupError::WrongKind { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Hs256, pem("rsa.pem"))), Err(SetupError::WrongKind { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, pem("ec.pem"))), Err(SetupError::Pem { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, pem("absent.pem"))), Err(SetupError::Read { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Rs256, jwks("rsa.pem"))), Err(SetupError::Jwks { source: JwksError::Json(_), .. })));
    assert!(matches!(start(issuer("x", Algorithm::EdDsa, jwks("set.json"))), Err(SetupError::NoKey { .. })));
    assert!(matches!(start(issuer("x", Algorithm::Es256, jwks("empty.json"))), Err(SetupError::NoKey { .. })));
    assert!(matches!(
        start(issuer("x", Algorithm::Es256, jwks("twice.json"))),
        Err(SetupError::Jwks { source: JwksError::KeyIdTwice(_), .. })
    ));
    let tenant = Issuer { default_tenant: Some(" ".into()), ..issuer("x", Algorithm::Hs256, secret(SECRET)) };
    assert!(matches!(start(tenant), Err(SetupError::DefaultTenant { .. })));
    let blank = Issuer { audiences: vec![String::new()], ..issuer("x", Algorithm::Hs256, secret(SECRET)) };
    assert!(matches!(start(blank), Err(SetupError::Blank)));
    let mixed = Issuer { algorithms: vec![Algorithm::Hs256, Algorithm::Rs256], ..issuer("x", Algorithm::Hs256, secret(SECRET)) };
    assert!(matches!(start(mixed), Err(SetupError::WrongKind { .. })));
    let twice = vec![issuer("x", Algorithm::Hs256, secret(SECRET)), issuer("x", Algorithm::Hs256, secret(SECRET))];
    assert!(matches!(authenticator(twice, Arc::new(Fixed(0.0))), Err(SetupError::Twice { .. })));
}

#[test]
fn a_jwks_url_is_https_or_this_machines_http_where_that_is_allowed() {
    let start = |url: &str, allow_http| {
        let source = JwksUrl { allow_http, ..url_of(url) };
        authenticator(vec![issuer("x", Algorithm::Rs256, KeySource::JwksUrl(source))], Arc::new(Fixed(0.0))).map(|_| ())
    };
    assert!(start("https://issuer.test/jwks", false).is_ok());
    for local in ["http://127.0.0.1:1/jwks", "http://localhost/jwks", "http://[::1]/jwks"] {
        assert!(start(local, true).is_ok(), "{local}");
        assert!(matches!(start(local, false), Err(SetupError::Url { .. })), "{local}");
    }
    for bad in
        ["http://issuer.test/jwks", "http://localhost.test/", "file:///etc/jwks", "https://u:p@issuer.test/", "https://x/#y", "x", ""]
    {
        assert!(matches!(start(bad, true), Err(SetupError::Url { .. })), "{bad}");
    }
    let source = JwksUrl { ca_file: Some(KEYS.path("absent.pem")), ..url_of("https://issuer.test/jwks") };
    let absent = authenticator(vec![issuer("x", Algorithm::Rs256, KeySource::JwksUrl(source))], Arc::new(Fixed(0.0)));
    assert!(matches!(absent, Err(SetupError::Read { .. })));
    let shared = issuer("x", Algorithm::Hs256, KeySource::JwksUrl(url_of("https://issuer.test/jwks")));
    assert!(matches!(authenticator(vec![shared], Arc::new(Fixed(0.0))), Err(SetupError::WrongKind { .. })));
}

fn read(text: &str) -> Result<Vec<Issuer>, FileError> {
    let path = KEYS.path(&format!("issuers-{}.toml", uuid::Uuid::new_v4()));
    std::fs::write(&path, text).unwrap();
    Issuer::read_file(&path)
}

#[test]
fn a_file_names_issuers_with_all_that_is_theirs() {
    std::fs::write(KEYS.path("hs.key"), SECRET).unwrap();
    let text = r#"
        [[issuer]]
        issuer = "https://a.test"
        audience = ["alpine", "alpine-cli"]
        algorithms = ["RS256", "ES256"]
        jwks_url = "https://a.test/jwks"
        tenant_claim = "org"
        roles_claim = "groups"
        cloudflare = true
        device_client_id = "cli"
        device_scope = "openid"
        resource = "urn:alpine"
        keep_removed_keys_seconds = 5
        refresh_seconds = 7

        [[issuer]]
        issuer = "https://b.test"
        audience = "alpine"
        algorithms = "HS256"
        key_file = "hs.key"
        default_tenant = "everyone"
    "#;
    let issuers = read(text).unwrap();
    let [a, b] = issuers.as_slice() else { panic!("{issuers:?}") };
    assert_eq!((a.audiences.len(), a.algorithms.as_slice()), (2, [Algorithm::Rs256, Algorithm::Es256].as_slice()));
    assert_eq!((a.tenant_claim.as_str(), a.roles_claim.as_str(), a.cloudflare), ("org", "groups", true));
    assert!(matches!(&a.keys, KeySource::JwksUrl(url) if url.refresh.as_secs() == 7 && url.keep_removed.as_secs() == 5 && !url.allow_http));
    assert!(matches!(&b.keys, KeySource::Secret(_)));
    assert_eq!((b.tenant_claim.as_str(), b.roles_claim.as_str(), b.cloudflare), ("tenant", "roles", false));
    let shown = format!("{a}\n{b}\n{b:?}");
    assert!(shown.contains("https://a.test/jwks (every 7 s, removed ones kept 5 s)") && shown.contains("keys=[redacted]"), "{shown}");
    assert!(!shown.contains(std::str::from_utf8(SECRET).unwrap()));
    let authenticator = authenticator(issuers, Arc::new(Fixed(NOW as f64))).unwrap();
    let hints: Vec<_> = authenticator.login_hints().collect();
    assert_eq!(hints.len(), 1);
    assert_eq!((hints[0].issuer.as_str(), hints[0].device_client_id.as_deref()), ("https://a.test", Some("cli")));
    assert_eq!(hints[0].resource.as_deref(), Some("urn:alpine"));
}

#[test]
fn a_file_that_cannot_be_right_is_refused_by_name_and_never_repeated() {
    const GOOD: &str = "[[issuer]]\nissuer = \"https://a.test\"\naudience = \"alpine\"\nalgorithms = [\"RS256\"]\nkey_file = \"rsa.pem\"\n";
    assert!(read(GOOD).is_ok());
    let more = |line: &str| format!("{GOOD}{line}\n");
    let but = |from: &str, to: &str| GOOD.replace(from, to);
    for (text, named) in [
        (String::new(), "no [[issuer]]"),
        ("issuer = \"s3cret\"".to_owned(), "no [[issuer]]"),
        ("[[issuer]]\ns3cret".to_owned(), "line 2"),
        (format!("s3cret = 1\n{GOOD}"), "beside [[issuer]]"),
        (more("secret = \"s3cret\""), "`secret` in issuer 1"),
        (more("cloudflare = \"s3cret\""), "issuer 1: `cloudflare`"),
        (more("tenant_claim = 5"), "`tenant_claim`"),
        (more("default_tenant = \"\""), "`default_tenant`"),
        (more("jwks_url = \"https://s3cret.test\""), "`key_file`"),
        (more("refresh_seconds = 5"), "`refresh_seconds`"),
        (more("allow_http = true"), "`allow_http`"),
        (but("key_file = \"rsa.pem\"", ""), "`key_file`"),
        (but("key_file = \"rsa.pem\"", "jwks_url = \"https://a.test\"\nrefresh_seconds = 0"), "`refresh_seconds`"),
        (but("key_file = \"rsa.pem\"", "jwks_url = \"https://a.test\"\nkeep_removed_keys_seconds = -1"), "`keep_removed_keys_seconds`"),
        (but("key_file = \"rsa.pem\"", "key_file = \"absent.pem\""), "absent.pem"),
        (but("RS256", "s3cret"), "`algorithms`"),
        (but("[\"RS256\"]", "[]"), "`algorithms`"),
        (but("[\"RS256\"]", "[\"RS256\", \"RS256\"]"), "`algorithms`"),
        (but("[\"RS256\"]", "[\"RS256\", \"HS256\"]"), "`algorithms`"),
        (but("[\"RS256\"]", "[5]"), "`algorithms`"),
        (but("audience = \"alpine\"", ""), "`audience`"),
        (but("audience = \"alpine\"", "audience = [\"\"]"), "`audience`"),
        (but("issuer = \"https://a.test\"", ""), "`issuer`"),
    ] {
        let error = read(&text).expect_err(&text).to_string();
        assert!(error.contains(named) && error.contains(KEYS.path("").to_str().unwrap()), "{text}: {error}");
        assert!(!error.replace("`s3cret`", "").contains("s3cret"), "{error}");
    }
}
